"""Every mapping of a small problem, written out literally and priced one by one: slow, plain, no code of the search.

All chains of levels that the keep rules allow, all ways to fill fan-outs, all chains of divisors for every rank, all
orders of loops and stores. Two orders that are the same program are written once: stores side by side, and loops below
the last store. Fused pairs share any loops over ranks that both have; inside them may stand the tensor that passes
between the two, and stores of one of them.

What is left out, by intent, is what the search leaves out: loops over a rank that an Einsum lacks (its work would be
repeated), one copy of an input for two Einsums, intermediates whose outermost level is not the one below the root.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hw.spec.hierarchy import Fanout, Hierarchy
from mappers.mapspace.cost import evaluate, over_capacity
from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Nest, Node, Spread, Store
from mappers.mapspace.problem import CascadeProblem, EinsumProblem, TensorUse
from workloads.errors import InputError

__all__ = ["Best", "TooMany", "best_of_all", "every_nest"]


class TooMany(Exception):
    """More mappings than asked for."""


@dataclass
class Best:
    """The least of each objective over all mappings that fit, infinite where none does; how many were priced."""

    energy: float = math.inf
    latency: float = math.inf
    edp: float = math.inf
    priced: int = 0

    def take(self, energy_j: float, latency_s: float) -> None:
        self.energy, self.latency = min(self.energy, energy_j), min(self.latency, latency_s)
        self.edp = min(self.edp, energy_j * latency_s)


def best_of_all(problem: CascadeProblem, hierarchy: Hierarchy, most: int, fuse: bool = True) -> Best:
    """Price every mapping of one Einsum, or of two and a tensor between them.

    Raises `TooMany`, before any is priced, when there are more than ``most``.
    """
    apart = [list(itertools.islice(every_nest(einsum, hierarchy), most + 1)) for einsum in problem.einsums]
    fused: list[Nest] = []
    if sum(map(len, apart)) > most:
        raise TooMany
    if fuse and problem.intermediates:
        (first, second), (shared,) = problem.einsums, problem.intermediates
        fused = list(itertools.islice(_fused(first, second, shared, hierarchy, most), most + 1))
    if sum(map(len, apart)) + len(fused) > most:
        raise TooMany
    best = Best(priced=sum(map(len, apart)) + len(fused))
    # Through the root: each Einsum's own nests, priced alone and added up.
    fronts = []
    for einsum, nests in zip(problem.einsums, apart, strict=True):
        alone = CascadeProblem(problem.name, (einsum,), (), ())
        fronts.append(_front([_cost(nest, alone, hierarchy) for nest in nests]))
    for costs in itertools.product(*fronts):
        best.take(sum(energy for energy, _ in costs), sum(latency for _, latency in costs))
    for nest in fused:
        cost = _cost(nest, problem, hierarchy)
        if cost is not None:
            best.take(*cost)
    return best


def _front(costs: Sequence[tuple[float, float] | None]) -> list[tuple[float, float]]:
    """Costs that no other undercuts in both, so that adding up two lists stays short."""
    kept: list[tuple[float, float]] = []
    for cost in sorted({cost for cost in costs if cost is not None}):
        if not kept or cost[1] < kept[-1][1]:
            kept.append(cost)
    return kept


def _cost(nest: Nest, problem: CascadeProblem, hierarchy: Hierarchy) -> tuple[float, float] | None:
    try:
        cost = evaluate(Mapping(problem.name, hierarchy.name, nest), problem, hierarchy)
    except InputError:  # instances that deal a shared tile differently: no program
        return None
    return None if over_capacity(cost, hierarchy) else (cost.energy_j, cost.latency_s)


# ---- one Einsum ----


def every_nest(einsum: EinsumProblem, hierarchy: Hierarchy) -> Iterator[Nest]:
    """Every nest of one Einsum whose tensors all come from the root."""
    for unit in _units(einsum, hierarchy):
        path = hierarchy.path(unit)
        for chains in itertools.product(*(_chains(use, hierarchy, path, at_root=True) for use in einsum.uses)):
            top = tuple(Store(path[0], use.tensor) for use in einsum.uses)
            below = [tuple(Store(level, use.tensor) for level in chain if level != path[0])
                     for use, chain in zip(einsum.uses, chains, strict=True)]  # fmt: skip
            for spreads in _spreadings(einsum, hierarchy, unit):
                for body in _bodies(einsum, dict(einsum.size), below, spreads):
                    yield (*top, *body, *spreads, Compute(einsum.name, unit))


def _units(einsum: EinsumProblem, hierarchy: Hierarchy) -> list[str]:
    kind = "contraction" if einsum.contraction else "other"
    return [name for name, unit in hierarchy.units.items() if unit.takes in ("all", kind)]


def _chains(use: TensorUse, hierarchy: Hierarchy, path: tuple[str, ...], at_root: bool) -> list[tuple[str, ...]]:
    """The sets of levels that may keep a tensor, from the root or from the level below it."""
    found = []
    for kept in itertools.product((True, False), repeat=len(path)):
        if kept[0] != at_root or (not at_root and not (use.intermediate and len(path) > 1 and kept[1])):
            continue
        here = tuple(level for level, keeps in zip(path, kept, strict=True) if keeps)
        obeys = True
        for level, keeps in zip(path, kept, strict=True):
            rules = hierarchy.levels[level]
            must = any(_says(rule, use, here) for rule in rules.keep)
            may = must or any(_says(rule, use, here) for rule in rules.may_keep)
            obeys = obeys and (keeps or not must) and (may or not keeps)
        if obeys:
            found.append(here)
    return found


def _says(rule: str, use: TensorUse, kept: tuple[str, ...]) -> bool:
    if rule.startswith("not "):
        return not _says(rule[4:], use, kept)
    return rule == "all" or rule == use.role or rule in kept or (rule == "intermediate" and use.intermediate)


def _spreadings(einsum: EinsumProblem, hierarchy: Hierarchy, unit: str) -> list[tuple[Spread, ...]]:
    """Every way to fill the fan-outs on the way to ``unit`` that uses each, from the root on, as much as it must."""
    parts: list[tuple[str, str, Fanout]] = []
    for name in hierarchy.path(unit)[1:]:
        parts += [(name, dimension, fanout) for dimension, fanout in hierarchy.levels[name].fanout.items()]
    parts += [(unit, dimension, fanout) for dimension, fanout in hierarchy.units[unit].fanout.items()]
    factors = [
        [dict(zip(einsum.ranks, chosen, strict=True)) for chosen in itertools.product(*(
            [f for f in range(1, size + 1) if size % f == 0 and (f == 1 or not _sent_to_all(einsum, fanout, rank))]
            for rank, size in einsum.sizes)) if math.prod(chosen) <= fanout.size]
        for _, _, fanout in parts
    ]  # fmt: skip
    found = [
        choice
        for choice in itertools.product(*factors)
        if all(size % math.prod(f[rank] for f in choice) == 0 for rank, size in einsum.sizes)
    ]
    for place, (_, _, fanout) in enumerate(parts):
        if fanout.min_usage > 0:
            used = [math.prod(choice[place].values()) for choice in found]
            enough = min(max(used), fanout.min_usage * fanout.size)
            found = [choice for choice, count in zip(found, used, strict=True) if count >= enough - 1e-9]
    return [
        tuple(
            Spread(name, dimension, rank, factor)
            for (name, dimension, _), ranks in zip(parts, choice, strict=True)
            for rank, factor in ranks.items()
            if factor > 1
        )
        for choice in found
    ]


def _sent_to_all(einsum: EinsumProblem, fanout: Fanout, rank: str) -> bool:
    return any(use.role == fanout.reuse and rank in use.ranks for use in einsum.uses)


def _bodies(
    einsum: EinsumProblem, tiles: dict[str, int], chains: Sequence[tuple[Store, ...]], spreads: Sequence[Spread]
) -> Iterator[Nest]:
    """Loops and stores in every order from the tiles at hand down to single steps."""
    step = dict.fromkeys(einsum.ranks, 1)
    for spread in spreads:
        step[spread.rank] *= spread.factor
    if all(tiles[rank] % step[rank] == 0 for rank in einsum.ranks):
        yield from _orders(tiles, chains, step, None)


def _orders(
    tiles: dict[str, int], chains: Sequence[tuple[Store, ...]], step: dict[str, int], before: int | None
) -> Iterator[Nest]:
    if not any(chains):
        yield tuple(Loop(rank, step[rank]) for rank, tile in tiles.items() if rank in step and tile > step[rank])
        return
    for place, chain in enumerate(chains):
        if chain and (before is None or place >= before):  # side by side: in the order of the tensors
            rest = [*chains[:place], chain[1:], *chains[place + 1 :]]
            for inner in _orders(tiles, rest, step, place):
                yield (chain[0], *inner)
    for rank in step:
        for tile in range(step[rank], tiles[rank]):
            if tiles[rank] % tile == 0 and tile % step[rank] == 0:
                for inner in _orders({**tiles, rank: tile}, chains, step, None):
                    yield (Loop(rank, tile), *inner)


# ---- two Einsums with a tensor between them ----


def _fused(first: EinsumProblem, second: EinsumProblem, shared: str, hierarchy: Hierarchy, most: int) -> Iterator[Nest]:
    """Every nest of the pair with ``shared`` on chip; of more than ``most`` only so many that they are too many."""
    pair = (first, second)
    common = [rank for rank in first.ranks if rank in second.ranks]
    units = itertools.product(_units(first, hierarchy), _units(second, hierarchy))
    for names in units:
        paths = [hierarchy.path(unit) for unit in names]
        if len(paths[0]) < 2 or len(paths[1]) < 2 or paths[0][1] != paths[1][1]:
            continue
        level = paths[0][1]
        root = paths[0][0]
        options = [
            list(itertools.product(*(_chains(use, hierarchy, path, use.tensor != shared) for use in einsum.uses)))
            for einsum, path in zip(pair, paths, strict=True)
        ]
        spreads = [_spreadings(einsum, hierarchy, unit) for einsum, unit in zip(pair, names, strict=True)]
        for chosen in itertools.product(*options):
            top = tuple(Store(root, use.tensor) for einsum in pair for use in einsum.uses if use.tensor != shared)
            below = [
                [tuple(Store(at, use.tensor) for at in chain if at != root)
                 for use, chain in zip(einsum.uses, chains, strict=True)]
                for einsum, chains in zip(pair, chosen, strict=True)
            ]  # fmt: skip
            below = [[chain[1:] if chain and chain[0].tensor == shared else chain for chain in each] for each in below]
            own = [chain[0] for each in below for chain in each if chain and chain[0].level == level]
            own = [store for store in own if store.tensor != shared]
            for count in range(len(own) + 1):
                for outside in itertools.combinations(own, count):
                    left = [[chain[1:] if chain and chain[0] in outside else chain for chain in each] for each in below]
                    sizes = {rank: first.size[rank] for rank in common}
                    nodes = (Store(level, shared), *outside)
                    for head, tiles in _heads(sizes, nodes):
                        for lanes in itertools.product(*spreads):
                            bodies = [
                                [(*body, *lane, Compute(einsum.name, unit)) for body in itertools.islice(
                                    _bodies(einsum, {**einsum.size, **tiles}, each, lane), most + 1)]
                                for einsum, each, lane, unit in zip(pair, left, lanes, names, strict=True)
                            ]  # fmt: skip
                            for both in itertools.product(*bodies):
                                yield (*top, *head, Branch("sequential", both))


def _heads(tiles: dict[str, int], stores: tuple[Node, ...]) -> Iterator[tuple[Nest, dict[str, int]]]:
    """Common loops and the stores among them in every order; the tiles that they leave."""
    if not stores:
        yield (), tiles
    for place, store in enumerate(stores):
        for inner, left in _heads(tiles, (*stores[:place], *stores[place + 1 :])):
            yield (store, *inner), left
    for rank, size in tiles.items():
        for tile in range(1, size):
            if size % tile == 0:
                for inner, left in _heads({**tiles, rank: tile}, stores):
                    yield (Loop(rank, tile), *inner), left
