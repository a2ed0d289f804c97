"""The pieces that a nest cuts ranks into, and how the coordinates of a piece are dealt over instances.

Loops cut: a tile of 10 in steps of 4 gives pieces of 4, 4 and 2, and each piece is cut by the loops below it. The
pieces left by the innermost loop are the steps: their coordinates run side by side, coordinate ``x`` of a step on the
lane ``x``. Of several fan-outs the outermost deals first: with factors 4 and 2, lane ``x`` is in instance ``x mod 4``
of the outer and in ``x // 4 mod 2`` of the inner. Counts are exact for short pieces.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.problem import Axis, TensorUse
from mappers.mapspace.tree import Path

__all__ = ["Deal", "RankCuts", "elements", "largest_share", "rank_cuts"]


@dataclass(frozen=True, slots=True)
class Deal:
    """A fan-out's factor on a rank. ``component`` counts levels from the root, the unit last; ``reuse`` is a role."""

    component: int
    dimension: str
    reuse: str | None
    factor: int


@dataclass(frozen=True)
class RankCuts:
    """One rank on one Einsum's path: its loops as (position, tile) and its fan-outs, both outermost first."""

    size: int
    loops: tuple[tuple[int, int], ...]
    deals: tuple[Deal, ...]

    @cached_property
    def step(self) -> int:
        """Coordinates of the largest step."""
        return min([self.size, *(tile for _, tile in self.loops)])

    @cached_property
    def lanes(self) -> int:
        """Coordinates that can run side by side."""
        return math.prod(deal.factor for deal in self.deals)

    def factor(self, component: int) -> int:
        """Instances along the rank of the component at that depth."""
        return math.prod(deal.factor for deal in self.deals if deal.component <= component)

    def pieces(self, position: int) -> Counter[int]:
        """Size -> number of pieces below the loops that stand before ``position`` on the path."""
        return self._cut(self.size, tuple(tile for place, tile in self.loops if place < position))

    def first(self, position: int) -> int:
        """Size of the first piece there, which is the largest."""
        return min([self.size, *(tile for place, tile in self.loops if place < position)])

    def active(self, piece: int, component: int) -> int:
        """Instances of the component that take part in a piece."""
        return min(piece, self.step, self.factor(component))

    def accesses(self, piece: int, parent: int, child: int, role: str) -> int:
        """Accesses to all instances of ``parent`` for one element that each active instance of ``child`` handles.

        A fan-out between the two that reuses the tensor's role makes one access of those of its instances.
        """
        kept = tuple(
            (deal.factor, deal.component <= parent or deal.reuse != role)
            for deal in self.deals
            if deal.component <= child
        )
        return _distinct(self.active(piece, child), kept)

    def shares(self, position: int, piece: int, component: int) -> Counter[tuple[int, int]]:
        """(coordinates, distance from first to last) -> active instances of the component with such a share."""
        tiles = tuple(tile for place, tile in self.loops if place >= position)
        factor = self.factor(component)
        if factor == 1:
            return Counter({(piece, piece - 1): 1})
        steps = self._cut(piece, tiles)
        found: Counter[tuple[int, int]] = Counter()
        for instance in range(self.active(piece, component)):
            count = sum(number * len(range(instance, step, factor)) for step, number in steps.items())
            found[count, _last(piece, tiles, instance, factor) - instance] += 1
        return found

    @staticmethod
    def _cut(size: int, tiles: tuple[int, ...]) -> Counter[int]:
        return Counter(_cut(size, tiles))


@lru_cache(maxsize=65536)
def _cut(size: int, tiles: tuple[int, ...]) -> Mapping[int, int]:
    pieces = Counter({size: 1})
    for tile in tiles:
        cut: Counter[int] = Counter()
        for piece, number in pieces.items():
            whole, rest = divmod(piece, tile)
            if whole:
                cut[tile] += number * whole
            if rest:
                cut[rest] += number
        pieces = cut
    return pieces


@lru_cache(maxsize=65536)
def _distinct(active: int, deals: tuple[tuple[int, bool], ...]) -> int:
    """Different places among the first ``active`` lanes when only the fan-outs marked True tell them apart."""
    if all(kept for _, kept in deals):
        return active
    if not any(kept for _, kept in deals):
        return min(active, 1)
    places = set()
    for lane in range(active):
        rest, place = lane, []
        for factor, kept in deals:
            rest, digit = divmod(rest, factor)
            if kept:
                place.append(digit)
        places.add(tuple(place))
    return len(places)


