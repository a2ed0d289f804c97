"""An Einsum with its placement and spreading as flat arrays, ready for the compiled enumeration.

A nest is enumerated as a sequence of *nodes*, the stores below each tensor's home. Everything a node costs is linear in
the number of times its tile is fetched, and that number is a product over the ranks its tensor lacks; so tables of
counts by rank and tile are all that the enumeration needs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import EinsumProblem, TensorUse
from mappers.search.placement import Placement
from mappers.search.spreading import Lane, divisors

__all__ = ["Tables", "build_tables", "tile_options"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tables:
    """Arrays of one configuration. Indices: n node, k tensor, r rank, o tile option, l level, x metric.

    Metric 0 is energy in joules, the others are busy seconds of one resource each. ``tiles[r][o]`` is the tile in
    elements, largest first.
    """

    placement: Placement
    lanes: tuple[Lane, ...]
    tiles: tuple[tuple[int, ...], ...]
    node_tensor: Integers
    node_level: Integers
    relevant: NDArray[np.bool_]
    parent_count: Floats  # [n, r, o]
    child_count: Floats  # [n, r, o]
    parent_weight: Floats  # [n, x]
    child_weight: Floats  # [n, x]
    base: Floats  # [x]
    extent: Floats  # [l, r, o], coordinates in one instance
    pieces: Floats  # [r, o], number of pieces
    axis_rank: Integers  # [k, a, 2], -1 for none
    axis_step: Floats  # [k, a, 2]
    windowed: NDArray[np.bool_]  # [k]
    volume: Floats  # [k]
    bits: Floats  # [k]
    capacity: Floats  # [l], bits
    next_start: Integers  # [r, o + 1]
    next_option: Integers
    fixed: Integers  # [n, r], forced option or -1
    once: NDArray[np.bool_]  # [n]


@lru_cache(maxsize=4096)
def tile_options(steps: int, imperfect: bool) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Tiles of a rank of ``steps`` steps, largest first, and for each the places of the tiles it may be cut into.

    A tile is cut into its divisors. With ``imperfect`` the whole rank may also be cut into any ceil-representative:
    the smallest tile for each number of pieces; the last piece is then short.
    """
    first = set(divisors(steps))
    if imperfect:
        first |= {-(-steps // count) for count in range(1, math.isqrt(steps) + 2)}
        first |= set(range(1, math.isqrt(steps) + 1))
    every = sorted({d for tile in first for d in divisors(tile)}, reverse=True)
    place = {tile: index for index, tile in enumerate(every)}
    cuts = []
    for tile in every:
        inner = first if tile == steps else set(divisors(tile))
        cuts.append(tuple(place[d] for d in sorted(inner, reverse=True)))
    return tuple(every), tuple(cuts)


@lru_cache(maxsize=4096)
def _tiles(size: int, spread: int, imperfect: bool) -> tuple[int, ...]:
    """Tiles in elements of a rank of ``size`` that is spread over ``spread`` lanes, largest first."""
    return tuple(min(tile * spread, size) for tile in tile_options(-(-size // spread), imperfect)[0])


@lru_cache(maxsize=4096)
def _next_options(steps: int, imperfect: bool) -> tuple[Integers, Integers]:
    """The places that each tile may be cut into, one tile's after the other's, and where each tile's end."""
    _, cuts = tile_options(steps, imperfect)
    return np.cumsum([len(each) for each in cuts]), np.array([place for each in cuts for place in each], dtype=np.int64)


@lru_cache(maxsize=4096)
def _active_lanes(size: int, spread: int, imperfect: bool, copies: int) -> Floats:
    """`_active` for each tile of a rank."""
    lengths = np.array(_tiles(size, spread, imperfect))
    full, rest = np.divmod(size, lengths)
    found: Floats = (full * np.minimum(lengths, copies) + np.minimum(rest, copies)).astype(np.float64)
    return found


def build_tables(
    problem: EinsumProblem,
    hierarchy: Hierarchy,
    placement: Placement,
    lanes: tuple[Lane, ...],
    constraints: Constraints,
    imperfect: bool,
) -> Tables:
    """The arrays of one configuration."""
    ranks, path = problem.ranks, placement.path
    spread = {rank: math.prod(lane.factor for lane in lanes if lane.rank == rank) for rank in ranks}
    steps = [-(-problem.size[rank] // spread[rank]) for rank in ranks]
    tiles = tuple(_tiles(problem.size[rank], spread[rank], imperfect) for rank in ranks)
    most = max(map(len, tiles))
    counts = _Counts(problem, lanes, spread, imperfect, most)
    nodes = [(k, place) for k, chain in enumerate(placement.chains) for place in chain[0 if chain[0] else 1 :]]
    resources = _resources(hierarchy, path)
    base = np.zeros(1 + len(resources) + 1)
    parent_weight = np.zeros((len(nodes), len(base)))
    child_weight = np.zeros((len(nodes), len(base)))
    shape = (len(nodes), len(ranks), most)
    parent_count, child_count = np.ones(shape), np.ones(shape)

    def charge(row: Floats, place: int, read: bool, bits: float) -> None:
        level = hierarchy.levels[path[place]]
        row[0] += bits * (level.read_energy_j_per_bit if read else level.write_energy_j_per_bit)
        instances = math.prod(lane.factor for lane in lanes if lane.place <= place)
        for index, (resource_place, kind, bandwidth) in enumerate(resources):
            if resource_place == place and kind in ("both", "read" if read else "write"):
                row[1 + index] += bits / 8.0 / bandwidth / instances

    for k, (use, chain) in enumerate(zip(problem.uses, placement.chains, strict=True)):
        bits = float(use.bits)
        volume = float(use.elements(problem.size))
        is_output = use.role == "output"
        windowed = any(len(axis.terms) > 1 for axis in use.axes)
        scale = bits if windowed else bits * volume
        for parent, child in itertools.pairwise(chain):
            n = nodes.index((k, child))
            parent_count[n] = counts.table(use, parent, child)
            child_count[n] = counts.table(use, child, child)
            if not is_output:
                charge(parent_weight[n], parent, True, scale)
                charge(child_weight[n], child, False, scale)
                continue
            whole = bits * volume
            charge(parent_weight[n], parent, False, scale)
            charge(parent_weight[n], parent, True, scale)
            charge(base, parent, True, -whole * math.prod(counts.table(use, parent, parent)[:, 0]))
            charge(child_weight[n], child, True, scale)
            charge(child_weight[n], child, False, scale)
            charge(base, child, False, -whole * math.prod(child_count[n][:, 0]))
        last = chain[-1]
        accesses = bits * volume * counts.steps(use, last, len(path))
        if windowed:  # every step touches one element, whatever its neighbours touch
            accesses = bits * counts.steps(use, last, len(path)) * _relevant_points(problem, use)
        if not is_output:
            charge(base, last, True, accesses)
        else:
            charge(base, last, False, accesses)
            charge(base, last, True, accesses)
            charge(base, last, True, -bits * volume * math.prod(counts.table(use, last, last)[:, 0]))
    cycles, energy = _operations(problem, hierarchy, placement.unit)
    base[0] += energy
    unit = hierarchy.units[placement.unit]
    base[-1] += math.prod(steps) * cycles / unit.width / unit.clock_hz
    axes = max(len(use.axes) for use in problem.uses) if problem.uses else 1
    axis_rank = np.full((len(problem.uses), max(axes, 1), 2), -1, dtype=np.int64)
    axis_step = np.zeros((len(problem.uses), max(axes, 1), 2))
    for k, use in enumerate(problem.uses):
        for a, axis in enumerate(use.axes):
            for t, (rank, step) in enumerate(axis.terms[:2]):
                axis_rank[k, a, t], axis_step[k, a, t] = ranks.index(rank), abs(step)
    next_start = np.zeros((len(ranks), most + 1), dtype=np.int64)
    next_options = []
    begun = 0
    for r, count in enumerate(steps):
        ends, cuts = _next_options(count, imperfect)
        next_start[r, 0] = begun
        next_start[r, 1 : len(ends) + 1] = begun + ends
        begun += len(cuts)
        next_start[r, len(ends) + 1 :] = begun
        next_options.append(cuts)
    return Tables(
        placement, lanes, tiles,
        np.array([k for k, _ in nodes], dtype=np.int64),
        np.array([place for _, place in nodes], dtype=np.int64),
        np.array([[rank in use.ranks for rank in ranks] for use in problem.uses]),
        parent_count, child_count, parent_weight, child_weight, base,
        _extents(problem, lanes, tiles, len(path), most),
        _pieces(problem, tiles, most), axis_rank, axis_step,
        np.array([any(len(axis.terms) > 1 for axis in use.axes) for use in problem.uses]),
        np.array([float(use.elements(problem.size)) for use in problem.uses]),
        np.array([float(use.bits) for use in problem.uses]),
        np.array([_capacity_bits(hierarchy, name) for name in path]),
        next_start, np.concatenate(next_options),
        _fixed(problem, placement, nodes, tiles, constraints),
        np.array([_stationary(problem, placement, k, place, constraints) for k, place in nodes], dtype=np.bool_),
    )  # fmt: skip


class _Counts:
    """How often a tensor's tile moves, by rank and tile option."""

    def __init__(
        self,
        problem: EinsumProblem,
        lanes: Sequence[Lane],
        spread: dict[str, int],
        imperfect: bool,
        most: int,
    ) -> None:
        self.problem, self.lanes, self.spread, self.imperfect, self.most = problem, lanes, spread, imperfect, most

    def _copies(self, use: TensorUse, rank: str, reader: int, below: int) -> int:
        """Instances along ``rank`` that each move a copy: spread above the reader's level, or below without reuse."""
        total = 1
        for lane in self.lanes:
            if lane.rank == rank and (lane.place <= reader or (lane.place <= below and lane.reuse != use.role)):
                total *= lane.factor
        return total

    def table(self, use: TensorUse, reader: int, below: int) -> Floats:
        """[r, o]: pieces times copies along each rank that the tensor lacks, 1 along the others."""
        found = np.ones((len(self.problem.ranks), self.most))
        for r, rank in enumerate(self.problem.ranks):
            if rank in use.ranks:
                continue
            size, spread = self.problem.size[rank], self.spread[rank]
            copies = self._copies(use, rank, reader, below)
            counts = _active_lanes(size, spread, self.imperfect, copies)
            found[r, : len(counts)] = counts
        return found

    def steps(self, use: TensorUse, level: int, unit: int) -> float:
        """Accesses per element of the innermost store: each step reads it once per copy."""
        total = 1.0
        for rank in self.problem.ranks:
            if rank not in use.ranks:
                size, spread = self.problem.size[rank], self.spread[rank]
                total *= _active(size, min(spread, size), self._copies(use, rank, level, unit))
        return total


def _active(size: int, length: int, copies: int) -> float:
    """Lanes in use, of ``copies``, summed over the pieces of ``length`` that ``size`` is cut into."""
    full, rest = divmod(size, length)
    return float(full * min(length, copies) + min(rest, copies))


def _resources(hierarchy: Hierarchy, path: tuple[str, ...]) -> list[tuple[int, str, float]]:
    found = []
    for place, name in enumerate(path):
        level = hierarchy.levels[name]
        for kind, bandwidth in (
            ("both", level.bandwidth_bytes_per_s),
            ("read", level.read_bandwidth_bytes_per_s),
            ("write", level.write_bandwidth_bytes_per_s),
        ):
            if bandwidth is not None:
                found.append((place, kind, bandwidth))
    return found


def _operations(problem: EinsumProblem, hierarchy: Hierarchy, unit_name: str) -> tuple[float, float]:
    """Cycles of one step of one instance, and joules of all operations."""
    unit = hierarchy.units[unit_name]
    points = float(problem.points)
    if "point" in unit.actions:
        cycles, energy = unit.cost("point")
        return cycles, energy * points
    cycles = energy = 0.0
    for operator, count in problem.operations:
        each_cycles, each_energy = unit.cost(operator)
        cycles += each_cycles * count / points
        energy += each_energy * count
    return cycles, energy


def _relevant_points(problem: EinsumProblem, use: TensorUse) -> float:
    return float(math.prod(problem.size[rank] for rank in use.ranks))


def _extents(
    problem: EinsumProblem, lanes: Sequence[Lane], tiles: Sequence[Sequence[int]], levels: int, most: int
) -> Floats:
    found = np.ones((levels, len(tiles), most))
    for r, rank in enumerate(problem.ranks):
        each = np.array(tiles[r])
        for place in range(levels):
            share = math.prod(lane.factor for lane in lanes if lane.rank == rank and lane.place <= place)
            found[place, r, : len(each)] = -(-each // share)
    return found


def _pieces(problem: EinsumProblem, tiles: Sequence[Sequence[int]], most: int) -> Floats:
    found = np.ones((len(tiles), most))
    for r, rank in enumerate(problem.ranks):
        found[r, : len(tiles[r])] = -(-problem.size[rank] // np.array(tiles[r]))
    return found


def _capacity_bits(hierarchy: Hierarchy, name: str) -> float:
    capacity = hierarchy.levels[name].capacity_bytes
    return math.inf if capacity is None else capacity * 8.0


def _fixed(
    problem: EinsumProblem,
    placement: Placement,
    nodes: Sequence[tuple[int, int]],
    tiles: Sequence[Sequence[int]],
    constraints: Constraints,
) -> Integers:
    found = np.full((len(nodes), len(problem.ranks)), -1, dtype=np.int64)
    for level, tensor, rank, tile in constraints.tiles:
        for n, (k, place) in enumerate(nodes):
            if placement.path[place] == level and problem.uses[k].tensor == tensor and rank in problem.ranks:
                r = problem.ranks.index(rank)
                found[n, r] = tiles[r].index(tile) if tile in tiles[r] else -2
    return found


def _stationary(problem: EinsumProblem, placement: Placement, k: int, place: int, constraints: Constraints) -> bool:
    if constraints.stationary is None or problem.uses[k].role != constraints.stationary:
        return False
    chain = placement.chains[k]
    return place == chain[1 if chain[0] == 0 else 0]
