"""A study's constants: numbers that say of what kind they are and where they are from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hw.spec.load import load_system
from hw.spec.source import Source, SourceKind
from workloads.errors import InputError

__all__ = ["Constant", "derived", "fitted", "of_machine", "stated", "synthetic"]


@dataclass(frozen=True)
class Constant:
    """``value`` in ``unit`` (SI; empty for none); None where the source gives a rule or a table.

    ``source`` is where a stated one stands, what a derived one follows from, which data a fitted one was fitted to
    (never the numbers it then predicts), why a synthetic one is as it is.
    """

    value: Any
    unit: str
    kind: SourceKind
    source: str

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise InputError("a constant without a source", "where its value is from", "source")


def stated(value: Any, unit: str, source: str) -> Constant:
    """A number that the source gives: its section, table or figure."""
    return Constant(value, unit, "stated", source)


def derived(value: Any, unit: str, source: str) -> Constant:
    """A number that follows from stated ones: how."""
    return Constant(value, unit, "derived", source)


def fitted(value: Any, unit: str, source: str) -> Constant:
    """A number fitted to data: which, and that they are not what is predicted."""
    return Constant(value, unit, "fitted", source)


def synthetic(value: Any, unit: str, source: str) -> Constant:
    """A number nobody gives: why it is as it is."""
    return Constant(value, unit, "synthetic", source)


def of_machine(system: str, path: str) -> Constant:
    """A number of a bundled machine with the kind and source that its file gives: ``("a40", "tiers.gddr.capacity")``.

    Raises `InputError` where there is none, or it has no source.
    """
    plain = load_system(system).model_dump(by_alias=True)
    *holders, last = path.split(".")
    holder: Any = plain
    for part in holders:
        holder = holder.get(part, {}) if isinstance(holder, dict) else {}
    source = holder.get("sources", {}).get(last) if isinstance(holder, dict) else None
    if not isinstance(source, Source) or last not in holder:
        raise InputError(f"{path} of {system} has no source", "a number with one in the machine's file", "constants")
    return Constant(holder[last], "", source.kind, f"machine {system}: {source.text}")
