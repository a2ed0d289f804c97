"""A pipelined machine as its search sees it: one root, one shared buffer, and arrays with their dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.spec.hierarchy import Hierarchy, Level, Unit
from mappers.mapspace.problem import CascadeProblem, EinsumProblem
from workloads.errors import InputError

__all__ = ["Array", "Dimension", "Machine", "check_actions", "machine_of", "port_seconds"]


@dataclass(frozen=True)
class Dimension:
    """One side of an array; ``component`` is the level or unit whose fan-out it is."""

    component: str
    name: str
    size: int
    reduces: bool
    min_usage: float


@dataclass(frozen=True)
class Array:
    """A unit with every dimension between the shared buffer and itself, and its register level if it has one."""

    name: str
    unit: Unit
    registers: str | None
    register_bits: float
    dimensions: tuple[Dimension, ...]

    def missing(self, einsum: EinsumProblem) -> str | None:
        """What keeps the unit from computing ``einsum``: an action, or a register for each of its tensors, or None."""
        needed = sum(use.bits for use in einsum.uses)
        if needed > self.register_bits:
            return f"registers of {needed} bits"
        if self.unit.takes != "all" and (self.unit.takes == "contraction") != einsum.contraction:
            return "contraction" if einsum.contraction else "other than a contraction"
        if "point" in self.unit.actions:
            return None
        return next((action for action, _ in einsum.operations if action not in self.unit.actions), None)

    def point_cost(self, einsum: EinsumProblem) -> tuple[float, float, float]:
        """Cycles, joules and elementary steps of one point of ``einsum``."""
        if "point" in self.unit.actions:
            shares = [("point", 1.0)]
        else:
            shares = [(action, count / einsum.points) for action, count in einsum.operations]
        cycles = energy = steps = 0.0
        for action, share in shares:
            action_cycles, action_energy = self.unit.cost(action)
            cycles += share * action_cycles
            energy += share * action_energy
            steps += share * self._steps(action)
        return cycles, energy, steps

    def _steps(self, action: str) -> float:
        parts = self.unit.actions[action].made_of
        return sum(count * self._steps(part) for part, count in parts.items()) if parts else 1.0


@dataclass(frozen=True)
class Machine:
    """``root`` above ``buffer`` above every array."""

    hierarchy: Hierarchy
    root: str
    buffer: str
    arrays: tuple[Array, ...]

    @property
    def root_level(self) -> Level:
        """The root's sizes, rates and energies."""
        return self.hierarchy.levels[self.root]

    @property
    def buffer_level(self) -> Level:
        """The buffer's sizes, rates and energies."""
        return self.hierarchy.levels[self.buffer]

    @property
    def capacity_bits(self) -> float:
        """What the buffer holds."""
        capacity = self.buffer_level.capacity_bytes
        return math.inf if capacity is None else 8.0 * capacity

    def root_seconds(self, read_bits: float, write_bits: float) -> float:
        """Time to move these bits over the root's port or ports."""
        return port_seconds(self.root_level, read_bits, write_bits)

    def buffer_seconds(self, read_bits: float, write_bits: float) -> float:
        """Time to move these bits over the buffer's port or ports."""
        return port_seconds(self.buffer_level, read_bits, write_bits)

    def prices(self, read_bits: float, write_bits: float) -> tuple[float, float]:
        """Two linear prices of moving bits between root and buffer; time and energy grow with each.

        Where reads and writes share the root's port they are the bits and the joules, otherwise bits each way.
        """
        shared = self.root_level.bandwidth_bytes_per_s is not None
        shared &= self.buffer_level.read_bandwidth_bytes_per_s is None
        shared &= self.buffer_level.write_bandwidth_bytes_per_s is None
        if not shared:
            return read_bits, write_bits
        read_j = self.root_level.read_energy_j_per_bit + self.buffer_level.write_energy_j_per_bit
        write_j = self.root_level.write_energy_j_per_bit + self.buffer_level.read_energy_j_per_bit
        return read_bits + write_bits, read_bits * read_j + write_bits * write_j


def port_seconds(level: Level, read_bits: float, write_bits: float) -> float:
    """Time that ``level`` needs for these bits; ports of their own work at the same time."""
    if level.bandwidth_bytes_per_s is not None:
        return (read_bits + write_bits) / 8 / level.bandwidth_bytes_per_s
    ways = ((read_bits, level.read_bandwidth_bytes_per_s), (write_bits, level.write_bandwidth_bytes_per_s))
    return max(bits / 8 / rate if rate is not None else 0.0 for bits, rate in ways)


def machine_of(hierarchy: Hierarchy) -> Machine:
    """``hierarchy`` as a pipelined machine; raises `InputError` when it has another shape."""
    expected = "a root, one buffer below it that all units share, and at most one level of registers for each unit"
    arrays, buffers = [], set()
    for name, unit in hierarchy.units.items():
        path = hierarchy.path(name)
        if len(path) not in (2, 3):
            raise InputError(f"unit {name!r} has {len(path)} levels above it", expected, f"units.{name}.parent")
        buffers.add(path[1])
        fanouts = [*((level, hierarchy.levels[level].fanout) for level in path[2:]), (name, unit.fanout)]
        dimensions = tuple(
            Dimension(component, dimension, fanout.size, fanout.reduces, fanout.min_usage)
            for component, sides in fanouts
            for dimension, fanout in sides.items()
        )
        registers = path[2] if len(path) == 3 else None
        capacity = hierarchy.levels[registers].capacity_bytes if registers else None
        arrays.append(Array(name, unit, registers, math.inf if capacity is None else 8.0 * capacity, dimensions))
    if len(buffers) != 1:
        raise InputError(f"the units lie below {len(buffers)} buffers", expected, "levels")
    (buffer,) = buffers
    if hierarchy.levels[buffer].fanout:
        raise InputError("the shared buffer has a fan-out", "one shared buffer", f"levels.{buffer}.fanout")
    return Machine(hierarchy, hierarchy.root, buffer, tuple(arrays))


def check_actions(machine: Machine, problem: CascadeProblem) -> None:
    """Raise an `InputError` that names the action when no unit can compute one of the Einsums."""
    for einsum in problem.einsums:
        missing = {array.name: array.missing(einsum) for array in machine.arrays}
        if all(action is not None for action in missing.values()):
            said = ", ".join(f"{unit} has no {action}" for unit, action in missing.items())
            raise InputError(
                f"no unit of {machine.hierarchy.name!r} can compute {einsum.name}: {said}",
                "a unit with " + ", ".join(action for action, _ in einsum.operations),
                f"{problem.name}.{einsum.name}",
            )
