"""``tiercade memory show`` of drives, memories that compute, links, arrays and SRAM: all numbers and their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import typer

from dse.cli.memory_kinds import Kind
from dse.cli.output import print_document
from workloads.errors import InputError

__all__ = ["run_show_other"]


def run_show_other(kind: Kind, name: str, *, as_json: bool) -> None:
    """Print the device ``name`` of a kind other than DRAM, as text or as one JSON document."""
    if kind == "sram":
        expected = "a device with a description; for SRAM, 'tiercade memory characterise --device sram'"
        raise InputError("sram is computed from its capacity", expected, "DEVICE")
    show = {"drive": _drive, "pim": _pim, "link": _link, "array": _array}[kind]
    try:
        found = show(name)
    except InputError as error:
        raise replace(error, field=error.field or "DEVICE") if error.file is None else error from None
    if as_json:
        print_document(found)
    else:
        _print(found)


def _drive(name: str) -> dict[str, Any]:
    from dse.reports.characteristics.drive import array_bytes_per_s
    from simulator.memory.flash.drives import load_drive
    from simulator.memory.flash.theory import random_read_latency_s

    drive = load_drive(name)
    given = drive.model_dump(mode="json", exclude={"sources"})
    derived = {
        "capacity_bytes": drive.capacity_bytes,
        "planes": drive.geometry.planes,
        "host_bytes_per_s": drive.host.bytes_per_s,
        "channels_bytes_per_s": drive.internal_bytes_per_s,
        "planes_reading_bytes_per_s": array_bytes_per_s(drive, writes=False),
        "planes_programming_bytes_per_s": array_bytes_per_s(drive, writes=True),
        "mapping_entries_held": min(drive.mapping_entries, drive.logical_pages),
        "mapping_entries_of_all": drive.logical_pages,
        "read_of_4_KiB_s": random_read_latency_s(drive, 4096, ideal_mapping=True),
        "endurance_bytes": drive.endurance_bytes,
    }
    return {**given, "derived": derived, "sources": {field: str(source) for field, source in drive.sources.items()}}


def _pim(name: str) -> dict[str, Any]:
    from dse.cli.memory_pim import find_pim

    pim = find_pim(name)
    plain: tuple[str, ...] = ("name", "note", "channels", "level", "units", "lanes", "vectors_per_read", "buffer_bytes")
    plain += ("row_split", "layout", "moves_overlap", "opens_ahead", "two_row_buffers", "first_refresh_ticks")
    energy = {field: value for field, value in asdict(pim.energy).items() if field != "source"}
    own = {field: ticks for field, ticks in pim.timing.items() if pim.dram.timing.get(field) != ticks}
    return {
        **{field: getattr(pim, field) for field in plain},
        "dram": pim.dram.name,
        "vector_ticks": float(pim.vector_ticks),
        "registers": asdict(pim.registers),
        "commands": {role: _command(command.name, command.like) for role, command in pim.commands.items()},
        "banks_of_sets": {name: sorted(pim.sets[name]) for name in pim.column_sets},
        "rules": [asdict(rule) for rule in pim.rules],
        "timing_ticks": own,
        "energy": energy,
        "derived": {
            "tick_s": pim.dram.tick_s,
            "capacity_bytes": pim.channels * pim.dram.capacity_bytes,
            "compute_ticks": pim.compute_ticks,
            "inside_bytes_per_s": pim.inside_bytes_per_s,
            "outside_bytes_per_s": pim.outside_bytes_per_s,
            "operations_per_s": 2 * pim.multiply_adds_per_s,
            "operations_per_byte": 2 * pim.multiply_adds_per_s / pim.inside_bytes_per_s,
        },
        "sources": pim.sources,
    }


def _command(name: str, like: str) -> str:
    return f"{name}, by the rules of {like}" if like else f"{name}, no row"


def _link(name: str) -> dict[str, Any]:
    from simulator.interconnect.links import protocol_efficiency
    from simulator.interconnect.protocols import link_type

    link = link_type(name)
    given = {field: value for field, value in asdict(link).items() if field != "sources"}
    derived = {f"efficiency_of_{size}_bytes": protocol_efficiency(link, size) for size in (64, 4096, 1 << 20)}
    return {**given, "derived": derived, "sources": {field: str(source) for field, source in link.sources.items()}}


def _array(name: str) -> dict[str, Any]:
    from simulator.memory.arrays.devices import load_array

    array = load_array(name)
    given = array.model_dump(mode="json", exclude={"sources"}, exclude_none=True)
    return {**given, "sources": {field: str(source) for field, source in array.sources.items()}}


def _print(found: Mapping[str, Any]) -> None:
    from dse.reports.table import print_rows

    typer.echo(found["name"] + (f": {found['description']}" if found.get("description") else ""))
    if found.get("note"):
        typer.echo(found["note"].strip())
    left_out = ("name", "description", "note", "sources")
    sections = {field: value for field, value in found.items() if field not in left_out}
    plain = {field: value for field, value in sections.items() if not _is_table(value)}
    tables = {"device": plain, **{field: value for field, value in sections.items() if _is_table(value)}}
    for title, table in tables.items():
        if not table:
            continue
        typer.echo("")
        if isinstance(table, list):
            print_rows([{field.replace("_", " "): _text("", value) for field, value in row.items()} for row in table])
            continue
        given = {field: value for field, value in table.items() if value != []}
        rows = {_label(field, value): _text(field, value) for field, value in given.items()}
        print_rows([{title.replace("_", " "): field, "": text} for field, text in rows.items()])
    typer.echo("")
    for field, source in found["sources"].items():
        typer.echo(f"{field}: {source}")


_UNITS = {"_bytes_per_s": "B/s", "_per_s": "op/s", "_s": "s", "_j": "J"}


def _ending(field: str) -> str:
    """The unit that a field's name ends in and its value is written with; '' for others."""
    return next((ending for ending in _UNITS if field.endswith(ending)), "")


def _label(field: str, value: Any) -> str:
    plain = field if isinstance(value, str) else field.removesuffix(_ending(field))
    return plain.replace("_", " ")


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _text(field: str, value: Any) -> str:
    """A value as people write it, by the unit that its name ends in."""
    from dse.reports.units_text import engineering, number_text

    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not known"
    if isinstance(value, list | tuple):
        return _ranges(value)
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_text(name, inner)}" for name, inner in value.items())
    if isinstance(value, str):
        return value
    ending = _ending(field)
    if ending:
        return engineering(value, _UNITS[ending])
    if field.endswith("_bytes") and value >= 1 << 40:
        return engineering(value, "B")
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if abs(value) < 1e4 else number_text(value)


def _ranges(values: Any) -> str:
    """Whole numbers with runs joined (``0-3, 8-11``), other values with commas between them."""
    if not all(isinstance(value, int) for value in values) or len(values) < 3:
        return ", ".join(_text("", value) for value in values)
    out: list[list[int]] = []
    for value in values:
        if out and value == out[-1][1] + 1:
            out[-1][1] = value
        else:
            out.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in out)
