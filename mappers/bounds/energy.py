"""Least energy of one Einsum beside its compulsory root traffic: operations, and what must happen at the levels.

A unit reads its operands from, and updates its result in, the innermost level that keeps them, at every point of the
Einsum; a fan-out on the way that reuses the tensor serves up to its size, and up to as many points as there are along
the ranks that the tensor lacks, with one access. So the innermost level of a tensor sees at least points / reuse reads,
and for a result as many writes. A level further out that keeps a tensor sees each element at least once each way.
Which levels keep a tensor is the mapping's choice within the machine's rules: the bound takes the cheapest. If the
innermost level is the root itself, its traffic grows instead.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from mappers.bounds.charges import Charge
from mappers.bounds.machine import Machine
from mappers.bounds.touched import touched
from mappers.mapspace.checks import point_actions
from mappers.mapspace.problem import CascadeProblem, EinsumProblem, TensorUse

__all__ = ["EnergyFloor", "energy_floor"]


@dataclass(frozen=True, slots=True)
class EnergyFloor:
    """Joules of an Einsum: ``operations_j`` of its arithmetic, ``movement_j`` beyond the compulsory root traffic."""

    unit: str
    operations_j: float
    movement_j: float

    @property
    def total_j(self) -> float:
        """Both."""
        return self.operations_j + self.movement_j


def energy_floor(
    problem: CascadeProblem, einsum: EinsumProblem, charges: dict[str, Charge], excess_bits: float, machine: Machine
) -> EnergyFloor:
    """The least over all units and all choices of levels.

    ``excess_bits`` is what the Einsum moves through the root beyond ``charges`` at least. Root traffic beyond the
    charges costs no less than the larger of that excess and the innermost accesses of tensors that only the root keeps.
    """
    hierarchy = machine.hierarchy
    root = hierarchy.levels[hierarchy.root]
    excess_j = excess_bits * min(root.read_energy_j_per_bit, root.write_energy_j_per_bit)
    best: EnergyFloor | None = None
    for unit in machine.units(einsum):
        actions = point_actions(einsum, unit, hierarchy)
        operations = einsum.points * math.fsum(
            number * hierarchy.units[unit].cost(action)[1] for action, number in actions.items()
        )
        options = [_options(problem, einsum, use, charges.get(use.tensor), unit, machine) for use in einsum.uses]
        if not all(options):
            continue
        movement = min(
            math.fsum(chip for chip, _ in chosen) + max(excess_j, math.fsum(extra for _, extra in chosen))
            for chosen in itertools.product(*options)
        )
        floor = EnergyFloor(unit, operations, movement)
        if best is None or floor.total_j < best.total_j:
            best = floor
    return best or EnergyFloor(machine.units(einsum)[0], 0.0, excess_j)


def _options(
    problem: CascadeProblem, einsum: EinsumProblem, use: TensorUse, charge: Charge | None, unit: str, machine: Machine
) -> tuple[tuple[float, float], ...]:
    """(joules on chip, joules at the root beyond the charge) of each way to keep the tensor, without dominated ones."""
    found = {_keeping(problem, einsum, use, charge, unit, chain, machine) for chain in machine.chains(use, unit)}
    return tuple(
        one for one in found if not any(other != one and other[0] <= one[0] and other[1] <= one[1] for other in found)
    )


def _keeping(
    problem: CascadeProblem,
    einsum: EinsumProblem,
    use: TensorUse,
    charge: Charge | None,
    unit: str,
    chain: tuple[int, ...],
    machine: Machine,
) -> tuple[float, float]:
    hierarchy = machine.hierarchy
    levels = [hierarchy.levels[name] for name in hierarchy.path(unit)]
    inner = chain[-1]
    bits, elements = float(use.bits), touched(use, einsum.size)
    accesses = einsum.points / _reuse(einsum, use, unit, inner, machine)
    reads, writes = accesses, 0.0
    if use.role == "output":
        writes = accesses
        # Where nothing lies above, finished values are not drained, and first values are written without a read.
        if chain[0] == inner or _shared(problem, use, machine):
            reads = max(0.0, accesses - elements * _copies(einsum, use, inner, unit, machine))
    if inner == 0:
        known_read, known_write = (charge.read_bits, charge.write_bits) if charge else (0.0, 0.0)
        root = levels[0]
        return 0.0, (
            max(0.0, reads * bits - known_read) * root.read_energy_j_per_bit
            + max(0.0, writes * bits - known_write) * root.write_energy_j_per_bit
        )
    level = levels[inner]
    joules = bits * (reads * level.read_energy_j_per_bit + writes * level.write_energy_j_per_bit)
    extra = 0.0
    if chain[0] == 0 and charge is None and not _shared(problem, use, machine):
        # An intermediate that visits the root although it need not: each element at least once.
        root = levels[0]
        rate = root.write_energy_j_per_bit if use.role == "output" else root.read_energy_j_per_bit
        extra = elements * bits * rate
    if _shared(problem, use, machine):  # one fill may serve several Einsums
        return joules, extra
    once = elements * bits
    if use.role == "output":
        for place in chain[:-1]:
            if place:
                drained = levels[place].read_energy_j_per_bit if place != chain[0] else 0.0
                joules += once * (levels[place].write_energy_j_per_bit + drained)
        return joules, extra
    for place in chain:
        if place and place != inner:
            joules += once * (levels[place].read_energy_j_per_bit + levels[place].write_energy_j_per_bit)
        elif place:
            joules += once * level.write_energy_j_per_bit
    return joules, extra


def _shared(problem: CascadeProblem, use: TensorUse, machine: Machine) -> bool:
    """True when another Einsum may have filled, or may go on to use, the stores that this one sees."""
    if not machine.constraints.fuse:
        return False
    writers = sum(einsum.output.tensor == use.tensor for einsum in problem.einsums)
    if use.role == "output":
        return writers > 1
    return writers > 0 or len(problem.consumers(use.tensor)) > 1


def _reuse(einsum: EinsumProblem, use: TensorUse, unit: str, inner: int, machine: Machine) -> float:
    lacking = math.prod(size for rank, size in einsum.sizes if rank not in use.ranks)
    served = 1
    for place, fanout in machine.fanouts(unit):
        if place > inner and (fanout.reuse == use.role or (fanout.reduces and use.role == "output")):
            served *= fanout.size
    return float(min(served, lacking))


def _copies(einsum: EinsumProblem, use: TensorUse, inner: int, unit: str, machine: Machine) -> float:
    """Copies of a result's element in the instances of its innermost level, at most."""
    lacking = math.prod(size for rank, size in einsum.sizes if rank not in use.ranks)
    instances = math.prod(fanout.size for place, fanout in machine.fanouts(unit) if place <= inner)
    return float(min(instances, lacking))
