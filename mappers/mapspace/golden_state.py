"""What the slow twin of the cost model keeps: elements, buffers, and the tree of nodes they stand in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from mappers.mapspace import mapping as ir

__all__ = [
    "Buffer",
    "Digits",
    "Element",
    "Filler",
    "GoldenCounts",
    "Instance",
    "Place",
    "Ranges",
    "Turns",
    "Value",
    "steps",
]

Element: TypeAlias = tuple[int, ...]
Digits: TypeAlias = tuple[tuple[int, int], ...]  # (spread's place among the spreads, instance along it)
Instance: TypeAlias = tuple[tuple[str, str, int, int], ...]  # (component, dimension, spread there, instance but 0)
Ranges: TypeAlias = dict[str, range]
Turns: TypeAlias = tuple[tuple[int, str, int], ...]  # (loop, rank, turn)


@dataclass
class GoldenCounts:
    """Bits read and written by (level, tensor), steps by Einsum, peak bits of an instance by level but the root."""

    read_bits: dict[tuple[str, str], int] = field(default_factory=dict)
    write_bits: dict[tuple[str, str], int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    peak_bits: dict[str, int] = field(default_factory=dict)


@dataclass
class Value:
    """An element in a buffer: terms added so far (None: given), in which turns; ``lent``: the sum is further in."""

    terms: int | None
    turns: Turns
    lent: bool = False


@dataclass
class Buffer:
    """One instance's tile, with the first and the last step of an Einsum that has it on its path.

    Room for a result is made before its first value arrives.
    """

    born: int
    touched: int
    values: dict[Element, Value] = field(default_factory=dict)


class Filler(Protocol):
    """The Einsum that filled a store, which also empties it."""

    def evict(self, place: Place) -> None:
        """Let the tile go."""


@dataclass
class Place:
    """A node of the tree. A store that is filled has its instances, and the scope and ranges that it was filled for."""

    node: ir.Node
    parent: Place | None
    nest: int
    nests: list[list[Place]] = field(default_factory=list)
    scope: tuple[int, int] = (0, 0)
    opened: int = 0
    ranges: Ranges = field(default_factory=dict)
    held: dict[Instance, Buffer] | None = None
    filler: Filler | None = None


def steps(piece: range, tiles: list[int]) -> Iterator[range]:
    """The pieces that loops in these tiles leave, in order."""
    if not tiles:
        yield piece
        return
    for start in range(piece.start, piece.stop, tiles[0]):
        yield from steps(range(start, min(start + tiles[0], piece.stop)), tiles[1:])
