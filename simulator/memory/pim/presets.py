"""Memories that compute by name: the bundled ones, and a user's own file of them."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from hw.spec.source import Source
from simulator.memory.dram.device import Constraint, Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.timing import evaluate
from simulator.memory.pim.device import PimCommand, PimDevice, PimEnergy, Registers
from workloads.documents import Document, read_document
from workloads.errors import InputError, unknown_name
from workloads.validation import validate

__all__ = ["load_pim", "pim_names"]

_FOLDER = Path(__file__).parent / "devices"
_FILE = _FOLDER / "pim.yaml"
_ROLES = ("activate", "precharge", "refresh", "compute", "fill", "drain")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Registers(_Part):
    instructions: NonNegativeInt
    instruction_bits: NonNegativeInt
    inputs: NonNegativeInt
    results: PositiveInt
    scalars: NonNegativeInt
    bits: PositiveInt


class _Command(_Part):
    name: str = Field(min_length=1)
    like: Literal["", "ACT", "PREpb", "REFab", "RD", "WR"]


class _Rule(_Part):
    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    scope: Literal["channel", "rank", "pseudochannel", "sid", "bankgroup", "bank"]
    ticks: str


class _Energy(_Part):
    activate_nJ: PositiveFloat
    column_pJ_per_bit: PositiveFloat
    pins_pJ_per_bit: PositiveFloat
    multiply_add_pJ: PositiveFloat


class _Pim(_Part):
    dram: str
    channels: PositiveInt
    level: Literal["bank-pair", "bank", "bank-group", "logic-die"]
    units: PositiveInt
    lanes: PositiveInt
    vectors_per_read: PositiveInt
    vector_ticks: str
    vectors_in_ticks: PositiveInt
    buffer_bytes: NonNegativeInt
    row_split: PositiveInt
    registers: _Registers
    layout: Literal["registers", "buffer"]
    moves_overlap: bool = False
    opens_ahead: bool = False
    two_row_buffers: bool = False
    sets: dict[str, dict[Literal["sid", "bankgroup", "bank"], tuple[NonNegativeInt, ...]]]
    commands: dict[str, _Command]
    rules: tuple[_Rule, ...]
    timing: dict[str, PositiveInt]
    first_refresh_ticks: PositiveInt | None = None
    energy: _Energy
    note: str = ""
    sources: dict[str, Source]


def pim_names() -> tuple[str, ...]:
    """The bundled memories that compute."""
    return tuple(_bundled().value)


@lru_cache
def _bundled() -> Document:
    return read_document(_FILE)


def load_pim(name: str, path: Path | None = None) -> PimDevice:
    """The bundled memory ``name``, or that of the file at ``path``, which may build ``based_on`` another of its file.

    Raises `InputError` for names, fields, sets and timings that are not there.
    """
    return _load(read_document(path), name, path.parent) if path is not None else _load_bundled(name)


@lru_cache
def _load_bundled(name: str) -> PimDevice:
    return _load(_bundled(), name, _FOLDER)


def _load(document: Document, name: str, folder: Path) -> PimDevice:
    if name not in document.value:
        raise unknown_name("memory that computes", name, document.value)
    plain = _merged(document, name)
    given = validate(_Pim, Document(document.file, plain, document.lines))
    dram = load_device(folder / given.dram if given.dram.endswith(".yaml") else given.dram)
    return _resolve(name, given, dram)


def _merged(document: Document, name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    entry: dict[str, Any] = dict(document.value[name])
    base = entry.pop("based_on", None)
    if base is None:
        return entry
    if base not in document.value or base in (name, *above):
        raise document.error(f"unknown memory {base!r}", (name, "based_on"), expected="another one of this file")
    below = _merged(document, base, (name, *above))
    for part in ("timing", "sources"):
        entry[part] = {**below[part], **entry.get(part, {})}
    return {**below, **entry}


def _resolve(name: str, given: _Pim, dram: Device) -> PimDevice:
    missing = [role for role in _ROLES if role not in given.commands]
    if missing:
        raise InputError(f"no command to {missing[0]}", f"commands for {', '.join(_ROLES)}", f"{name}.commands")
    timing = {**dram.timing, **given.timing}
    names = {command.name for command in given.commands.values()}
    rules = []
    for rule in given.rules:
        for command in (*rule.before, *rule.after):
            if command not in names:
                raise unknown_name("command", command, names, field=f"{name}.rules")
        ticks = evaluate(rule.ticks, timing)
        rules += [Constraint(rule.name, b, a, rule.scope, ticks) for b in rule.before for a in rule.after]
    sets = {key: _banks(dram, filters, f"{name}.sets.{key}") for key, filters in given.sets.items()}
    sets["all"] = frozenset(range(dram.banks))
    sets.update({f"bank{bank}": frozenset({bank}) for bank in range(dram.banks)})
    energy = PimEnergy(
        activate_j=given.energy.activate_nJ * 1e-9,
        column_j=given.energy.column_pJ_per_bit * dram.burst_bytes * 8e-12,
        pins_j=given.energy.pins_pJ_per_bit * dram.burst_bytes * 8e-12,
        multiply_add_j=given.energy.multiply_add_pJ * 1e-12,
        source=str(given.sources.get("energy", "")),
    )
    return PimDevice(
        name=name,
        dram=dram,
        channels=given.channels,
        level=given.level,
        units=given.units,
        lanes=given.lanes,
        vectors_per_read=given.vectors_per_read,
        vector_ticks=Fraction(evaluate(given.vector_ticks, timing), given.vectors_in_ticks),
        buffer_bytes=given.buffer_bytes,
        row_split=given.row_split,
        registers=Registers(**given.registers.model_dump()),
        layout=given.layout,
        commands={role: PimCommand(c.name, c.like) for role, c in given.commands.items()},
        sets=sets,
        rules=tuple(rules),
        timing=timing,
        first_refresh_ticks=given.first_refresh_ticks or dram.timing["nREFI"],
        energy=energy,
        moves_overlap=given.moves_overlap,
        opens_ahead=given.opens_ahead,
        two_row_buffers=given.two_row_buffers,
        note=given.note,
        sources={key: str(source) for key, source in given.sources.items()},
    )


def _banks(dram: Device, filters: dict[Any, tuple[int, ...]], field: str) -> frozenset[int]:
    """Numbers of the banks whose index at each level named is one of those listed."""
    shape = dict(zip(("rank", "sid", "bankgroup", "bank"), dram.shape, strict=True))
    for level, wanted in filters.items():
        if any(index >= shape[level] for index in wanted):
            raise InputError(f"{level} {max(wanted)} of {dram.name}", f"below {shape[level]}", field)
    places = np.array(np.unravel_index(np.arange(dram.banks), dram.shape)).T
    at = dict(zip(shape, places.T, strict=True))
    keep = np.all([np.isin(at[level], wanted) for level, wanted in filters.items()], axis=0) if filters else None
    return frozenset(np.arange(dram.banks).tolist() if keep is None else np.flatnonzero(keep).tolist())
