"""What a hardware unit is, apart from its Amaranth component."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from hw.rtl.contract import CycleContract
from hw.rtl.ports import Stream, Streams

__all__ = ["AttentionWork", "ReducedWidths", "Unit", "Work"]

P = TypeVar("P")


@dataclass(frozen=True)
class ReducedWidths:
    """Parameters small enough for a proof, and why what is proved of them says something of the others."""

    settings: Mapping[str, Any]
    why: str = ""


@dataclass(frozen=True)
class Work:
    """What a unit does of a product of matrices: each accepted beat multiplies and adds ``macs`` pairs.

    ``computed`` is the compute format (a name of `workloads.formats`) whose contractions run on it. ``beats`` names the
    keyword of the contract's closed form that counts beats.
    """

    macs: int
    computed: str
    beats: str = "beats"

    def shape(self, dots: int, length: int) -> dict[str, int]:
        """The closed form's keywords for ``dots`` dot products of ``length`` pairs, one after another."""
        return {self.beats: dots * -(-length // self.macs)}


@dataclass(frozen=True)
class AttentionWork:
    """What a unit does that computes whole rows of attention: ``group`` queries of ``head`` elements against the keys
    and values they share, ``macs`` multiply-adds a cycle at best."""

    macs: int
    computed: str
    head: int
    group: int

    def shape(self, rows: int, length: int) -> dict[str, tuple[int, ...]]:
        """The closed form's keywords for ``rows`` groups against ``length`` positions each, one after another."""
        return {"lengths": (length,) * rows}


@dataclass(frozen=True)
class Unit(Generic[P]):
    """One unit and everything it is held to.

    ``parameters`` is a frozen dataclass with a default for each field, whose ``__post_init__`` raises `InputError` for
    values the unit cannot have. ``component`` is "module:Class"; the class takes the parameters. The functions take
    parameters first: ``golden`` maps input beats to output beats (numpy, written apart from the RTL); ``stimulus``
    draws inputs of about so many beats on its busiest stream, whole packets; ``directed`` gives the corners, each a
    set of inputs; ``coverage`` says of a run which of the unit's situations occurred, always with the same keys.
    """

    name: str
    family: str
    summary: str
    parameters: type[P]
    streams: Callable[[P], tuple[Stream, ...]]
    golden: Callable[[P, Streams], Streams]
    stimulus: Callable[[P, np.random.Generator, int], Streams]
    directed: Callable[[P], list[Streams]]
    coverage: Callable[[P, Streams, Streams], dict[str, bool]]
    contract: Callable[[P], CycleContract]
    component: str
    numerics: str
    in_order: Callable[[P, Streams, Mapping[str, list[int]]], Streams] | None = None
    """For a unit whose outputs depend on the order of acceptance: the output beats, given the cycles in which each
    input's beats were accepted; ``golden`` then only says how many there are."""
    variants: tuple[Mapping[str, Any], ...] = ()
    """Parameters, beside the defaults, that the regression runs."""
    formal: ReducedWidths | None = None
    """Reduced widths at which the stream rules are proved; None: the defaults."""
    formal_depth: int = 12
    work: Callable[[P], Work | AttentionWork] | None = None
    """Of units that compute dot products or attention, one beat after another; None for all others."""
    synthesis: tuple[Mapping[str, Any], ...] = field(default=({},))
    """Parameters at which area and path are kept as a baseline, and over which cost is fitted."""

    def build(self, parameters: P) -> Any:
        """The Amaranth component; needs amaranth."""
        module, name = self.component.split(":")
        return getattr(importlib.import_module(module), name)(parameters)
