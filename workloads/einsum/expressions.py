"""Expressions and indices: what an Einsum computes at one point, as immutable values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "NOWHERE",
    "Access",
    "Call",
    "Constant",
    "Coordinate",
    "Expression",
    "Index",
    "Number",
    "Position",
    "Size",
    "Term",
    "accesses",
    "walk",
]

Position: TypeAlias = tuple[int, int]
NOWHERE: Position = (0, 0)
"""The position of what was not read from a text; texts count lines and columns from 1."""


@dataclass(frozen=True, slots=True)
class Number:
    """A literal."""

    value: float


@dataclass(frozen=True, slots=True)
class Size:
    """The number of coordinates of a rank, written ``|m|``."""

    rank: str
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Constant:
    """A named constant of the cascade."""

    name: str
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Coordinate:
    """The coordinate of the current point on a rank, used as a value."""

    rank: str
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Term:
    """``coefficient * factors * base``: base is a rank, a gathered value (an access), or None for a plain number."""

    coefficient: int
    base: str | Access | None
    factors: tuple[Size | Constant, ...] = ()


@dataclass(frozen=True, slots=True)
class Index:
    """An affine index expression, the sum of its terms: ``2*p + r - 1``, ``m1*|m0| + m0``, ``T[t]``."""

    terms: tuple[Term, ...]
    at: Position = field(default=NOWHERE, compare=False, repr=False)

    @property
    def rank(self) -> str | None:
        """The rank when the index is one rank and nothing else, otherwise None."""
        if len(self.terms) == 1:
            term = self.terms[0]
            if term.coefficient == 1 and not term.factors and isinstance(term.base, str):
                return term.base
        return None

    @property
    def ranks(self) -> tuple[str, ...]:
        """Ranks the index depends on, those inside gathers included, in order of appearance."""
        found: dict[str, None] = {}
        for term in self.terms:
            if isinstance(term.base, str):
                found[term.base] = None
            elif term.base is not None:
                found |= dict.fromkeys(term.base.ranks)
        return tuple(found)

    @property
    def joined(self) -> tuple[str, str] | None:
        """``(outer, inner)`` when the index is ``outer*|inner| + inner``, the whole of a split rank."""
        if len(self.terms) != 2:
            return None
        for outer, inner in (self.terms, self.terms[::-1]):
            plain = outer.coefficient == inner.coefficient == 1 and not inner.factors
            named = isinstance(outer.base, str) and isinstance(inner.base, str)
            if plain and named and outer.factors == (Size(str(inner.base)),):
                return str(outer.base), str(inner.base)
        return None

    @property
    def kept(self) -> tuple[str, ...]:
        """As an output index: the ranks of which every coordinate has a place of its own (``i + c``, joined pieces).

        Any other index scatters: points may meet, so its ranks are folded.
        """
        if self.joined is not None:
            return self.joined
        based = [term for term in self.terms if term.base is not None]
        plain = len(based) == 1 and based[0].coefficient == 1 and not based[0].factors
        return (based[0].base,) if plain and isinstance(based[0].base, str) else ()

    @property
    def gathers(self) -> tuple[Access, ...]:
        """The accesses whose values the index uses."""
        return tuple(term.base for term in self.terms if isinstance(term.base, Access))

    @property
    def is_constant(self) -> bool:
        """True when the index names the same coordinate at every point (``0``, ``|m1|``)."""
        return all(term.base is None for term in self.terms)


@dataclass(frozen=True, slots=True)
class Access:
    """A tensor at an index: ``K[b, h, m, e]``."""

    tensor: str
    indices: tuple[Index, ...]
    at: Position = field(default=NOWHERE, compare=False, repr=False)

    @property
    def ranks(self) -> tuple[str, ...]:
        """Ranks the access depends on, in order of appearance."""
        found: dict[str, None] = {}
        for index in self.indices:
            found |= dict.fromkeys(index.ranks)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Call:
    """A map operator applied to its arguments; infix operators are calls too."""

    operator: str
    arguments: tuple[Expression, ...]
    at: Position = field(default=NOWHERE, compare=False, repr=False)


Expression: TypeAlias = Number | Size | Constant | Coordinate | Access | Call


def walk(expression: Expression) -> Iterator[Expression]:
    """The nodes of an expression, parents first; accesses inside indices are not entered."""
    yield expression
    if isinstance(expression, Call):
        for argument in expression.arguments:
            yield from walk(argument)


def accesses(expression: Expression) -> Iterator[Access]:
    """The tensor accesses of an expression, gathered index tensors included."""
    for node in walk(expression):
        if isinstance(node, Access):
            yield node
            for index in node.indices:
                for gather in index.gathers:
                    yield from accesses(gather)
