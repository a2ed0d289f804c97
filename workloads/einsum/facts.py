"""What a tensor tells about a fiber it was computed from: the values that the pass analysis passes along.

A *fiber* is all coordinates of one rank of an input, the input's other coordinates held fixed. A fact says how one
tensor (or one point of an Einsum) hangs on such a fiber:

- ``visit``: it is an element of the input itself;
- ``carry``: it still has the fiber's coordinate, so using it visits the fiber (or a kept copy of it);
- ``wait``: it sums the fiber up as far as a place (a block's maximum, a running state), and is known from there on;
- ``end``: it needs every element of the fiber.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

__all__ = ["Count", "Fact", "Name", "Place", "Relation", "maybe_same", "merged", "same_fiber", "shifted"]

_FAR = 4


@dataclass(frozen=True, slots=True)
class Count:
    """A number of passes, ``constant + sum(coefficient * |rank|)``: loops may add passes with every turn."""

    constant: int
    turns: tuple[tuple[str, int], ...] = ()

    def key(self) -> tuple[int, int]:
        """Orders counts for large ranks."""
        return sum(coefficient for _, coefficient in self.turns), self.constant

    def plus(self, number: int) -> Count:
        """This many passes more."""
        return Count(self.constant + number, self.turns)

    def evaluate(self, sizes: dict[str, float]) -> float:
        """The number for given rank sizes."""
        return self.constant + sum(coefficient * sizes[rank] for rank, coefficient in self.turns)

    def __str__(self) -> str:
        parts = [f"|{rank}|" if coefficient == 1 else f"{coefficient}*|{rank}|" for rank, coefficient in self.turns]
        text = " + ".join(parts)
        if not parts:
            return str(self.constant)
        return text if not self.constant else f"{text} {'-' if self.constant < 0 else '+'} {abs(self.constant)}"


Name: TypeAlias = str | int
"""A rank of an Einsum, or the number of a tensor's axis."""


@dataclass(frozen=True, slots=True)
class Place:
    """A position on the fiber: the ranks (or axes) that give it, a constant offset, and windows that reach ahead of it.

    ``direction`` is 1 or -1 when the position was reached by a running state that rises or falls, otherwise 0.
    ``gathered`` marks positions named by an index tensor: what was picked is a fiber of its own from then on.
    """

    names: frozenset[Name]
    offset: int = 0
    ahead: frozenset[str] = frozenset()
    direction: int = 0
    gathered: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """Another coordinate of the input relative to ``name``: between ``low`` and ``high`` away from it."""

    name: Name
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Fact:
    """One dependence on the fiber, known in pass ``passes``; ``others`` relates the input's other coordinates.

    An entry of ``others`` is None where any coordinate may be meant (folded away, gathered). ``by`` is the tensor that
    completed the dependence, for explanations.
    """

    kind: str
    passes: Count
    place: Place
    others: tuple[Relation | None, ...]
    by: str = field(default="", compare=False)


def same_fiber(a: Fact, b: Fact) -> bool:
    """Whether two facts of one point may speak of one fiber: no other coordinate differs for certain."""
    return all(maybe_same(x, y) for x, y in zip(a.others, b.others, strict=True))


def maybe_same(a: Relation | None, b: Relation | None) -> bool:
    """Whether two relations can meet; only a constant distance other than 0 rules it out."""
    if a is None or b is None or a.name != b.name:
        return True
    return a.low - b.high <= 0 <= a.high - b.low


def shifted(relation: Relation | None, name: Name | None, by: int) -> Relation | None:
    """The relation seen from another name that lies ``by`` above; None when there is no such name."""
    if relation is None or name is None:
        return None
    return Relation(name, _bounded(relation.low + by), _bounded(relation.high + by))


def merged(facts: Iterable[Fact]) -> frozenset[Fact]:
    """The facts with those that differ only in offsets joined, so that a loop's facts stay few."""
    table: dict[object, Fact] = {}
    for fact in facts:
        place = fact.place
        names = tuple(relation.name if relation is not None else None for relation in fact.others)
        key = (fact.kind, fact.passes, place.names, place.ahead, place.direction, place.gathered, names)
        known = table.get(key)
        if known is None:
            table[key] = fact
            continue
        others = tuple(_joined(a, b) for a, b in zip(known.others, fact.others, strict=True))
        table[key] = replace(
            known, place=replace(known.place, offset=max(known.place.offset, place.offset)), others=others
        )
    return frozenset(table.values())


def _joined(a: Relation | None, b: Relation | None) -> Relation | None:
    if a is None or b is None:
        return None
    return Relation(a.name, min(a.low, b.low), max(a.high, b.high))


def _bounded(distance: float) -> float:
    """Distances beyond a few steps come from running states, whose reach is unlimited."""
    return math.copysign(math.inf, distance) if abs(distance) > _FAR else distance
