"""The best dataflow of one contraction on a systolic array, with the placement of its tiles in the buffers.

The array's cycles are those of `mappers.mapspace.systolic`; the folds run batch by batch, with the columns' loop
outside the rows'. What is searched is the dataflow and, for every tensor and buffer, the loop below which a tile is
stored. A buffer is double-buffered: the tiles in use fill at most half of it. Traffic hides behind the folds, so that
latency depends on the dataflow alone and energy on dataflow and placement; every combination is tried.

At the innermost buffer, words are counted where they cross the edge of the array: inside, neighbours pass them on.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from collections.abc import Mapping as Table
from dataclasses import dataclass
from functools import cached_property

from hw.spec.hierarchy import Hierarchy, Unit
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.mapping import Compute, Loop, Mapping, Nest, Spread, Store
from mappers.mapspace.problem import CascadeProblem, EinsumProblem, TensorUse
from mappers.mapspace.report import EinsumCost, MappingCost, SearchResult, Traffic
from mappers.mapspace.systolic import (
    DATAFLOWS,
    Buffer,
    Buffers,
    Dataflow,
    SystolicCycles,
    array_packing,
    gemm_ranks,
    systolic_cycles,
)
from mappers.search.placement import Placement, placements
from workloads.errors import InfeasibleError, InputError, unknown_name

__all__ = ["buffers_of", "hierarchy_cycles", "search_systolic", "systolic_unit"]

_OBJECTIVES = ("energy", "latency", "edp")
_STAYS: dict[str, Dataflow] = {"weight": "ws", "output": "os", "input": "is"}


def systolic_unit(hierarchy: Hierarchy) -> str | None:
    """The first unit that is a systolic array; None when there is none."""
    return next((name for name, unit in hierarchy.units.items() if unit.systolic is not None), None)


def hierarchy_cycles(problem: EinsumProblem, hierarchy: Hierarchy, dataflow: Dataflow) -> SystolicCycles:
    """Cycles of a contraction on the systolic array of ``hierarchy``. Raises `InputError` when it has none."""
    placement = next(_placed(problem, hierarchy, Constraints()))
    unit = hierarchy.units[placement.unit]
    rows, columns = (unit.fanout[side].size for side in ("rows", "columns"))
    return systolic_cycles(problem, rows, columns, dataflow, buffers_of(problem, hierarchy, placement))


def buffers_of(problem: EinsumProblem, hierarchy: Hierarchy, placement: Placement) -> Buffers:
    """The buffers that the array works from: for each tensor the innermost level below the root that keeps it.

    A level without a capacity, or a side of the array without a bandwidth, takes no time to fill or drain.
    """
    unit = hierarchy.units[placement.unit]
    array = unit.systolic
    assert array is not None
    found: dict[str, Buffer] = {}
    for use, chain in zip(problem.uses, placement.chains, strict=True):
        capacity = hierarchy.levels[placement.path[chain[-1]]].capacity_bytes
        rate = array.drain_bandwidth_bytes_per_s if use.role == "output" else array.prefetch_bandwidth_bytes_per_s
        if len(chain) > 1 and capacity is not None and rate is not None:
            found[use.role] = Buffer(int(capacity * 8) // use.bits, rate * 8 / use.bits / unit.clock_hz)
    return Buffers(found.get("input"), found.get("weight"), found.get("output"))


def search_systolic(
    problem: CascadeProblem, hierarchy: Hierarchy, objective: str = "latency", constraints: Constraints | None = None
) -> SearchResult:
    """The mapping of one contraction that is best by ``objective`` (``energy``, ``latency``, ``edp``).

    Ties go to the lower latency, then to the lower energy, then to the least traffic at the root. ``stationary``
    fixes the dataflow. ``lower_bound`` is the best value itself: the space has been enumerated. Raises `InputError`
    for a cascade that is not one contraction of two operands or a machine without a systolic array, and
    `InfeasibleError` when no placement fits the buffers and the constraints.
    """
    begin = time.perf_counter()
    constraints = constraints or Constraints()
    if objective not in _OBJECTIVES:
        raise unknown_name("objective", objective, _OBJECTIVES, field="objective")
    if len(problem.einsums) != 1:
        raise InputError(
            f"a cascade of {len(problem.einsums)} Einsums", "one contraction for a systolic array", "cascade"
        )
    einsum = problem.einsums[0]
    ranking: dict[str, int] = {"energy": 1, "latency": 0, "edp": 2}
    best: tuple[tuple[float, float, float, float], Mapping, MappingCost] | None = None
    tried = 0
    for placement in _placed(einsum, hierarchy, constraints):
        for dataflow in DATAFLOWS if constraints.stationary is None else (_STAYS[constraints.stationary],):
            run = _Execution(einsum, hierarchy, placement, dataflow)
            for depths in _depths(run, constraints):
                tried += 1
                cost = run.cost(depths)
                values = (cost.latency_s, cost.energy_j, cost.edp)
                key = (values[ranking[objective]], cost.latency_s, cost.energy_j, _bits(cost.traffic()[hierarchy.root]))
                if best is None or key < best[0]:
                    best = key, Mapping(problem.name, hierarchy.name, run.nest(depths)), cost
    if best is None:
        raise _no_room(einsum, hierarchy, constraints)
    key, mapping, cost = best
    unit = hierarchy.units[cost.einsums[0].unit]
    return SearchResult(
        objective=objective,
        mapping=mapping,
        cost=cost,
        lower_bound=key[0],
        bounds={
            "latency_s": einsum.points / unit.instances / unit.clock_hz,
            "root_bits": float(sum(use.elements(einsum.size) * use.bits for use in einsum.uses)),
        },
        candidates=tried,
        seconds=time.perf_counter() - begin,
    )


@dataclass(frozen=True)
class _Execution:
    """One contraction under one dataflow, its levels chosen: what is left is where in the nest each store stands."""

    problem: EinsumProblem
    hierarchy: Hierarchy
    placement: Placement
    dataflow: Dataflow

    @property
    def unit(self) -> Unit:
        return self.hierarchy.units[self.placement.unit]

    @cached_property
    def cycles(self) -> SystolicCycles:
        """Cycles of the array, which no placement changes."""
        rows, columns = (self.unit.fanout[side].size for side in ("rows", "columns"))
        buffers = buffers_of(self.problem, self.hierarchy, self.placement)
        return systolic_cycles(self.problem, rows, columns, self.dataflow, buffers)

    @cached_property
    def sides(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """For rows and columns of the array, the ranks laid out there with their tiles."""
        groups = gemm_ranks(self.problem).laid_out(self.dataflow)
        return {
            side: array_packing(self.problem, ranks, self.unit.fanout[side].size).tiles
            for side, ranks in zip(("rows", "columns"), groups[:2], strict=True)
        }

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """All temporal loops: batch, column folds, row folds, stream."""
        ranks = gemm_ranks(self.problem)
        steps = [(rank, 1) for rank in ranks.batch]
        steps += [*self.sides["columns"], *self.sides["rows"]]
        steps += [(rank, 1) for rank in ranks.laid_out(self.dataflow)[2]]
        return tuple(Loop(rank, tile) for rank, tile in steps if tile < self.problem.size[rank])

    def tile(self, use: TensorUse, depth: int) -> int:
        """Elements of a tensor that a store below the first ``depth`` loops keeps."""
        return use.elements({**self.problem.size, **{loop.rank: loop.tile for loop in self.loops[:depth]}})

    def moved(self, use: TensorUse, depth: int) -> int:
        """Elements that pass into (an output: out of) a store below the first ``depth`` loops, over the whole run."""
        above = self.loops[:depth]
        while above and above[-1].rank not in use.ranks:
            above = above[:-1]
        trips = {loop.rank: math.ceil(self.problem.size[loop.rank] / loop.tile) for loop in above}
        again = math.prod(count for rank, count in trips.items() if rank not in use.ranks)
        return again * math.prod(_covered(axis.terms, self.problem.size, trips) for axis in use.axes)

    def crossing(self, use: TensorUse) -> int:
        """Words of a tensor that cross the edge of the array: each fold's share of it, streamed or loaded."""
        ranks = gemm_ranks(self.problem)
        own = {"input": (ranks.m, ranks.k), "weight": (ranks.k, ranks.n), "output": (ranks.m, ranks.n)}[use.role]
        missing = {"input": ranks.n, "weight": ranks.m, "output": ranks.k}[use.role]
        tiles = {rank: tile for side in self.sides.values() for rank, tile in side}
        folds = math.prod(math.ceil(self.problem.size[rank] / tiles[rank]) for rank in missing if rank in tiles)
        return folds * math.prod(self.problem.size[rank] for group in (*own, ranks.batch) for rank in group)

    def traffic(self, use: TensorUse, depths: tuple[int, ...]) -> dict[str, Traffic]:
        """Bits at each level of the tensor's chain whose stores below the root stand at ``depths``.

        A sum is read back for every word added to it but the first, and once more on its way out.
        """
        into = [*(self.moved(use, depth) for depth in depths), self.crossing(use)]
        if use.role == "output":
            final = use.elements(self.problem.size)
            reads = [below - final for below in into]
            writes = list(into)
            for place, out in enumerate(into[:-1], start=1):
                reads[place] += out
                writes[place] += out - final
        else:
            reads, writes = into, [0, *into[:-1]]
        levels = self.levels(use)
        return {
            level: Traffic(float(read * use.bits), float(write * use.bits))
            for level, read, write in zip(levels, reads, writes, strict=True)
        }

    def levels(self, use: TensorUse) -> tuple[str, ...]:
        """The levels that keep a tensor, outermost first."""
        return tuple(self.placement.path[place] for place in self.placement.chains[self.problem.uses.index(use)])

    def used_bits(self, depths: Table[str, tuple[int, ...]], copies: int = 1) -> dict[str, float]:
        """Bits of the tiles at each level below the root; a tile that is replaced stands there ``copies`` times."""
        used: dict[str, float] = {}
        for use in self.problem.uses:
            for level, depth in zip(self.levels(use)[1:], depths[use.tensor], strict=True):
                used[level] = used.get(level, 0.0) + self.tile(use, depth) * use.bits * (copies if depth else 1)
        return used

    def cost(self, depths: Table[str, tuple[int, ...]]) -> MappingCost:
        """Latency from the array's cycles, energy from traffic and operations."""
        unit, name = self.unit, self.placement.unit
        per_step, energy = unit.cost("point" if "point" in unit.actions else "mac")
        traffic: dict[str, dict[str, Traffic]] = {}
        joules = {name: energy * self.problem.points}
        for use in self.problem.uses:
            for level, bits in self.traffic(use, depths[use.tensor]).items():
                traffic.setdefault(level, {})[use.tensor] = bits
                spec = self.hierarchy.levels[level]
                joules[level] = (
                    joules.get(level, 0.0)
                    + bits.read_bits * spec.read_energy_j_per_bit
                    + bits.write_bits * spec.write_energy_j_per_bit
                )
        latency = self.cycles.total_cycles * per_step / unit.clock_hz
        share = self.problem.points / unit.instances / max(self.cycles.total_cycles, 1)
        counted = {
            "total": self.cycles.total_cycles,
            "compute": self.cycles.compute_cycles,
            "prefetch": self.cycles.prefetch_cycles,
            "drain": self.cycles.drain_cycles,
        }
        einsum = EinsumCost(self.problem.name, name, {name: latency}, joules, traffic, share, counted)
        return MappingCost((einsum,), latency, sum(joules.values()), self.used_bits(depths, 2), {name: share})

    def nest(self, depths: Table[str, tuple[int, ...]]) -> Nest:
        """The mapping with its stores in place; those of the root stand above all loops."""
        nodes: list[Loop | Store | Spread | Compute] = [
            Store(self.levels(use)[0], use.tensor) for use in self.problem.uses
        ]
        for depth, loop in enumerate((None, *self.loops)):
            if loop is not None:
                nodes.append(loop)
            for use in self.problem.uses:
                inner = zip(self.levels(use)[1:], depths[use.tensor], strict=True)
                nodes += [Store(level, use.tensor) for level, place in inner if place == depth]
        name = self.placement.unit
        nodes += [
            Spread(name, side, rank, tile) for side, ranks in self.sides.items() for rank, tile in ranks if tile > 1
        ]
        return (*nodes, Compute(self.problem.name, name))


