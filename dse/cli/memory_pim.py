"""``tiercade memory run`` on a memory that computes: an operation in it, and by a host through its pins."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from dse.cli.amounts import count_of
from dse.cli.memory_kinds import is_file
from dse.cli.output import print_document
from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.gemv import PimResult, losses, pim_eltwise, pim_gemv
from simulator.memory.pim.host import HostResult, host_eltwise, host_gemv
from simulator.memory.pim.presets import load_pim, pim_names
from workloads.documents import read_document
from workloads.errors import InputError, unknown_name

__all__ = ["OPERATIONS", "PimOptions", "find_pim", "run_pim"]

OPERATIONS = ("gemv", "eltwise")
_FLAGS = {"rows": "--shape", "columns": "--shape", "batch": "--batch", "elements": "--elements"}
_SHAPE = re.compile(r"\s*(\d{1,9})\s*[xX×]\s*(\d{1,9})\s*")


@dataclass(frozen=True)
class PimOptions:
    """What was typed; None where the default stands."""

    device: str
    pattern: str | None
    shape: str | None
    batch: int | None
    elements: str | None
    read_results: bool


def find_pim(name: str) -> PimDevice:
    """The bundled memory ``name``, whatever the case of its letters, or the one that a file describes.

    Raises `InputError` for names, and for files of several.
    """
    if is_file(name):
        path = Path(name)
        names = tuple(read_document(path).value)
        if len(names) != 1:
            raise InputError(f"found {len(names)} memories", "one in the file", file=name)
        return load_pim(names[0], path)
    return load_pim({each.casefold(): each for each in pim_names()}.get(name.casefold(), name))


def run_pim(options: PimOptions, *, as_json: bool) -> None:
    """Run the operation in memory and by the host, and print both. Raises `InputError` that names the option."""
    try:
        found = _document(options)
    except InputError as error:
        raise replace(error, field=_FLAGS.get(error.field or "", error.field)) from None
    if as_json:
        print_document(found)
    else:
        _print(found)


def _document(options: PimOptions) -> dict[str, Any]:
    if options.pattern is None:
        raise InputError("is missing", f"one of {', '.join(OPERATIONS)}", "--pattern")
    if options.pattern not in OPERATIONS:
        raise unknown_name("pattern", options.pattern, OPERATIONS, field="--pattern")
    pim = find_pim(options.device)
    result, host, asked = _gemv(pim, options) if options.pattern == "gemv" else _eltwise(pim, options)
    operations = asked.pop("operations")
    return {
        "device": pim.name,
        "pattern": options.pattern,
        **asked,
        "cycles": result.cycles,
        "seconds": result.seconds,
        "energy_j": result.energy_j,
        "operations_per_s": operations / result.seconds,
        "inside_bytes_per_s": result.inside_bytes_per_s,
        "bytes_inside": result.bytes_inside,
        "bytes_outside": result.bytes_outside,
        "multiply_adds": result.multiply_adds,
        "bound_cycles": result.bound_cycles,
        "fraction_of_bound": result.fraction_of_bound,
        "commands_of_a_channel": result.commands,
        "share_of_ticks": {loss.cause: loss.share for loss in losses(result)},
        "why": result.why,
        "host": {
            "cycles": host.cycles,
            "seconds": host.seconds,
            "energy_j": host.energy_j,
            "bytes_moved": host.bytes_moved,
            "bandwidth_bytes_per_s": host.bandwidth_bytes_per_s,
        },
        "speedup": host.seconds / result.seconds,
        "machine": {
            "dram": pim.dram.name,
            "channels": pim.channels,
            "units_of_a_channel": pim.units,
            "level": pim.level,
            "tick_ns": pim.dram.tick_s * 1e9,
            "peak_inside_bytes_per_s": pim.inside_bytes_per_s,
            "peak_outside_bytes_per_s": pim.outside_bytes_per_s,
        },
    }


Ran = tuple[PimResult, HostResult, dict[str, Any]]


def _gemv(pim: PimDevice, options: PimOptions) -> Ran:
    if options.elements is not None:
        raise InputError("means nothing for pattern gemv", "--shape ROWSxCOLUMNS", "--elements")
    if options.shape is None:
        raise InputError("is missing", "ROWSxCOLUMNS of the matrix, such as 4096x4096", "--shape")
    shape = _SHAPE.fullmatch(options.shape)
    if shape is None:
        raise InputError(f"found {options.shape[:40]!r}", "ROWSxCOLUMNS, such as 4096x4096", "--shape")
    if options.read_results and pim.layout != "registers":
        problem = f"means nothing for {pim.name}, whose results always leave"
        raise InputError(problem, "a memory whose units have registers, such as hbm-pim", "--read-results")
    rows, columns, batch = int(shape[1]), int(shape[2]), 1 if options.batch is None else options.batch
    result = pim_gemv(pim, rows, columns, 16, batch, read_results=options.read_results)
    stay = pim.layout == "registers" and not options.read_results
    asked = {"rows": rows, "columns": columns, "batch": batch, "format_bits": 16, "results_stay_inside": stay}
    return result, host_gemv(pim, rows, columns, batch), {**asked, "operations": 2.0 * rows * columns * batch}


def _eltwise(pim: PimDevice, options: PimOptions) -> Ran:
    for name, given in (("--shape", options.shape), ("--batch", options.batch)):
        if given is not None:
            raise InputError("means nothing for pattern eltwise", "--elements", name)
    if options.read_results:
        raise InputError("means nothing for pattern eltwise, whose result stays", "pattern gemv", "--read-results")
    if options.elements is None:
        raise InputError("is missing", "how many elements each vector has, such as 1Mi", "--elements")
    elements = count_of(options.elements, "--elements", "a whole number, such as 1048576 or 1Mi")
    result = pim_eltwise(pim, elements)
    asked = {"elements": elements, "format_bits": 16, "results_stay_inside": True}
    return result, host_eltwise(pim, elements), {**asked, "operations": float(elements)}


def _print(found: dict[str, Any]) -> None:
    from dse.reports.table import print_rows
    from dse.reports.units_text import engineering, joules_text, percent_text, ratio_text, seconds_text

    machine, host = found["machine"], found["host"]
    if found["pattern"] == "gemv":
        what = f"{found['rows']:,} x {found['columns']:,} matrix times {found['batch']:,} vector"
        what += "s" if found["batch"] > 1 else ""
    else:
        what = f"two vectors of {found['elements']:,} elements"
    typer.echo(f"{what} in {found['device']}, 16 bits")
    typer.echo("")
    peak = engineering(machine["peak_inside_bytes_per_s"], "B/s")
    spent = "energy not known" if host["energy_j"] is None else f"{joules_text(host['energy_j'])} in the memory"
    figures = {
        "time": f"{found['cycles']:,} ticks, {seconds_text(found['seconds'])}",
        "rate": engineering(found["operations_per_s"], "op/s"),
        "bandwidth inside": f"{engineering(found['inside_bytes_per_s'], 'B/s')} of {peak} at the units' rate",
        "of the bound": f"{percent_text(found['fraction_of_bound'])}: computing alone takes "
        f"{found['bound_cycles']:,} ticks",
        "moved": f"{engineering(found['bytes_inside'], 'B')} inside, {engineering(found['bytes_outside'], 'B')} over "
        f"the pins; results {'stay inside' if found['results_stay_inside'] else 'leave'}",
        "energy": joules_text(found["energy_j"]),
        "why": found["why"],
        "by the host": f"{seconds_text(host['seconds'])}, {engineering(host['bandwidth_bytes_per_s'], 'B/s')} through "
        f"the pins; {spent}",
        "speed-up": ratio_text(found["speedup"]),
    }
    print_rows([{"": name, "result": text} for name, text in figures.items()])
    typer.echo("")
    parts = {cause: share for cause, share in found["share_of_ticks"].items() if share > 0}
    print_rows([{"where the ticks went": cause, "share": percent_text(share)} for cause, share in parts.items()])
    typer.echo("")
    sent = ", ".join(f"{role} {count:,}" for role, count in found["commands_of_a_channel"].items() if count)
    rows = {
        "memory": f"{machine['channels']} channels of {machine['dram']}",
        "units": f"{machine['units_of_a_channel']} a channel, at {machine['level']}",
        "tick": f"{machine['tick_ns']:g} ns",
        "commands of a channel": sent,
    }
    print_rows([{"": name, "machine": text} for name, text in rows.items()])
