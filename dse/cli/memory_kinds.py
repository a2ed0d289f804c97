"""Which kind of memory a name or a file stands for, and which options each kind takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from workloads.documents import read_document
from workloads.errors import InputError, nearest_name

__all__ = [
    "KINDS",
    "Kind",
    "check_options",
    "check_pattern",
    "device_kind",
    "device_names_of",
    "flag",
    "is_file",
    "refuse_kind",
]

Kind = Literal["sram", "dram", "pim", "link", "array", "drive"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_CALLED = {
    "dram": "DRAM",
    "drive": "a drive",
    "pim": "a memory that computes",
    "link": "a link",
    "sram": "SRAM",
    "array": "an array that computes",
}
_EXAMPLES = {"dram": "DRAM, such as DDR4-3200", "drive": "a drive, such as ssd-mqsim-default"}
_EXAMPLES |= {"pim": "a memory that computes, such as attacc-bank", "sram": "SRAM"}
_LISTS = "a name from 'tiercade list devices', 'drives', 'pim', 'arrays' or 'links', or a YAML file"
_SUFFIXES = (".yaml", ".yml", ".json")


def is_file(name: str) -> bool:
    """Whether ``name`` is taken for a path."""
    return name.lower().endswith(_SUFFIXES) or "/" in name


def device_names_of(kind: Kind) -> tuple[str, ...]:
    """The bundled names of a kind; of links, which are made to measure, examples."""
    if kind == "dram":
        from simulator.memory.dram.devices import device_names

        return device_names()
    if kind == "drive":
        from simulator.memory.flash.drives import drive_names

        return drive_names()
    if kind == "pim":
        from simulator.memory.pim.presets import pim_names

        return pim_names()
    if kind == "link":
        from simulator.interconnect.protocols import EXAMPLES

        return EXAMPLES
    if kind == "array":
        from simulator.memory.arrays.devices import array_names

        return array_names()
    return ("sram",)


def device_kind(name: str, field: str) -> Kind:
    """The kind of the device ``name``, a bundled one or a file. Raises `InputError` with ``field`` for others."""
    if is_file(name):
        return _kind_of_file(name)
    if _is_link(name):
        from simulator.interconnect.protocols import link_type

        try:
            link_type(name)
        except InputError as error:
            raise InputError(error.problem, error.expected, field, nearest=error.nearest) from None
        return "link"
    known: list[str] = []
    for kind in KINDS:
        names = device_names_of(kind)
        if name.casefold() in {each.casefold() for each in names}:
            return kind
        known += names
    raise InputError(f"unknown device {name!r}", _LISTS, field, nearest=nearest_name(name, known))


def _is_link(name: str) -> bool:
    return name.startswith(("pcie-", "cxl-", "nvlink-")) or name.endswith("-ethernet")


def refuse_kind(kind: Kind, name: str) -> None:
    """Raise `InputError` where there is nothing to run on this kind of device."""
    if kind not in _RUN:
        expected = "DRAM, a drive or a memory that computes; see 'tiercade memory characterise'"
        raise InputError(f"{name} is {_CALLED[kind]}, which is not run by itself", expected, "--device")


def _kind_of_file(name: str) -> Kind:
    value = read_document(name).value
    if {"geometry", "cells"} <= value.keys():
        return "drive"
    if value and all(isinstance(entry, dict) and "dram" in entry for entry in value.values()):
        return "pim"
    return "array" if "tiles" in value else "dram"


_DRAM_RUN = """mapping channels ranks region granule streams stride indices write_every write_share queue write_queue
write_high write_low scheduler hit_cap page timeout_ticks refresh postpone pull_in tries interval workers log pattern
trace requests seed"""
_DRIVE_RUN = "size queue_depth seconds occupancy ideal_mapping inside pattern trace requests seed"
_RUN: dict[str, set[str]] = {
    "dram": set(_DRAM_RUN.split()),
    "drive": set(_DRIVE_RUN.split()),
    "pim": {"pattern", "shape", "batch", "elements", "read_results"},
}
_CHARACTERISE: dict[str, set[str]] = {
    "dram": {"mapping", "ranks"},
    "sram": {"node", "word_bits", "banks", "ports"},
}
_SHOW: dict[str, set[str]] = {"dram": {"ranks"}}
_COMMANDS = {"run": _RUN, "characterise": _CHARACTERISE, "show": _SHOW}


def flag(name: str) -> str:
    """The option of a parameter."""
    return f"--{name.replace('_', '-')}"


def check_options(command: str, kind: Kind, given: Iterable[str]) -> None:
    """Raise `InputError` for the first of the options ``given`` that means nothing for this kind of device."""
    table = _COMMANDS[command]
    for name in given:
        takers = [other for other, taken in table.items() if name in taken]
        if takers and kind not in takers:
            expected = " or ".join(_EXAMPLES[other] for other in takers)
            raise InputError(f"means nothing for {_CALLED[kind]}", expected, flag(name))


def check_pattern(kind: Kind, pattern: str | None) -> None:
    """Raise `InputError` for a pattern that belongs to another kind of device."""
    if pattern is None or pattern in _patterns(kind):
        return
    for other in ("dram", "drive", "pim"):
        if pattern in _patterns(other):
            problem = f"{pattern!r} is a pattern of {_PLURALS[other]}"
            raise InputError(problem, f"{_CALLED[other]}, or a pattern of {_PLURALS[kind]}", "--pattern")


_PLURALS = {"dram": "DRAM", "drive": "drives", "pim": "memories that compute"}


def _patterns(kind: str) -> Iterable[str]:
    if kind == "drive":
        from simulator.memory.flash.workload import PATTERNS

        return PATTERNS
    if kind == "pim":
        from dse.cli.memory_pim import OPERATIONS

        return OPERATIONS
    from simulator.memory.dram.patterns import PATTERNS as DRAM_PATTERNS

    return DRAM_PATTERNS