def _placed(problem: EinsumProblem, hierarchy: Hierarchy, constraints: Constraints) -> Iterator[Placement]:
    found = False
    for placement in placements(problem, hierarchy, constraints):
        if hierarchy.units[placement.unit].systolic is not None:
            found = True
            yield placement
    if not found:
        raise InputError(f"no unit of {hierarchy.name!r} is systolic", "a unit with 'systolic:'", "units")


def _depths(run: _Execution, constraints: Constraints) -> Iterator[dict[str, tuple[int, ...]]]:
    """Every choice of places for the stores below the root that fits half of each level."""
    loops = run.loops
    options = []
    for use in run.problem.uses:  # a store under a loop over another rank moves the same tile no less often
        useful = [0, *(depth for depth, loop in enumerate(loops, start=1) if loop.rank in use.ranks)]
        inner = run.levels(use)[1:]
        chosen = itertools.combinations_with_replacement(useful, len(inner))
        options.append([depths for depths in chosen if _as_told(run, use, inner, depths, constraints)])
    for combination in itertools.product(*options):
        depths = {use.tensor: places for use, places in zip(run.problem.uses, combination, strict=True)}
        limits = {level: run.hierarchy.levels[level].capacity_bytes for level in run.placement.path}
        if all(
            (limit := limits[level]) is None or bits <= limit * 8 / 2 for level, bits in run.used_bits(depths).items()
        ):
            yield depths


