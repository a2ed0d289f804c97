"""The nests of one Einsum: the best one, or the Pareto-optimal ones for each way to share loops with its neighbours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import EinsumProblem, TensorUse
from mappers.search.goal import Goal
from mappers.search.kernel import enumerate_nests
from mappers.search.placement import Placement, placements
from mappers.search.spreading import Lane, spreadings
from mappers.search.tables import Tables, build_tables
from workloads.errors import InfeasibleError

__all__ = ["Candidate", "Configuration", "StoreAt", "Tile", "best_nest", "configurations", "no_room", "shared_nests"]

Tile = tuple[tuple[str, int], ...]
"""Ranks that loops have cut, with the tile each is left with; sorted by rank. Ranks not named are whole."""

Deal = tuple[tuple[tuple[str, int], ...], ...]
"""For each rank of a tensor's axes, the dimensions below the root that it is dealt over, with their factors."""


@dataclass(frozen=True, slots=True)
class StoreAt:
    """A store in a nest: a level, a tensor, the tiles left by the loops above, and the bits of one instance's share."""

    level: str
    tensor: str
    tile: Tile
    bits: float


@dataclass(frozen=True)
class Candidate:
    """One nest of an Einsum.

    The first ``prefix`` stores end with the last intermediate that stays on chip; what follows is the Einsum's own.
    ``own_bits`` is what those hold in the level below the root.
    """

    energy_j: float
    latency_s: float
    own_bits: float
    prefix: int
    stores: tuple[StoreAt, ...]
    placement: Placement
    lanes: tuple[Lane, ...]

    def on_chip(self, problem: EinsumProblem) -> frozenset[str]:
        """The tensors that never visit the root."""
        return self.placement.on_chip(problem)

    def deal(self, use: TensorUse) -> Deal:
        """How the tensor is dealt over the instances of the level below the root."""
        return _deal(use, self.lanes)


@dataclass(frozen=True)
class Configuration:
    """A placement with a spreading, as tables."""

    placement: Placement
    lanes: tuple[Lane, ...]
    tables: Tables
    sizes: NDArray[np.float64]
    shared: NDArray[np.bool_]
    floor: tuple[float, float]


def configurations(
    problem: EinsumProblem, hierarchy: Hierarchy, constraints: Constraints, imperfect: bool
) -> tuple[Configuration, ...]:
    """Every placement with every spreading; those with equal tables are kept once."""
    found: dict[bytes, Configuration] = {}
    sizes = np.array([float(size) for _, size in problem.sizes])
    spreads: dict[str, tuple[tuple[Lane, ...], ...]] = {}
    for placement in placements(problem, hierarchy, constraints):
        if placement.unit not in spreads:
            spreads[placement.unit] = spreadings(problem, hierarchy, placement.unit, placement.path, imperfect)
        on_chip = placement.on_chip(problem)
        for lanes in spreads[placement.unit]:
            tables = build_tables(problem, hierarchy, placement, lanes, constraints, imperfect)
            shared = np.array(
                [level == 1 and problem.uses[k].tensor in on_chip
                 for k, level in zip(tables.node_tensor, tables.node_level, strict=True)], dtype=np.bool_
            )  # fmt: skip
            key = b"|".join(
                array.tobytes()
                for array in (
                    tables.parent_count, tables.child_count, tables.parent_weight, tables.child_weight, tables.base,
                    tables.extent, tables.next_start, tables.next_option, tables.node_tensor, tables.node_level,
                    np.array([tile for tiles in tables.tiles for tile in tiles]),
                )
            )  # fmt: skip
            key += repr([_deal(use, lanes) for use in problem.uses if use.tensor in on_chip]).encode()
            found.setdefault(key, Configuration(placement, lanes, tables, sizes, shared, _floor(tables)))
    return tuple(found.values())


def best_nest(
    problem: EinsumProblem,
    choices: tuple[Configuration, ...],
    goal: Goal,
    stop: Callable[[], bool] | None = None,
) -> tuple[Candidate | None, int]:
    """The nest of least ``goal`` over all configurations; and how many partial nests were judged.

    Intermediates that may stay on chip do so wherever it suits this Einsum, so the result bounds what any fusion can
    reach; unless ``stop`` turned true before all were seen.
    """
    best: Candidate | None = None
    bound = (math.inf, math.inf)
    evaluated = 0
    for choice in sorted(choices, key=lambda c: goal.measure(*c.floor)):
        if goal.measure(*choice.floor) >= bound:
            break
        if best is not None and stop is not None and stop():
            break
        start = _finest_batch(problem, choice.tables)
        values, prefix, nodes, options, count = enumerate_nests(
            choice.tables, choice.sizes, start, choice.shared, goal, bound, keep_all=False
        )
        evaluated += count
        if len(values) == 0:
            continue
        last = values[-1]
        row = _Row(
            float(last[0]), float(last[1]), float(last[2]), (), 0.0, choice, int(prefix[-1]), nodes[-1], options[-1]
        )
        found = _candidate(problem, row)
        reached = goal.measure(found.energy_j, found.latency_s)
        if best is None or reached < bound:
            best, bound = found, reached
    return best, evaluated


