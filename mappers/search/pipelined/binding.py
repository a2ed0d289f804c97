"""Which array computes which Einsum, and which ranks its dimensions take: every choice the machine allows.

An array with one layout gives all its Einsums the same ranks; elsewhere each Einsum has its own. Where a dimension asks
for a least use, an Einsum must have a rank to spread there, and of all layouts only those that reach the use are taken,
or, where none does, those that use most.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

from mappers.mapspace.problem import CascadeProblem, EinsumProblem
from mappers.search.pipelined.local import Placement
from mappers.search.pipelined.machine import Array, Dimension, Machine
from mappers.search.pipelined.region import Region

__all__ = ["Layouts", "blocked", "layouts", "options", "resident"]

Layouts = tuple[tuple[str | None, ...] | None, ...]
"""For each array with one layout its ranks by dimension; None for the others."""


def layouts(problem: CascadeProblem, machine: Machine) -> Iterator[tuple[Layouts, ...]]:
    """Groups of layout choices, those of highest use first; a later group matters only if the former have no mapping.

    The first group also holds every layout that reaches the least use of all its dimensions.
    """
    sizes = {rank: size for einsum in problem.einsums for rank, size in einsum.sizes}
    ranked: list[list[list[tuple[str | None, ...] | None]]] = []
    for array in machine.arrays:
        if not array.unit.one_layout:
            ranked.append([[None]])
            continue
        by_use: dict[float, list[tuple[str | None, ...] | None]] = {}
        for ranks in _spreads(array, {rank: size for rank, size in sizes.items() if size > 1}):
            if any(not blocked(array, ranks, einsum) for einsum in problem.einsums):
                by_use.setdefault(min(1.0, _use(array, ranks, sizes)), []).append(ranks)
        ranked.append([by_use[use] for use in sorted(by_use, reverse=True)] or [[None]])
    for grade in range(max(len(groups) for groups in ranked)):
        allowed = [list(itertools.chain.from_iterable(groups[: grade + 1])) for groups in ranked]
        yield tuple(itertools.product(*allowed))


def options(
    problem: CascadeProblem,
    machine: Machine,
    whole: Region,
    chosen: Layouts,
    place: int,
    before: tuple[Placement, ...],
    fused: bool,
    spilled: frozenset[str],
) -> tuple[Placement, ...]:
    """Where the Einsum at ``place`` may run, given where the earlier ones do."""
    einsum = problem.einsums[place]
    found: list[Placement] = []
    for index, array in enumerate(machine.arrays):
        if array.missing(einsum) is not None:
            continue
        layout = chosen[index]
        if array.unit.one_layout:
            candidates = [layout] if layout is not None else []
        else:
            walked = {rank: size for rank, size in einsum.sizes if size > 1}
            candidates = list(_spreads(array, walked))
        legal: list[tuple[float, Placement]] = []
        for ranks in candidates:
            placement = Placement(index, ranks)
            if blocked(array, ranks, einsum):
                continue
            here = resident(machine, whole, place, placement, before, fused, spilled)
            if array.unit.operand_buses and not _on_buses(array, ranks, einsum, here):
                continue
            legal.append((_use(array, ranks, einsum.size), placement))
        most = 0.0 if array.unit.one_layout else max((use for use, _ in legal), default=0.0)
        found.extend(placement for use, placement in legal if use >= min(1.0, most))
    return tuple(found)


def resident(
    machine: Machine,
    whole: Region,
    place: int,
    placement: Placement,
    before: tuple[Placement, ...],
    fused: bool,
    spilled: frozenset[str],
) -> frozenset[str]:
    """Operands of the Einsum at ``place`` that earlier Einsums left where it needs them.

    Running states, and what another granule or another pass needs too, pass the buffer. Without fusion only Einsums
    that follow one another on one array leave anything to each other.
    """
    start = 0
    if not fused:
        start = place
        while start and before[start - 1].array == placement.array:
            start -= 1
    found = []
    lanes = _lanes(machine.arrays[placement.array], placement)
    for use in whole.einsums[place].operands:
        writers = whole.writers.get(use.tensor, ())
        if not writers or use.tensor in spilled or any(not start <= writer < place for writer in writers):
            continue
        if any(before[writer] != placement for writer in writers):
            continue
        looped = [*whole.cuttable, *(r for r in whole.streamed if lanes.get(r, 1) < whole.size[r])]
        if any(whole.accumulates(use.tensor, rank) or whole.crosses(use.tensor, rank) for rank in looped):
            continue
        found.append(use.tensor)
    return frozenset(found)


def _lanes(array: Array, placement: Placement) -> dict[str, int]:
    return {r: d.size for d, r in zip(array.dimensions, placement.ranks, strict=True) if r is not None}


def _spreads(array: Array, sizes: Mapping[str, int]) -> Iterator[tuple[str | None, ...]]:
    """Every way to give each dimension a rank, or none, no rank twice."""
    for ranks in itertools.product((None, *sizes), repeat=len(array.dimensions)):
        used = [rank for rank in ranks if rank is not None]
        if len(set(used)) == len(used):
            yield ranks


def _use(array: Array, ranks: tuple[str | None, ...], sizes: Mapping[str, int]) -> float:
    """How much of what ``min_usage`` asks for is used; 1 and more is enough."""
    shares = []
    for dimension, rank in zip(array.dimensions, ranks, strict=True):
        if dimension.min_usage > 0:
            lanes = min(dimension.size, sizes.get(rank, 1)) if rank is not None else 1
            shares.append(min(1.0, lanes / dimension.size / dimension.min_usage))
    return math.prod(shares)


def blocked(array: Array, ranks: tuple[str | None, ...], einsum: EinsumProblem) -> bool:
    """True when the Einsum has nothing to spread there, takes one step after another, or sums what nobody passes on."""
    return any(_bars(dimension, rank, einsum) for dimension, rank in zip(array.dimensions, ranks, strict=True))


def _bars(dimension: Dimension, rank: str | None, einsum: EinsumProblem) -> bool:
    if rank is None or rank not in einsum.size:
        return dimension.min_usage > 0 and any(size > 1 for _, size in einsum.sizes) and dimension.size > 1
    if rank in einsum.carried:
        return True
    return rank not in einsum.output.ranks and not dimension.reduces


def _on_buses(array: Array, ranks: tuple[str | None, ...], einsum: EinsumProblem, here: frozenset[str]) -> bool:
    if len(array.dimensions) < 2:
        return True
    return all(
        use.tensor in here or any(rank is None or rank not in use.ranks for rank in ranks) for use in einsum.operands
    )
