"""How an Einsum's ranks may be spread over the fan-outs between a root and a unit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from hw.spec.hierarchy import Fanout, Hierarchy
from mappers.mapspace.problem import EinsumProblem

__all__ = ["Lane", "divisors", "spreadings"]


@dataclass(frozen=True, slots=True)
class Lane:
    """``factor`` coordinates of ``rank`` side by side on one dimension of the fan-out above ``component``.

    ``place`` is the component's place on the path: 1 for the level below the root, the path's length for the unit.
    """

    component: str
    dimension: str
    place: int
    reuse: str | None
    rank: str
    factor: int


def divisors(number: int) -> tuple[int, ...]:
    """All divisors, rising."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return tuple(dict.fromkeys((*small, *(number // d for d in reversed(small)))))


def spreadings(
    problem: EinsumProblem, hierarchy: Hierarchy, unit: str, path: tuple[str, ...], imperfect: bool
) -> tuple[tuple[Lane, ...], ...]:
    """Every way to spread ranks over the fan-outs on the way to ``unit``, after the machine's ``min_usage`` rules.

    Factors divide what is left of their rank; with ``imperfect`` a rank that is spread once may also take the whole
    dimension and leave lanes idle in its last step.
    """
    components = [(name, place, hierarchy.levels[name].fanout) for place, name in enumerate(path) if place > 0]
    components.append((unit, len(path), hierarchy.units[unit].fanout))
    dimensions = [(c, d, place, fanout) for c, place, fanouts in components for d, fanout in fanouts.items()]
    found: list[tuple[Lane, ...]] = [()]
    for component, dimension, place, fanout in dimensions:
        ranks = _ranks(problem, fanout)
        grown = []
        for lanes in found:
            left = dict(problem.size)
            for lane in lanes:
                left[lane.rank] = -(-left[lane.rank] // lane.factor)
            spread = {lane.rank for lane in lanes}
            uneven = {lane.rank for lane in lanes if problem.size[lane.rank] % lane.factor}
            for factors in _factors([left[r] for r in ranks], fanout.size, imperfect):
                chosen = tuple(
                    Lane(component, dimension, place, fanout.reuse, rank, factor)
                    for rank, factor in zip(ranks, factors, strict=True)
                    if factor > 1
                )
                if any(lane.rank in uneven for lane in chosen):
                    continue
                if any(lane.rank in spread and left[lane.rank] % lane.factor for lane in chosen):
                    continue
                grown.append((*lanes, *chosen))
        found = _busiest(grown, component, dimension, fanout)
    return tuple(found)


def _ranks(problem: EinsumProblem, fanout: Fanout) -> tuple[str, ...]:
    """Ranks that may be spread there: none that the reused operand has, none of a sliding window.

    How many elements overlapping windows share between instances depends on which coordinates each gets; the counts of
    the enumeration do not model that, so windows stay within an instance.
    """
    reused = [use for use in problem.uses if use.role == fanout.reuse]
    sliding = {rank for use in problem.uses for axis in use.axes if len(axis.terms) > 1 for rank, _ in axis.terms}
    return tuple(
        rank
        for rank in problem.ranks
        if problem.size[rank] > 1 and rank not in sliding and not any(rank in use.ranks for use in reused)
    )


def _factors(sizes: list[int], limit: int, imperfect: bool) -> Iterator[tuple[int, ...]]:
    options = []
    for size in sizes:
        choices = [d for d in divisors(size) if d <= limit]
        if imperfect and size % limit and size > limit:
            choices.append(limit)
        options.append(choices)
    for factors in itertools.product(*options):
        if math.prod(factors) <= limit:
            yield factors


def _busiest(found: list[tuple[Lane, ...]], component: str, dimension: str, fanout: Fanout) -> list[tuple[Lane, ...]]:
    """Those that use the dimension enough; where none does, those that use it most."""
    if fanout.min_usage <= 0.0:
        return found

    def used(lanes: tuple[Lane, ...]) -> int:
        mine = (lane.factor for lane in lanes if (lane.component, lane.dimension) == (component, dimension))
        return math.prod(mine)

    most = max(map(used, found))
    needed = min(math.ceil(fanout.min_usage * fanout.size - 1e-9), most)
    return [lanes for lanes in found if used(lanes) >= needed]