def _last(piece: int, tiles: tuple[int, ...], instance: int, factor: int) -> int:
    """The last coordinate of a piece that the instance works on."""
    if not tiles:
        return piece - 1 - (piece - 1 - instance) % factor
    tile, below = tiles[0], tiles[1:]
    whole, rest = divmod(piece, tile)
    if rest and instance < min([rest, *below]):
        return whole * tile + _last(rest, below, instance, factor)
    return (whole - 1) * tile + _last(tile, below, instance, factor)


def rank_cuts(path: Path, sizes: Mapping[str, int], hierarchy: Hierarchy) -> dict[str, RankCuts]:
    """Each rank on the path, also those that only other Einsums have; ``sizes`` are the cascade's rank sizes."""
    levels = hierarchy.path(path.compute.unit)
    depth = {name: place for place, name in enumerate((*levels, path.compute.unit))}
    ranks = dict.fromkeys((*path.einsum.ranks, *(loop.rank for _, loop in path.loops)))
    cuts = {}
    for rank in ranks:
        deals = []
        for spread in path.spreads:
            if spread.rank == rank:
                component = hierarchy.levels.get(spread.component) or hierarchy.units[spread.component]
                reuse = component.fanout[spread.dimension].reuse
                deals.append(Deal(depth[spread.component], spread.dimension, reuse, spread.factor))
        deals.sort(key=lambda deal: deal.component)
        loops = tuple((position, loop.tile) for position, loop in path.loops if loop.rank == rank)
        cuts[rank] = RankCuts(sizes[rank], loops, tuple(deals))
    return cuts


def elements(use: TensorUse, cuts: Mapping[str, RankCuts], position: int, component: int) -> int:
    """Elements of all tiles at a position of the path, summed over pieces and instances that have a share.

    An axis of one rank has as many elements as coordinates; one that sums ranks has those of its hull.
    """
    total = 1
    for axes in _connected(use.axes):
        ranks = tuple(dict.fromkeys(rank for axis in axes for rank, _ in axis.terms))
        if len(axes) == 1 and len(ranks) == 1:
            total *= cuts[ranks[0]].size
            continue
        classes: list[Counter[tuple[int, int]]] = []
        for rank in ranks:
            shares: Counter[tuple[int, int]] = Counter()
            for piece, number in cuts[rank].pieces(position).items():
                for share, instances in cuts[rank].shares(position, piece, component).items():
                    shares[share] += number * instances
            classes.append(shares)
        part = 0
        for combination in product(*(shares.items() for shares in classes)):
            kinds = {rank: kind for rank, (kind, _) in zip(ranks, combination, strict=True)}
            part += math.prod(number for _, number in combination) * _touched(axes, kinds)
        total *= part
    return total


def largest_share(use: TensorUse, cuts: Mapping[str, RankCuts], position: int, component: int) -> int:
    """Elements of the largest tile at a position that one instance of the component holds."""
    largest = 1
    for axes in _connected(use.axes):
        ranks = tuple(dict.fromkeys(rank for axis in axes for rank, _ in axis.terms))
        classes = [cuts[rank].shares(position, cuts[rank].first(position), component) for rank in ranks]
        largest *= max(_touched(axes, dict(zip(ranks, combination, strict=True))) for combination in product(*classes))
    return largest


def _touched(axes: tuple[Axis, ...], share: Mapping[str, tuple[int, int]]) -> int:
    total = 1
    for axis in axes:
        if len(axis.terms) == 1:
            total *= share[axis.terms[0][0]][0]
        else:
            total *= 1 + sum(abs(coefficient) * share[rank][1] for rank, coefficient in axis.terms)
    return total


@lru_cache(maxsize=4096)
def _connected(axes: tuple[Axis, ...]) -> tuple[tuple[Axis, ...], ...]:
    """Groups of axes that share no rank with another group."""
    groups: list[list[Axis]] = []
    for axis in axes:
        ranks = {rank for rank, _ in axis.terms}
        touching = [group for group in groups if any(rank in ranks for other in group for rank, _ in other.terms)]
        groups = [group for group in groups if group not in touching]
        groups.append([*(other for group in touching for other in group), axis])
    return tuple(tuple(group) for group in groups)
