"""A mapping: how a cascade's loops are cut, ordered and spread, and where each tensor's tiles are stored.

A nest is read from the top. A `Loop` cuts the current tile of its rank into pieces of ``tile`` coordinates and walks
them; a `Store` keeps the current tile of a tensor at a level; a nest ends in a `Compute`, or in a `Branch` whose nests
run one after the other, or interleaved, inside the loops above. A `Spread` deals the innermost tile of a rank over the
instances of a fan-out. Loops shared by several Einsums (fusion) stand above the branch that joins them.

Two rules make a nest a program. A tile is fetched once for each iteration of the innermost loop above its store that
walks one of its ranks: loops below that one, over other ranks, leave it where it is. Store nodes of one tensor stand in
the order of their levels, those of different tensors in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Branch", "Compute", "Loop", "Mapping", "Nest", "Node", "Spread", "Store", "einsum_paths"]


@dataclass(frozen=True, slots=True)
class Loop:
    """A temporal loop over ``rank`` in steps of ``tile`` coordinates; the last step may be short."""

    rank: str
    tile: int


@dataclass(frozen=True, slots=True)
class Spread:
    """``factor`` coordinates of ``rank`` run side by side on the ``dimension`` of the fan-out above ``component``.

    Spreads stand at the bottom of a nest; stores of levels below the fan-out hold one instance's share of their tile.
    """

    component: str
    dimension: str
    rank: str
    factor: int


@dataclass(frozen=True, slots=True)
class Store:
    """``level`` keeps the current tile of ``tensor``."""

    level: str
    tensor: str


@dataclass(frozen=True, slots=True)
class Compute:
    """Einsum ``einsum`` runs on ``unit``: one point for each instance in use and step."""

    einsum: str
    unit: str


@dataclass(frozen=True, slots=True)
class Branch:
    """Nests inside common loops: ``sequential``, one after the other, or ``pipelined``, interleaved."""

    execution: Literal["sequential", "pipelined"]
    nests: tuple[Nest, ...]


Node: TypeAlias = Loop | Spread | Store | Compute | Branch
Nest: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True)
class Mapping:
    """A mapping of a cascade onto the hierarchy named ``hierarchy``."""

    cascade: str
    hierarchy: str
    nest: Nest


def einsum_paths(nest: Nest, above: Nest = ()) -> Iterator[tuple[Compute, Nest]]:
    """Each Einsum's compute node with the nodes above it, outermost first, in order of execution."""
    path = list(above)
    for node in nest:
        if isinstance(node, Branch):
            for inner in node.nests:
                yield from einsum_paths(inner, tuple(path))
        elif isinstance(node, Compute):
            yield node, tuple(path)
        else:
            path.append(node)