def shared_nests(
    problem: EinsumProblem,
    choices: tuple[Configuration, ...],
    goal: Goal,
    bound: float,
    batch: dict[str, int],
    cuts: int,
    tiles: dict[str, frozenset[Tile]],
    stop: Callable[[], bool] | None = None,
) -> tuple[list[Candidate], int]:
    """All nests within ``bound`` that no other with the same shared stores dominates.

    ``batch`` holds the tile at the top of ranks that every tensor of the cascade has. A limit on ``cuts`` leaves only
    nests in which that many loops are shared with other Einsums, all for the sake of intermediates kept on chip.
    ``tiles`` limits the tiles of intermediates that stay on chip to those which some neighbour can use. Once ``stop``
    turns true, what was found so far comes back.
    """
    evaluated = 0
    groups: dict[bytes, list[_Row]] = {}
    whole = np.array([rank in batch for rank in problem.ranks], dtype=np.bool_)
    for choice in choices:
        if goal.measure(*choice.floor)[0] > bound * (1 + 1e-12):
            continue
        start = _start(problem, choice, batch)
        on_chip = [use for use in problem.uses if use.tensor in choice.placement.on_chip(problem)]
        if start is None or any(_copied(use, choice.lanes) for use in on_chip):
            continue  # an intermediate is whole and single where one Einsum leaves it for the other
        deals = repr([_deal(use, choice.lanes) for use in on_chip]).encode()
        if stop is not None and stop():
            break
        values, prefix, nodes, options, count = enumerate_nests(
            choice.tables, choice.sizes, start, choice.shared, goal, (bound, math.inf), keep_all=True,
            whole=whole, cuts=cuts,
            allowed=_codes(problem, choice, tiles),
        )  # fmt: skip
        evaluated += count
        t = choice.tables
        extents = np.ones(t.pieces.shape, dtype=np.int64)
        for r, each in enumerate(t.tiles):
            extents[r, : len(each)] = each
        where = extents[np.arange(len(problem.ranks)), options.astype(np.int64)]  # [row, depth, r]
        for i in range(len(values)):
            head = nodes[i, : prefix[i]]
            common = choice.shared[head]
            key = t.node_tensor[head[common]].tobytes() + where[i, : prefix[i]][common].tobytes() + deals
            row = _Row(float(values[i, 0]), float(values[i, 1]), float(values[i, 2]), (), 0.0, choice, int(prefix[i]),
                       nodes[i], options[i])  # fmt: skip
            if not common.all():
                row = _with_held(problem, row)
            _insert(groups.setdefault(key, []), row)
    rows = itertools.chain.from_iterable(groups.values())
    return [_candidate(problem, row) for row in rows], evaluated


@dataclass(frozen=True, slots=True)
class _Row:
    """A nest as the enumeration left it. ``held`` are stores that stay while other Einsums run inside their loops."""

    energy_j: float
    latency_s: float
    own_bits: float
    held: tuple[StoreAt, ...]
    held_bits: float
    choice: Configuration
    prefix: int
    nodes: NDArray[np.int16]
    options: NDArray[np.int16]


def _deal(use: TensorUse, lanes: tuple[Lane, ...]) -> Deal:
    spread = [lane for lane in lanes if lane.place == 1]
    if not spread:
        return ()
    return tuple(
        tuple((lane.dimension, lane.factor) for lane in spread if lane.rank == rank)
        for axis in use.axes
        for rank, _ in axis.terms
    )


def _copied(use: TensorUse, lanes: tuple[Lane, ...]) -> bool:
    """True when instances of the level below the root hold copies of the tensor, or partial sums of it."""
    return any(lane.place == 1 and lane.rank not in use.ranks for lane in lanes)


