"""What a mapping costs: bits moved at each level, energy, busy times, and the most that each level holds.

The rules (after AccelForge, https://github.com/Accelergy-Project/accelforge, with copies and short pieces exact):

* Energy is bits read and written times energy per bit, plus operations. An Einsum takes as long as its busiest
  resource; Einsums of a sequential branch follow one another, those of a pipelined one overlap, so that the branch
  takes as long as the resource with the longest sum.
* A tile is fetched once for each turn of the innermost loop above its store that walks one of its ranks, and stays
  for that turn. In a sequential branch it goes when its nest ends: what is to stay while other nests run is stored
  above the branch. In a pipelined one a store in one nest holds its tile through the others where that loop is outside
  the branch and another loop between the two comes back to it; a tile of what one nest makes and another reads is
  handed on each time its nest ends.
* A unit reads its operands from, and updates its result in, the innermost level that keeps them, at every point.
* The first value that a store receives for an element is written; a later one is added to what is there: a read and a
  write. A tile of partial sums that comes back is read above and written below; with several instances, one of them
  gets the sums and the others zeros.
* Instances with different coordinates of a rank that a tensor lacks each hold a copy. One access serves all of them
  where the fan-out between parent and child reuses the tensor's role, otherwise each has its own.
* A loop over a rank that an Einsum lacks repeats the Einsum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace import mapping as ir
from mappers.mapspace.checks import check_mapping, point_actions
from mappers.mapspace.mapping import Branch, Compute, Nest
from mappers.mapspace.occupancy import usage_bits
from mappers.mapspace.pieces import RankCuts, elements, rank_cuts
from mappers.mapspace.problem import CascadeProblem, TensorUse
from mappers.mapspace.report import EinsumCost, MappingCost, Traffic
from mappers.mapspace.tree import Path, fill_position, rank_sizes

__all__ = ["evaluate", "over_capacity"]


def evaluate(mapping: ir.Mapping, problem: CascadeProblem, hierarchy: Hierarchy) -> MappingCost:
    """The cost of ``mapping``; counts are exact, also where tiles do not divide.

    A pipelined branch takes as long as its busiest resource: neither waiting for operands nor the skew of a systolic
    array is counted, which the searches on such machines model themselves.

    Raises `InputError` for a mapping that is not a program on this hierarchy. One that holds more than fits has a cost
    all the same: see `over_capacity`.
    """
    found = check_mapping(mapping, problem, hierarchy)
    sizes = rank_sizes(problem)
    cuts = [rank_cuts(path, sizes, hierarchy) for path in found]
    filled: set[int] = set()
    works = [_work(path, cut, hierarchy, found, filled) for path, cut in zip(found, cuts, strict=True)]
    costs = tuple(_einsum_cost(path, work, hierarchy) for path, work in zip(found, works, strict=True))
    waiting = list(costs)
    latency = _latency(mapping.nest, waiting)
    busy: dict[str, float] = {}
    for path in found:
        unit = path.compute.unit
        busy[unit] = busy.get(unit, 0.0) + _useful_cycles(path, hierarchy)
    utilisation = {
        unit: useful / (latency * hierarchy.units[unit].clock_hz * _lanes(unit, hierarchy)) if latency else 0.0
        for unit, useful in busy.items()
    }
    return MappingCost(
        einsums=costs,
        latency_s=latency,
        energy_j=math.fsum(joules for cost in costs for joules in cost.energy_j.values()),
        usage_bits=usage_bits(found, cuts, hierarchy),
        utilisation=utilisation,
    )


def over_capacity(cost: MappingCost, hierarchy: Hierarchy) -> dict[str, float]:
    """Levels whose fullest instance would hold more than it can -> bits too much."""
    found = {}
    for name, used in cost.usage_bits.items():
        capacity = hierarchy.levels[name].capacity_bytes
        if capacity is not None and used > capacity * 8:
            found[name] = used - capacity * 8
    return found


@dataclass
class _Work:
    """Counts of one Einsum: bits by level and tensor, steps of each instance, points with recomputation."""

    reads: dict[tuple[str, str], int]
    writes: dict[tuple[str, str], int]
    instances: dict[str, int]
    steps: int
    points: int

    def read(self, level: str, tensor: str, bits: int) -> None:
        self.reads[level, tensor] = self.reads.get((level, tensor), 0) + bits

    def write(self, level: str, tensor: str, bits: int) -> None:
        self.writes[level, tensor] = self.writes.get((level, tensor), 0) + bits


def _work(
    path: Path, cuts: Mapping[str, RankCuts], hierarchy: Hierarchy, found: Sequence[Path], filled: set[int]
) -> _Work:
    """Counts of one Einsum. ``filled`` names the stores that an earlier Einsum of their nest has filled."""
    levels = hierarchy.path(path.compute.unit)
    end = len(path.nodes)
    own = {rank: cut for rank, cut in cuts.items() if rank in path.einsum.size}
    repeats = math.prod(cut.pieces(end).total() for rank, cut in cuts.items() if rank not in own)
    work = _Work(
        {},
        {},
        {
            level: math.prod(min(cut.step, cut.factor(depth)) for cut in own.values())
            for depth, level in enumerate(levels)
        },
        math.prod(cut.pieces(end).total() for cut in cuts.values()),
        path.einsum.points * repeats,
    )
    for use in path.einsum.uses:
        chain = path.chain(use.tensor)
        for outer, inner in pairwise(chain):
            if inner.node in filled:
                continue
            moved = _moves(
                path,
                use,
                cuts,
                fill_position(path, use, inner, found),
                levels.index(outer.level),
                levels.index(inner.level),
            )
            if use.role == "output":
                work.read(inner.level, use.tensor, moved.child)
                work.write(inner.level, use.tensor, moved.child - moved.child_first)
                work.write(outer.level, use.tensor, moved.parent)
                work.read(outer.level, use.tensor, moved.parent - moved.parent_first)
            else:
                work.read(outer.level, use.tensor, moved.parent)
                work.write(inner.level, use.tensor, moved.child)
        filled.update(store.node for store in chain)
        last = chain[-1].level
        moved = _moves(path, use, cuts, end, levels.index(last), len(levels))
        if use.role == "output":
            work.write(last, use.tensor, moved.parent)
            work.read(last, use.tensor, moved.parent - moved.parent_first)
        else:
            work.read(last, use.tensor, moved.parent)
    return work


@dataclass(frozen=True, slots=True)
class _Moves:
    """Bits that pass between a level and the next one below that keeps the tensor, as each side counts them.

    ``first`` counts those that find nothing there: the first piece of every summed rank.
    """

    parent: int
    child: int
    parent_first: int
    child_first: int


def _moves(path: Path, use: TensorUse, cuts: Mapping[str, RankCuts], position: int, parent: int, child: int) -> _Moves:
    """Movements of the tiles that change at ``position`` of the path; ``parent`` and ``child`` are depths."""
    bits = use.bits * elements(use, cuts, position, child)
    total = _Moves(bits, bits, bits, bits)
    for rank, cut in cuts.items():
        if rank in use.ranks:
            continue
        pieces = cut.pieces(position)
        if rank not in path.einsum.size:  # each turn starts afresh
            turns = pieces.total()
            factors = (turns, turns, turns, turns)
        else:
            first = cut.first(position)
            factors = (
                sum(number * cut.accesses(piece, parent, child, use.role) for piece, number in pieces.items()),
                sum(number * cut.active(piece, child) for piece, number in pieces.items()),
                cut.active(first, parent),
                cut.active(first, child),
            )
        total = _Moves(
            total.parent * factors[0],
            total.child * factors[1],
            total.parent_first * factors[2],
            total.child_first * factors[3],
        )
    return total


def _einsum_cost(path: Path, work: _Work, hierarchy: Hierarchy) -> EinsumCost:
    unit_name = path.compute.unit
    unit = hierarchy.units[unit_name]
    per_point = [
        (number, *unit.cost(action)) for action, number in point_actions(path.einsum, unit_name, hierarchy).items()
    ]
    cycles = work.steps * sum(number * cycles for number, cycles, _ in per_point) / unit.width
    times = {unit_name: cycles / unit.clock_hz}
    energy = {unit_name: work.points * math.fsum(number * joules for number, _, joules in per_point)}
    traffic: dict[str, dict[str, Traffic]] = {}
    for name in hierarchy.path(unit_name):
        row = {
            use.tensor: Traffic(
                float(work.reads.get((name, use.tensor), 0)), float(work.writes.get((name, use.tensor), 0))
            )
            for use in path.einsum.uses
            if (name, use.tensor) in work.reads or (name, use.tensor) in work.writes
        }
        if not row:
            continue
        level = hierarchy.levels[name]
        traffic[name] = row
        read, written = sum(t.read_bits for t in row.values()), sum(t.write_bits for t in row.values())
        energy[name] = read * level.read_energy_j_per_bit + written * level.write_energy_j_per_bit
        for port, bits, rate in (
            (name, read + written, level.bandwidth_bytes_per_s),
            (f"{name} read", read, level.read_bandwidth_bytes_per_s),
            (f"{name} write", written, level.write_bandwidth_bytes_per_s),
        ):
            if rate is not None:
                times[port] = bits / work.instances[name] / 8 / rate
    taken = cycles * _lanes(unit_name, hierarchy)
    return EinsumCost(
        einsum=path.einsum.name,
        unit=unit_name,
        times_s=times,
        energy_j=energy,
        traffic=traffic,
        utilisation=_useful_cycles(path, hierarchy) / taken if taken else 0.0,
    )


def _useful_cycles(path: Path, hierarchy: Hierarchy) -> float:
    """Cycles of one lane that would do the Einsum once, without recomputation."""
    unit = hierarchy.units[path.compute.unit]
    actions = point_actions(path.einsum, path.compute.unit, hierarchy)
    return path.einsum.points * sum(number * unit.cost(action)[0] for action, number in actions.items())


def _lanes(unit: str, hierarchy: Hierarchy) -> int:
    """Operations that all instances of a unit start in one cycle."""
    above = math.prod(hierarchy.levels[level].instances for level in hierarchy.path(unit))
    return above * hierarchy.units[unit].instances * hierarchy.units[unit].width


def _latency(nest: Nest, waiting: list[EinsumCost]) -> float:
    """Time of a nest; takes its Einsums, which stand in order of execution, off the list."""
    node = nest[-1]
    if isinstance(node, Compute):
        return waiting.pop(0).latency_s
    if not isinstance(node, Branch):
        return 0.0
    if node.execution == "sequential":
        return sum(_latency(inner, waiting) for inner in node.nests)
    before = list(waiting)
    for inner in node.nests:
        _latency(inner, waiting)
    busy: dict[str, float] = {}
    for cost in before[: len(before) - len(waiting)]:
        for resource, seconds in cost.times_s.items():
            busy[resource] = busy.get(resource, 0.0) + seconds
    return max(busy.values())
