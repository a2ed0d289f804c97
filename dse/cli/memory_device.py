"""``tiercade memory show``: a device's levels, timings, constraints and energies."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import typer

from dse.cli.output import print_document
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from workloads.errors import InputError

__all__ = ["choose_device", "run_show"]


def choose_device(name: str, ranks: int | None, field: str) -> Device:
    """The bundled device or the file ``name``, with that many ranks; errors about the name itself bear ``field``."""
    try:
        return load_device(name, ranks=ranks)
    except InputError as error:
        if error.file is not None:
            raise
        raise replace(error, field="--ranks" if error.field == "ranks" else error.field or field) from None


def run_show(name: str, ranks: int | None, *, as_json: bool) -> None:
    """Print the device ``name``, a bundled one or a file, as text or as one JSON document."""
    device = choose_device(name, ranks, "DEVICE")
    if as_json:
        print_document(_document(device))
    else:
        _print(device)


def _document(device: Device) -> dict[str, Any]:
    derived = ("banks", "row_bytes", "capacity_bytes", "peak_bytes_per_s")
    return {**asdict(device), **{name: getattr(device, name) for name in derived}}


def _print(device: Device) -> None:
    from dse.reports.table import print_rows
    from dse.reports.units_text import engineering, joules_text, seconds_text

    typer.echo(f"{device.name}: {device.standard} {device.organisation} {device.speed_bin}")
    typer.echo("")
    counts = ", ".join(f"{level.name} {level.count}" for level in device.levels)
    facts = {
        "levels of a channel": counts,
        "capacity": f"{device.capacity_bytes / 2**30:g} GiB: {device.banks} banks of {device.rows:,} rows",
        "row": f"{device.row_bytes:,} bytes: {device.bursts_per_row} bursts of {device.burst_bytes} bytes",
        "rate": f"{engineering(device.peak_bytes_per_s, 'B/s')}: {device.data_rate_MTps:g} MT/s on "
        f"{device.data_buses} x {device.channel_width_bits} bits",
        "tick": seconds_text(device.tick_s),
        "read latency": _ticks(device, device.read_latency_ticks),
        "write latency": _ticks(device, device.write_latency_ticks),
        "command buses": "; ".join(", ".join(bus) for bus in device.buses),
    }
    print_rows([{"": name, "device": text} for name, text in facts.items()])
    typer.echo("")
    print_rows(
        [
            {"timing": name, "ticks": ticks, "time": seconds_text(ticks * device.tick_s)}
            for name, ticks in device.timing.items()
        ]
    )
    typer.echo("")
    print_rows(_constraint_rows(device))
    if device.energy is not None:
        energy = device.energy
        typer.echo("")
        parts = {"activate": energy.activate_j, "read": energy.read_j, "write": energy.write_j}
        parts |= {"refresh, all banks": energy.refresh_j, "refresh, one bank": energy.refresh_bank_j}
        rows = [{"energy of a rank": name, "": joules_text(joules)} for name, joules in parts.items()]
        for name, watts in (("a row open", energy.open_w), ("no row open", energy.closed_w)):
            rows.append({"energy of a rank": name, "": engineering(watts, "W")})
        print_rows(rows)
        typer.echo(f"{energy.kind}: {energy.source}")
    if device.sources:
        typer.echo("")
        for field, source in device.sources.items():
            typer.echo(f"{field}: {source}")


def _ticks(device: Device, ticks: int) -> str:
    from dse.reports.units_text import seconds_text

    return f"{ticks} ticks, {seconds_text(ticks * device.tick_s)}"


def _constraint_rows(device: Device) -> list[dict[str, Any]]:
    """The constraints with commands that share one joined: first those after, then those before."""
    after: dict[tuple[Any, ...], list[str]] = {}
    for rule in device.constraints:
        key = (rule.name, rule.scope, rule.sibling, rule.window, rule.ticks, rule.before)
        after.setdefault(key, []).append(rule.after)
    joined: dict[tuple[Any, ...], list[str]] = {}
    for (*rest, before), commands in after.items():
        joined.setdefault((*rest, tuple(commands)), []).append(before)
    return [
        {
            "constraint": name,
            "from": ", ".join(befores),
            "to": ", ".join(afters),
            "within": f"another {scope}" if sibling else f"the same {scope}" if scope != "channel" else scope,
            "ticks": ticks,
            "of the last": str(window) if window > 1 else "",
        }
        for (name, scope, sibling, window, ticks, afters), befores in joined.items()
    ]
