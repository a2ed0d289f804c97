"""The nests of one Einsum: the best one, or the Pareto-optimal ones for each way to share loops with its neighbours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

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


class StoreAt(NamedTuple):
    """A store in a nest: a level, a tensor, the tiles left by the loops above, and the bits of one instance's share."""

    level: str
    tensor: str
    tile: Tile
    bits: float


_Stores: TypeAlias = tuple[StoreAt, ...]


class Candidate(NamedTuple):
    """One nest of an Einsum.

    The stores of ``head`` end with the last intermediate that stays on chip; what follows is the Einsum's own.
    ``own_bits`` is what those hold in the level below the root. Of thousands of candidates one is chosen, so only the
    chosen one's other stores are worked out: ``origin`` is what the enumeration left, and the Einsum it enumerated.
    ``on_chip`` are the tensors that never visit the root.
    """

    energy_j: float
    latency_s: float
    own_bits: float
    head: tuple[StoreAt, ...]
    placement: Placement
    lanes: tuple[Lane, ...]
    on_chip: frozenset[str]
    origin: tuple[EinsumProblem, _Row]
    rename: Callable[[StoreAt], StoreAt] | None = None

    @property
    def stores(self) -> tuple[StoreAt, ...]:
        """All stores of the nest, outermost first."""
        problem, row = self.origin
        found = _stores(problem, row.choice, row.nodes[: len(row.choice.tables.node_tensor)], row.options)
        return found if self.rename is None else tuple(map(self.rename, found))

    def deal(self, use: TensorUse) -> Deal:
        """How the tensor is dealt over the instances of the level below the root."""
        return _deal(use, self.lanes)


@dataclass(frozen=True)
class Configuration:
    """A placement with a spreading, as tables. ``on_chip`` are the tensors that never visit the root."""

    placement: Placement
    on_chip: frozenset[str]
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
            found.setdefault(key, Configuration(placement, on_chip, lanes, tables, sizes, shared, _floor(tables)))
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
        head = _stores(problem, choice, nodes[-1, : int(prefix[-1])], options[-1])
        energy_j, latency_s, own_bits = last.tolist()
        row = _Row(energy_j, latency_s, own_bits, own_bits, head, (), choice, nodes[-1], options[-1])
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
    groups: dict[tuple[tuple[tuple[str, Tile], ...], bytes], list[_Row]] = {}
    whole = np.array([rank in batch for rank in problem.ranks], dtype=np.bool_)
    for choice in choices:
        if goal.measure(*choice.floor)[0] > bound * (1 + 1e-12):
            continue
        start = _start(problem, choice, batch)
        on_chip = [use for use in problem.uses if use.tensor in choice.on_chip]
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
        known: dict[Any, StoreAt] = {}
        head, held, held_bits, group = (), (), 0.0, []  # type: _Stores, _Stores, float, list[_Row]
        rows = zip(values.tolist(), prefix.tolist(), nodes, options, _new_heads(prefix, nodes, options), strict=True)
        for (energy_j, latency_s, own_bits), length, mine, cuts_made, new in rows:
            if new:
                head = _stores(problem, choice, mine[:length], cuts_made, known)
                kept = choice.shared[mine[:length]].tolist()
                common = tuple((store.tensor, store.tile) for store, fused in zip(head, kept, strict=True) if fused)
                held = tuple(store for store, fused in zip(head, kept, strict=True) if not fused)
                held_bits = sum(store.bits for store in held)
                group = groups.setdefault((common, deals), [])
            _insert(
                group, _Row(energy_j, latency_s, own_bits, own_bits + held_bits, head, held, choice, mine, cuts_made)
            )
    return [_candidate(problem, row) for row in itertools.chain.from_iterable(groups.values())], evaluated


def _new_heads(prefix: NDArray[np.int64], nodes: NDArray[np.int16], options: NDArray[np.int16]) -> Iterator[bool]:
    """Of each nest, whether its shared stores are others than those of the nest before: these come in runs."""
    inside = np.arange(nodes.shape[1]) < prefix[1:, None]
    differ = (nodes[1:] != nodes[:-1]) | (options[1:] != options[:-1]).any(axis=2)
    changed = (prefix[1:] != prefix[:-1]) | (differ & inside).any(axis=1)
    return itertools.chain((True,) * min(len(prefix), 1), changed.tolist())


class _Row(NamedTuple):
    """A nest as the enumeration left it. ``held`` are the stores of its ``head`` that stay while other Einsums run
    inside their loops; ``room`` is what they and its own stores take."""

    energy_j: float
    latency_s: float
    own_bits: float
    room: float
    head: tuple[StoreAt, ...]
    held: tuple[StoreAt, ...]
    choice: Configuration
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


def _insert(group: list[_Row], new: _Row) -> None:
    """Keep ``new`` unless one kept is no worse in energy, latency and room; drop those it is no worse than.

    What the better one holds for longer than itself must be among what the other holds so.
    """
    energy_j, latency_s, room = new.energy_j, new.latency_s, new.room
    for old in group:
        if old.energy_j <= energy_j and old.latency_s <= latency_s and old.room <= room and _among(old.held, new.held):
            return
    group[:] = [
        old
        for old in group
        if energy_j > old.energy_j or latency_s > old.latency_s or room > old.room or not _among(new.held, old.held)
    ]
    group.append(new)


def _among(some: tuple[StoreAt, ...], others: tuple[StoreAt, ...]) -> bool:
    return not some or all(store in others for store in some)


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


def _stores(
    problem: EinsumProblem,
    choice: Configuration,
    nodes: NDArray[np.int16],
    options: NDArray[np.int16],
    known: dict[Any, StoreAt] | None = None,
) -> _Stores:
    """The stores of ``nodes``, outermost first, each under loops that leave its ``options``; those ``known`` of the
    same choice are not made again."""
    known = {} if known is None else known
    stores = []
    for n, option in zip(nodes.tolist(), options, strict=False):
        key = n, option.tobytes()
        if key not in known:
            known[key] = _store(problem, choice, n, option.tolist())
        stores.append(known[key])
    return tuple(stores)


def _store(problem: EinsumProblem, choice: Configuration, n: int, option: list[int]) -> StoreAt:
    t = choice.tables
    k, place = int(t.node_tensor[n]), int(t.node_level[n])
    cut = [
        (rank, tiles[o])
        for rank, tiles, o in zip(problem.ranks, t.tiles, option, strict=True)
        if tiles[o] < problem.size[rank]
    ]
    bits = t.bits[k]
    for a in range(t.axis_rank.shape[1]):
        span = 1.0
        for side in range(2):
            r = int(t.axis_rank[k, a, side])
            if r >= 0:
                span += t.axis_step[k, a, side] * (t.extent[place, r, option[r]] - 1.0)
        bits *= span
    return StoreAt(choice.placement.path[place], problem.uses[k].tensor, tuple(sorted(cut)), float(bits))


def _candidate(problem: EinsumProblem, row: _Row) -> Candidate:
    choice = row.choice
    return Candidate(
        row.energy_j,
        row.latency_s,
        row.own_bits,
        row.head,
        choice.placement,
        choice.lanes,
        choice.on_chip,
        (problem, row),
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
