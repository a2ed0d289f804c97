"""``tiercade memory run`` on a drive: options become a workload; what the drive did becomes a document."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import typer

from dse.cli.output import print_document
from hw.spec.quantity import BYTES, parse_quantity
from simulator.memory.flash.drives import drive_names, load_drive
from simulator.memory.flash.workload import PATTERNS, DriveWorkload, check_workload
from workloads.documents import read_document
from workloads.errors import InputError

__all__ = ["DriveOptions", "is_drive", "refuse_for_dram", "run_drive"]

_FLAGS = {"size_bytes": "--size", "queue_depth": "--queue-depth", "pattern": "--pattern", "seconds": "--seconds"}
_FLAGS |= {"occupancy": "--occupancy", "requests": "--requests", "seed": "--seed", "working_set": "--occupancy"}


@dataclass(frozen=True)
class DriveOptions:
    """What was typed; None where the default stands."""

    device: str
    pattern: str | None
    size: str | None
    queue_depth: int | None
    seconds: float | None
    occupancy: float | None
    ideal_mapping: bool
    requests: int | None
    seed: int


def is_drive(device: str) -> bool:
    """Whether ``device`` names a bundled drive, or a file that describes one."""
    if device in drive_names():
        return True
    if not device.lower().endswith((".yaml", ".yml", ".json")):
        return False
    return {"geometry", "cells"} <= read_document(device).value.keys()


def refuse_for_dram(options: DriveOptions) -> None:
    """Raise `InputError` for options that only drives take."""
    for name in ("size", "queue_depth", "seconds", "occupancy"):
        if getattr(options, name) is not None:
            raise InputError(
                "means nothing for DRAM", "a drive, such as ssd-mqsim-default", f"--{name.replace('_', '-')}"
            )
    if options.ideal_mapping:
        raise InputError("means nothing for DRAM", "a drive, such as ssd-mqsim-default", "--ideal-mapping")
    if options.pattern in PATTERNS:
        raise InputError(f"{options.pattern!r} is a pattern of drives", "a drive, or a pattern of DRAM", "--pattern")


def run_drive(options: DriveOptions, *, as_json: bool) -> None:
    """Ask the drive and print what it did. Raises `InputError` that names the option."""
    drive = load_drive(options.device)
    if options.pattern is None:
        raise InputError("is missing", f"one of {', '.join(PATTERNS)}", "--pattern")
    workload = DriveWorkload(
        pattern=options.pattern,  # type: ignore[arg-type]
        size_bytes=_bytes(options.size or "4 KiB"),
        queue_depth=1 if options.queue_depth is None else options.queue_depth,
        ideal_mapping=options.ideal_mapping,
        seconds=1.0 if options.seconds is None else options.seconds,
        requests=options.requests,
        seed=options.seed,
        occupancy=options.occupancy or 0.0,
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
        "requests": result.requests,
        "seconds": result.seconds,
    }
    found = {**asked, **document(result)}
    if as_json:
        print_document(found)
    else:
        _print(found)


def _bytes(text: str) -> int:
    try:
        size = float(int(text)) if text.strip().isdecimal() else parse_quantity(text, BYTES)
    except InputError as error:
        raise replace(error, field="--size") from None
    if size != int(size) or not 1 <= size <= 2**40:
        raise InputError(f"found {text}", "a whole number of bytes", "--size")
    return int(size)


def _print(found: dict[str, Any]) -> None:
    from dse.reports.table import print_rows
    from dse.reports.units_text import engineering, number_text, seconds_text

    typer.echo(
        f"{found['pattern']} of {found['size_bytes']:,} bytes on {found['device']}, "
        f"{found['queue_depth']} outstanding, {found['requests']:,} requests"
    )
    typer.echo("")
    figures = {
        "requests per second": number_text(found["iops"]),
        "bandwidth": engineering(found["bandwidth_bytes_per_s"], "B/s"),
        "mean latency": seconds_text(found["mean_latency_s"]),
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
