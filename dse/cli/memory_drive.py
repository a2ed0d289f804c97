"""``tiercade memory run`` on a drive: options become a workload or a trace; what the drive did becomes a document."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from dse.cli.amounts import bytes_of
from dse.cli.output import print_document
from simulator.memory.flash.drive import Drive
from simulator.memory.flash.drives import load_drive
from simulator.memory.flash.workload import PATTERNS, DriveWorkload, check_workload
from workloads.errors import InputError

__all__ = ["DriveOptions", "run_drive"]

_FLAGS = {"size_bytes": "--size", "queue_depth": "--queue-depth", "pattern": "--pattern", "seconds": "--seconds"}
_FLAGS |= {"occupancy": "--occupancy", "requests": "--requests", "seed": "--seed", "working_set": "--occupancy"}
_FLAGS_OF_TRACE = {**_FLAGS, "first_bytes": "--trace", "size_bytes": "--trace", "arrival_s": "--trace"}
_TRACE_DEPTH = 32


@dataclass(frozen=True)
class DriveOptions:
    """What was typed; None where the default stands."""

    device: str
    pattern: str | None
    trace: Path | None
    size: str | None
    queue_depth: int | None
    seconds: float | None
    occupancy: float | None
    ideal_mapping: bool
    inside: bool
    requests: int | None
    seed: int


def run_drive(options: DriveOptions, *, as_json: bool) -> None:
    """Ask the drive and print what it did. Raises `InputError` that names the option."""
    if options.pattern is not None and options.trace is not None:
        raise InputError("stands beside --trace", "either --pattern or --trace", "--pattern")
    drive = load_drive(options.device)
    found = _from_pattern(drive, options) if options.trace is None else _from_trace(drive, options.trace, options)
    if as_json:
        print_document(found)
    else:
        _print(found)


def _from_pattern(drive: Drive, options: DriveOptions) -> dict[str, Any]:
    if options.pattern is None:
        raise InputError("is missing", f"one of {', '.join(PATTERNS)}, or --trace", "--pattern")
    workload = DriveWorkload(
        pattern=options.pattern,  # type: ignore[arg-type]
        size_bytes=bytes_of("4 KiB" if options.size is None else options.size, "--size", most=2**40),
        queue_depth=1 if options.queue_depth is None else options.queue_depth,
        ideal_mapping=options.ideal_mapping,
        seconds=1.0 if options.seconds is None else options.seconds,
        requests=options.requests,
        seed=options.seed,
        occupancy=options.occupancy or 0.0,
        inside=options.inside,
    )
    try:
        check_workload(drive, workload)
        from simulator.memory.flash.run import document, simulate_drive

        result = simulate_drive(drive, workload)
    except InputError as error:
        raise replace(error, field=_FLAGS.get(error.field or "", error.field)) from None
    asked = {
        "device": drive.name,
        "pattern": workload.pattern,
        "size_bytes": workload.size_bytes,
        "queue_depth": workload.queue_depth,
        "ideal_mapping": workload.ideal_mapping,
        "inside": workload.inside,
        "requests": result.requests,
        "seconds": result.seconds,
    }
    return {**asked, **document(result)}


def _from_trace(drive: Drive, file: Path, options: DriveOptions) -> dict[str, Any]:
    for name in ("size", "seconds", "requests"):
        if getattr(options, name) is not None:
            raise InputError("means nothing for a trace", "--pattern beside it", f"--{name}")
    from simulator.memory.flash.run import document
    from simulator.memory.flash.trace import simulate_trace
    from simulator.memory.flash.trace_files import read_trace

    depth = _TRACE_DEPTH if options.queue_depth is None else options.queue_depth
    trace = read_trace(file, queue_depth=depth)
    try:
        result = simulate_trace(
            drive,
            trace,
            occupancy=options.occupancy or 0.0,
            ideal_mapping=options.ideal_mapping,
            inside=options.inside,
            seed=options.seed,
        )
    except InputError as error:
        if error.file is not None:
            raise
        raise replace(error, field=_FLAGS_OF_TRACE.get(error.field or "", error.field)) from None
    asked = {
        "device": drive.name,
        "trace": str(file),
        "arrivals": "as fast as they are taken" if trace.arrival_s is None else "at their times",
        "queue_depth": depth,
        "ideal_mapping": options.ideal_mapping,
        "inside": options.inside,
        "requests": result.requests,
        "reads": int((~trace.writes).sum()),
        "writes": int(trace.writes.sum()),
        "size_bytes": int(trace.size_bytes.sum()),
        "seconds": result.seconds,
    }
    return {**asked, **document(result)}


def _print(found: dict[str, Any]) -> None:
    from dse.reports.table import print_rows
    from dse.reports.units_text import engineering, number_text, seconds_text

    if "trace" in found:
        what = f"{found['trace']}, {found['size_bytes']:,} bytes, sent {found['arrivals']},"
    else:
        what = f"{found['pattern']} of {found['size_bytes']:,} bytes"
    where = f"inside {found['device']}" if found["inside"] else f"on {found['device']}"
    typer.echo(f"{what} {where}, {found['queue_depth']} outstanding, {found['requests']:,} requests")
    typer.echo("")
    figures = {
        "requests per second": number_text(found["iops"]),
        "bandwidth": engineering(found["bandwidth_bytes_per_s"], "B/s"),
        "mean latency": seconds_text(found["mean_latency_s"]),
        "median, 99th percentile": f"{seconds_text(found['median_latency_s'])}, {seconds_text(found['p99_latency_s'])}",
        "mapping table": "whole on the controller" if found["ideal_mapping"] else "cached, misses read from flash",
        "speed": f"{number_text(found['page_ops_per_cpu_s'])} page operations per second of processor time",
    }
    if found["write_amplification"] is not None:
        figures["write amplification"] = f"{found['write_amplification']:.3f}"
    print_rows([{"": name, "result": text} for name, text in figures.items()])
    typer.echo("")
    counts = {name.replace("_", " "): value for name, value in found["flash"].items() if value}
    shown = {name: f"{value:,}" if isinstance(value, int) else f"{value:.3f}" for name, value in counts.items()}
    print_rows([{"": name, "flash": text} for name, text in shown.items()])