def _codes(
    problem: EinsumProblem, choice: Configuration, tiles: dict[str, frozenset[Tile]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None:
    """The allowed tiles of shared stores as numbers: options of all ranks in a mixed radix."""
    if not tiles:
        return None
    t = choice.tables
    weight = np.ones(len(problem.ranks), dtype=np.int64)
    for r in range(1, len(weight)):
        weight[r] = weight[r - 1] * (len(t.tiles[r - 1]) + 1)
    ranges = np.full((len(t.node_tensor), 2), -1, dtype=np.int64)
    codes: list[int] = []
    for n, k in enumerate(t.node_tensor):
        tensor = problem.uses[k].tensor
        if not choice.shared[n] or tensor not in tiles:
            continue
        mine = []
        for tile in tiles[tensor]:
            cut = dict(tile)
            wanted = [cut.pop(rank, size) for rank, size in problem.sizes]
            if not cut and all(size in t.tiles[r] for r, size in enumerate(wanted)):
                mine.append(sum(t.tiles[r].index(size) * int(weight[r]) for r, size in enumerate(wanted)))
        ranges[n] = len(codes), len(codes) + len(mine)
        codes += sorted(mine)
    return np.array(codes, dtype=np.int64), ranges, weight


def _with_held(problem: EinsumProblem, row: _Row) -> _Row:
    stores = _candidate(problem, row).stores[: row.prefix]
    on_chip = row.choice.placement.on_chip(problem)
    held = tuple(store for store in stores if store.tensor not in on_chip)
    return replace(row, held=held, held_bits=sum(store.bits for store in held))


def _insert(group: list[_Row], new: _Row) -> None:
    for old in group:
        if _dominates(old, new):
            return
    group[:] = [old for old in group if not _dominates(new, old)]
    group.append(new)


def _dominates(one: _Row, two: _Row) -> bool:
    """No worse in energy, latency and room: what it holds for longer than itself is among what the other holds so."""
    if one.energy_j > two.energy_j or one.latency_s > two.latency_s:
        return False
    if one.own_bits + one.held_bits > two.own_bits + two.held_bits:
        return False
    return not one.held or all(store in two.held for store in one.held)


def _floor(tables: Tables) -> tuple[float, float]:
    """Energy and latency with every tile moved once: below anything the configuration can reach."""
    t = tables
    metrics = t.base.copy()
    for n in range(len(t.node_tensor)):
        moved = t.volume[t.node_tensor[n]] if t.windowed[t.node_tensor[n]] else 1.0
        metrics += t.parent_weight[n] * np.prod(t.parent_count[n][:, 0]) * moved
        metrics += t.child_weight[n] * np.prod(t.child_count[n][:, 0]) * moved
    return float(metrics[0]), float(metrics[1:].max())


def _finest_batch(problem: EinsumProblem, tables: Tables) -> NDArray[np.int64]:
    """Start tiles: ranks that every tensor of the Einsum has are cut to single steps at once."""
    start = np.zeros(len(problem.ranks), dtype=np.int64)
    for r in range(len(problem.ranks)):
        if bool(tables.relevant[:, r].all()) and not (tables.fixed[:, r] != -1).any():
            start[r] = len(tables.tiles[r]) - 1
    return start


def _start(problem: EinsumProblem, choice: Configuration, batch: dict[str, int]) -> NDArray[np.int64] | None:
    """Options of the start tiles; None when the lanes need more of a batch rank than there is."""
    if not choice.shared.any():
        return _finest_batch(problem, choice.tables)
    start = np.zeros(len(problem.ranks), dtype=np.int64)
    for r, rank in enumerate(problem.ranks):
        if rank in batch:
            if batch[rank] not in choice.tables.tiles[r]:
                return None
            start[r] = choice.tables.tiles[r].index(batch[rank])
    return start


def _candidate(problem: EinsumProblem, row: _Row) -> Candidate:
    t, path = row.choice.tables, row.choice.placement.path
    stores = []
    for depth in range(len(t.node_tensor)):
        n = int(row.nodes[depth])
        k, place = int(t.node_tensor[n]), int(t.node_level[n])
        option = row.options[depth]
        tile = tuple(
            sorted(
                (rank, t.tiles[r][option[r]])
                for r, rank in enumerate(problem.ranks)
                if t.tiles[r][option[r]] < problem.size[rank]
            )
        )
        bits = t.bits[k]
        for a in range(t.axis_rank.shape[1]):
            span = 1.0
            for side in range(2):
                r = int(t.axis_rank[k, a, side])
                if r >= 0:
                    span += t.axis_step[k, a, side] * (t.extent[place, r, int(option[r])] - 1.0)
            bits *= span
        stores.append(StoreAt(path[place], problem.uses[k].tensor, tile, float(bits)))
    return Candidate(
        row.energy_j, row.latency_s, row.own_bits, row.prefix, tuple(stores), row.choice.placement, row.choice.lanes
    )


def no_room(problem: EinsumProblem, choices: tuple[Configuration, ...]) -> InfeasibleError:
    """What to say when no nest fits: the level whose smallest tiles need most, and by how much they miss."""
    needs: dict[str, tuple[float, float]] = {}
    for choice in choices:
        t = choice.tables
        for place, name in enumerate(choice.placement.path):
            least = sum(
                float(t.bits[k]) for k, level in zip(t.node_tensor, t.node_level, strict=True) if level == place
            )
            if least > t.capacity[place] and (name not in needs or least < needs[name][0]):
                needs[name] = (least, float(t.capacity[place]))
    if not needs:
        return InfeasibleError(f"the constraints of Einsum {problem.name!r}", 1, 0, "mappings")
    name = max(needs, key=lambda level: needs[level][0] - needs[level][1])
    return InfeasibleError(f"capacity of {name} for Einsum {problem.name!r}", *needs[name], "bit")
