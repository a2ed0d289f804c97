"""One Einsum on one array: its cycles, and what it moves between array, registers and the shared buffer.

The region's loops walk in *granules*: as many coordinates of each cut rank as the arrays take side by side. Rules:

* A granule takes ceil(tile / lanes) steps along each rank. Everything else an Einsum does at a point costs what its
  actions cost.
* An operand that an earlier Einsum left in the array is read from its register at every point. Any other operand is
  read from the buffer; one copy serves all lanes along ranks that it lacks. While it stays the same from step to step
  it is latched in a register (written once, read at every point), otherwise it is used from the bus as it passes.
* Sums over a rank that is walked in steps are read from and written to a register at each point; sums over lanes pass
  from neighbour to neighbour. Several actions at one point hand their value on through a register.
* A result leaves for the buffer unless all its readers find it in the array. A running state, and a sum that several
  granules add to, comes back from the buffer in each granule.
* Which tensor stays while the steps of a granule go by is chosen for least energy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hw.spec.hierarchy import Level
from mappers.mapspace.problem import EinsumProblem, TensorUse
from mappers.search.pipelined.machine import Array, Machine
from mappers.search.pipelined.region import Region

__all__ = ["Local", "Placement", "granule_seconds", "local_cost"]


@dataclass(frozen=True)
class Placement:
    """An array and the rank that each of its dimensions takes side by side (None: one lane)."""

    array: int
    ranks: tuple[str | None, ...]

    def factors(self, array: Array, einsum: EinsumProblem) -> dict[str, int]:
        """Lanes by rank for one Einsum."""
        return {
            rank: min(dimension.size, einsum.size[rank])
            for dimension, rank in zip(array.dimensions, self.ranks, strict=True)
            if rank is not None and rank in einsum.size
        }


@dataclass(frozen=True)
class Local:
    """``busy_s`` for the whole problem; bits by tensor as (read, written).

    ``useful`` is the share of the array's lanes that has work while the Einsum runs.
    """

    busy_s: float
    useful: float
    operations_j: float
    registers: Mapping[str, tuple[float, float]]
    buffer: Mapping[str, tuple[float, float]]
    energy_j: float
    stationary: str | None


def local_cost(
    machine: Machine,
    region: Region,
    place: int,
    placement: Placement,
    granule: Mapping[str, int],
    resident: frozenset[str],
    leaves: bool,
) -> Local:
    """The cost of the Einsum at ``place``; ``resident`` operands are in the array, and the result stays unless it
    ``leaves``.
    """
    einsum = region.einsums[place]
    array = machine.arrays[placement.array]
    cycles, energy_j, actions = array.point_cost(einsum)
    lanes = placement.factors(array, einsum)
    steps = {rank: math.ceil(min(granule[rank], size) / lanes.get(rank, 1)) for rank, size in einsum.sizes}
    counts = {rank: math.ceil(size / granule[rank]) for rank, size in einsum.sizes}
    total = 1
    for rank, size in einsum.sizes:
        rest = size - (counts[rank] - 1) * granule[rank]
        total *= (counts[rank] - 1) * steps[rank] + math.ceil(rest / lanes.get(rank, 1))
    rate = array.unit.width * array.unit.clock_hz
    available = math.prod(dimension.size for dimension in array.dimensions)
    best: tuple[float, str | None, dict[str, tuple[float, float]], dict[str, tuple[float, float]]] | None = None
    for stationary in _stationary(einsum, steps):
        registers, buffer = _moves(region, einsum, stationary, steps, granule, counts, actions, resident, leaves)
        moved_j = _energy(machine.buffer_level, buffer)
        if array.registers is not None:
            moved_j += _energy(machine.hierarchy.levels[array.registers], registers)
        else:
            registers = {}
        if best is None or moved_j < best[0]:
            best = (moved_j, stationary, registers, buffer)
    assert best is not None
    operations_j = energy_j * einsum.points
    return Local(
        busy_s=cycles * total / rate,
        useful=einsum.points / (total * available),
        operations_j=operations_j,
        registers=best[2],
        buffer=best[3],
        energy_j=operations_j + best[0],
        stationary=best[1],
    )


def granule_seconds(machine: Machine, einsum: EinsumProblem, placement: Placement, granule: Mapping[str, int]) -> float:
    """Time of one Einsum for one granule."""
    array = machine.arrays[placement.array]
    lanes = placement.factors(array, einsum)
    steps = math.prod(math.ceil(min(granule[rank], size) / lanes.get(rank, 1)) for rank, size in einsum.sizes)
    return array.point_cost(einsum)[0] * steps / (array.unit.width * array.unit.clock_hz)


def _energy(level: Level, moves: Mapping[str, tuple[float, float]]) -> float:
    return sum(r * level.read_energy_j_per_bit + w * level.write_energy_j_per_bit for r, w in moves.values())


def _stationary(einsum: EinsumProblem, steps: Mapping[str, int]) -> tuple[str | None, ...]:
    """Tensors that may stay while steps go by: those that lack a rank that is walked in steps."""
    walked = {rank for rank, count in steps.items() if count > 1}
    found = tuple(use.tensor for use in einsum.uses if walked - use.ranks)
    return found or (None,)


def _moves(
    region: Region,
    einsum: EinsumProblem,
    stationary: str | None,
    steps: Mapping[str, int],
    granule: Mapping[str, int],
    counts: Mapping[str, int],
    actions: float,
    resident: frozenset[str],
    leaves: bool,
) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]:
    """Bits by tensor that registers and buffer read and write."""
    registers: dict[str, tuple[float, float]] = {}
    buffer: dict[str, tuple[float, float]] = {}
    walked = {rank for rank, count in steps.items() if count > 1}
    kept = region.uses[stationary].ranks if stationary is not None else frozenset()
    outer = walked & kept if stationary is not None else walked

    def again(use: TensorUse) -> int:
        """How often a granule's share of a tensor passes while the stationary one stays."""
        if use.tensor == stationary or not (use.ranks & walked):
            return 1
        return math.prod(steps[rank] for rank in outer - use.ranks)

    def passing(use: TensorUse) -> float:
        """Elements of a tensor that pass in all granules, once in each."""
        other = math.prod(count for rank, count in counts.items() if rank not in use.ranks)
        return float(use.elements(einsum.size)) * other

    points = float(einsum.points)
    for use in einsum.operands:
        if use.tensor in resident:
            registers[use.tensor] = (points * use.bits, 0.0)
            continue
        elements = passing(use) * again(use)
        buffer[use.tensor] = (elements * use.bits, 0.0)
        if use.tensor == stationary or not (use.ranks & walked):
            spread = math.prod(min(granule[r], einsum.size[r]) // steps[r] or 1 for r in steps if r not in use.ranks)
            if walked:
                registers[use.tensor] = (points * use.bits, elements * use.bits * spread)
    out = einsum.output
    read = written = max(0.0, actions - 1.0) * points
    summed = {rank for rank in walked if rank not in out.ranks}
    if summed:
        each = points / math.prod(steps[rank] for rank in summed)
        read, written = read + points - each, written + points
    elif not leaves:
        written += points
    if read or written:
        registers[out.tensor] = (read * out.bits, written * out.bits)
    back = passing(out) * again(out) - float(out.elements(einsum.size))
    if einsum.carried:
        back = passing(out)
    if leaves or back > 0:
        buffer[out.tensor] = (back * out.bits, passing(out) * again(out) * out.bits)
    return registers, buffer