def _no_room(problem: EinsumProblem, hierarchy: Hierarchy, constraints: Constraints) -> InfeasibleError:
    """What the smallest tiles lack: the fullest level of the placement that comes closest."""
    closest: tuple[float, str] | None = None
    for placement in _placed(problem, hierarchy, constraints):
        for dataflow in DATAFLOWS if constraints.stationary is None else (_STAYS[constraints.stationary],):
            run = _Execution(problem, hierarchy, placement, dataflow)
            depths = {use.tensor: (len(run.loops),) * (len(run.levels(use)) - 1) for use in problem.uses}
            limits = {level: hierarchy.levels[level].capacity_bytes for level in placement.path}
            over = [(2 * b - 8 * s, n) for n, b in run.used_bits(depths).items() if (s := limits[n]) is not None]
            worst = max(over, default=(0.0, ""))
            closest = worst if closest is None or worst < closest else closest
    if closest is None or closest[0] <= 0.0:
        what = f"placing Einsum {problem.name!r} on {hierarchy.name!r} within the constraints"
        return InfeasibleError(what, 1, 0, "placement", "fewer constraints, or larger buffers")
    capacity_bits = 8 * (hierarchy.levels[closest[1]].capacity_bytes or 0.0)
    return InfeasibleError(
        f"capacity of {closest[1]} for two copies of the smallest tiles of Einsum {problem.name!r}",
        capacity_bits + closest[0],
        capacity_bits,
        "bit",
        "larger buffers, or fewer constraints",
    )


def _as_told(
    run: _Execution, use: TensorUse, levels: tuple[str, ...], depths: tuple[int, ...], constraints: Constraints
) -> bool:
    for level, depth in zip(levels, depths, strict=True):
        tile = {**run.problem.size, **{loop.rank: loop.tile for loop in run.loops[:depth]}}
        for told_level, tensor, rank, extent in constraints.tiles:
            if (told_level, tensor) == (level, use.tensor) and tile.get(rank, extent) != extent:
                return False
    return True


def _covered(terms: tuple[tuple[str, int], ...], size: Table[str, int], trips: Table[str, int]) -> int:
    """Coordinates of an axis summed over all tiles: windows that overlap count in each."""
    count = math.prod(trips.get(rank, 1) for rank, _ in terms)
    return count + sum(
        abs(factor) * (size[rank] - trips.get(rank, 1)) * count // trips.get(rank, 1) for rank, factor in terms
    )


def _bits(tensors: Table[str, Traffic]) -> float:
    return sum(bits.read_bits + bits.write_bits for bits in tensors.values())
