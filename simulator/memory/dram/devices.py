"""Devices by name: the bundled standards, and a user's own files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from simulator.memory.dram.device import Device, Level
from simulator.memory.dram.standard import Standard, resolve
from simulator.memory.dram.tables import compile_tables
from workloads.documents import Document, FieldPath, describe, dotted, read_document
from workloads.errors import InputError, unknown_name
from workloads.validation import validate

__all__ = ["DeviceRow", "device_names", "device_rows", "load_device"]

_STANDARDS = Path(__file__).parent / "standards"
_CHANGEABLE = ("timing", "organisation", "speed_bin")


@dataclass(frozen=True)
class DeviceRow:
    """What a list says of a device: of one channel, with both pseudo-channels where it has them."""

    name: str
    standard: str
    data_rate_MTps: float
    channel_width_bits: int
    peak_bytes_per_s: float
    capacity_bytes: int
    row_bytes: int
    banks: int
    has_energy: bool
    note: str


@lru_cache
def _standards() -> dict[str, Standard]:
    return {file.stem: validate(Standard, read_document(file)) for file in sorted(_STANDARDS.glob("*.yaml"))}


def device_names() -> tuple[str, ...]:
    """The bundled devices, by standard and then as its file lists them."""
    return tuple(name for standard in _standards().values() for name in standard.devices)


def device_rows() -> tuple[DeviceRow, ...]:
    """One row per bundled device, in the order of `device_names`."""
    rows = []
    for standard in _standards().values():
        for name, entry in standard.devices.items():
            device = resolve(standard, name)
            row = DeviceRow(
                name=name,
                standard=device.standard,
                data_rate_MTps=device.data_rate_MTps,
                channel_width_bits=device.channel_width_bits * device.data_buses,
                peak_bytes_per_s=device.peak_bytes_per_s,
                capacity_bytes=device.capacity_bytes,
                row_bytes=device.row_bytes,
                banks=device.banks,
                has_energy=device.energy is not None,
                note=entry.note,
            )
            rows.append(row)
    return tuple(rows)


def load_device(name_or_path: str | Path, *, ranks: int | None = None) -> Device:
    """A bundled device by name, or the one in a YAML file; ``ranks`` replaces the number of ranks of a channel.

    Text with a path separator, or that ends in .yaml, .yml or .json, is a path: a whole standard with one device, or
    ``based_on: NAME`` with ``timing``, ``organisation`` or ``speed_bin`` fields to change. Raises `InputError`, with
    file, line and field where there is a file.
    """
    text = str(name_or_path)
    is_path = text.lower().endswith((".yaml", ".yml", ".json")) or "/" in text or os.sep in text
    if is_path or isinstance(name_or_path, Path):
        return _with_ranks(_from_file(read_document(name_or_path)), ranks)
    found = _find(text)
    if found is None:
        raise unknown_name("device", text, device_names())
    return _with_ranks(resolve(*found), ranks)


def _find(name: str) -> tuple[Standard, str] | None:
    """The standard and the device ``name`` of it, whatever the case of its letters."""
    for standard in _standards().values():
        for device in standard.devices:
            if device.casefold() == name.casefold():
                return standard, device
    return None


def _with_ranks(device: Device, ranks: int | None) -> Device:
    if ranks is None:
        return device
    if device.levels[0].name != "rank":
        raise InputError(f"{device.name} has no ranks", f"no number of ranks for {device.standard}", "ranks")
    if not 1 <= ranks <= 16 or ranks & (ranks - 1):
        raise InputError(f"found {ranks} ranks", "1, 2, 4, 8 or 16", "ranks")
    return replace(device, levels=(Level("rank", ranks), *device.levels[1:]))


def _from_file(document: Document) -> Device:
    if "based_on" in document.value:
        return _derived(document)
    standard = validate(Standard, document)
    if len(standard.devices) != 1:
        expected = "one device in the file"
        raise document.error(f"found {len(standard.devices)} devices", ("devices",), expected=expected)
    try:
        return _usable(standard, resolve(standard, next(iter(standard.devices))))
    except InputError as error:
        raise document.locate(error) from None


def _usable(standard: Standard, device: Device) -> Device:
    """``device``, once it is known that the controller can keep its rules."""
    try:
        compile_tables(device)
    except InputError as error:
        rules = [n for n, rule in enumerate(standard.constraints) if error.problem.startswith(f"{rule.name}: ")]
        raise replace(error, field=f"constraints[{rules[0]}]" if rules else "constraints") from None
    return device


def _derived(document: Document) -> Device:
    """The bundled device that ``based_on`` names, with the file's changes; errors are about the file's own fields."""
    base = document.value["based_on"]
    found = _find(base) if isinstance(base, str) else None
    if found is None:
        error = unknown_name("device", base if isinstance(base, str) else describe(base), device_names())
        raise document.error(error.problem, ("based_on",), expected=error.expected, nearest=error.nearest)
    standard, device = found
    name = document.value.get("name", f"{device}, changed")
    if not isinstance(name, str) or not name:
        raise document.error(f"found {describe(name)}", ("name",), expected="text")
    plain = standard.model_dump(mode="json")
    entry = plain["devices"][device]
    plain["devices"] = {name: entry}
    organisation, speed_bin = entry["organisation"], entry["speed_bin"]
    places: dict[str, FieldPath] = {
        "timing": ("devices", name, "timing"),
        "organisation": ("organisations", organisation),
        "speed_bin": ("speed_bins", speed_bin),
    }
    fields = {
        "timing": {**plain["speed_bins"][speed_bin]["timing"], **entry["timing"]},
        "organisation": plain["organisations"][organisation],
        "speed_bin": plain["speed_bins"][speed_bin],
    }
    targets = {**fields, "timing": entry["timing"]}
    lines: dict[FieldPath, int] = {}
    for key, changes in document.value.items():
        if key in ("based_on", "name"):
            continue
        if key not in _CHANGEABLE:
            unknown = unknown_name("key", key, (*_CHANGEABLE, "name", "based_on"))
            raise document.error(unknown.problem, (key,), expected=unknown.expected, nearest=unknown.nearest)
        _change(document, (key,), changes, fields[key], targets[key])
        for path, line in document.lines.items():
            if path[:1] == (key,):
                lines[(*places[key], *path[1:])] = line
    try:
        changed = validate(Standard, Document(document.file, plain, lines))
        return _usable(changed, resolve(changed, name))
    except InputError as error:
        raise _relocated(error, document, places) from None


def _change(
    document: Document, path: FieldPath, changes: Any, known: Mapping[str, Any], target: dict[str, Any]
) -> None:
    """Write ``changes``, the file's mapping at ``path``, over ``target``; every field must be one of ``known``."""
    if not isinstance(changes, dict):
        raise document.error(f"found {describe(changes)}", path, expected="a mapping of fields to change")
    for field, value in changes.items():
        inner = (*path, field)
        if field not in known:
            error = unknown_name("field", field, known)
            raise document.error(error.problem, inner, expected=error.expected, nearest=error.nearest)
        if isinstance(known[field], dict):
            _change(document, inner, value, known[field], target[field])
        else:
            target[field] = value


def _relocated(error: InputError, document: Document, places: Mapping[str, FieldPath]) -> InputError:
    """``error`` about a changed copy of a standard, as one about the file that changed it."""
    field = error.field or ""
    for key, place in places.items():
        start = dotted(place)
        if field == start or field.startswith(f"{start}."):
            return document.locate(replace(error, field=key + field.removeprefix(start)))
    return replace(error, field=None, file=document.file, line=document.line(("based_on",)))
