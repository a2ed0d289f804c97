"""Machines as a mapper sees them: a tree of storage levels with fan-outs, and compute units at its leaves.

A `System` says what a machine's parts are and how they are joined; a `Hierarchy` says what a mapper may decide: which
level keeps which tensor, how often each level exists under its parent and what the wires between them share. In YAML
the unit is part of the value and the field name drops it: ``capacity: 128 MiB`` becomes ``capacity_bytes``.

Keep rules are lists of the words ``all``, ``input``, ``weight``, ``output`` and ``intermediate`` (produced and consumed
inside the cascade), each of which ``not`` may precede, and ``not LEVEL``: what that level does not keep. An Einsum's
first operand is its input, its second its weight.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from hw.spec.quantity import (
    Bandwidth,
    Bytes,
    EnergyPerBitOrZero,
    EnergyPerOperationOrZero,
    Frequency,
)
from hw.spec.system import Component, Name
from workloads.errors import InputError, unknown_name

__all__ = ["Action", "Fanout", "Hierarchy", "Level", "Unit"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Fanout(Component):
    """One dimension along which a component exists ``size`` times under its parent.

    ``reuse`` names the operand that is sent once to all instances along the dimension (an output: reduced on the way
    back); only ranks that this operand lacks may be spread there. Without it any rank may, and each instance moves
    its own copy. ``min_usage`` is the share of instances to be used; where no mapping reaches it, those that use most.
    """

    size: PositiveInt
    reuse: Literal["input", "weight", "output"] | None = None
    min_usage: Share = 0.0


class Level(Component):
    """A storage level. Sizes, rates and ports are those of one instance.

    ``bandwidth`` is a port that reads and writes share; ``read_bandwidth`` and ``write_bandwidth`` are ports of their
    own. None is no limit. ``keep`` must be stored here, ``may_keep`` may.
    """

    parent: Name | None = None
    capacity_bytes: Bytes | None = Field(None, alias="capacity")
    read_energy_j_per_bit: EnergyPerBitOrZero = Field(0.0, alias="read_energy")
    write_energy_j_per_bit: EnergyPerBitOrZero = Field(0.0, alias="write_energy")
    bandwidth_bytes_per_s: Bandwidth | None = Field(None, alias="bandwidth")
    read_bandwidth_bytes_per_s: Bandwidth | None = Field(None, alias="read_bandwidth")
    write_bandwidth_bytes_per_s: Bandwidth | None = Field(None, alias="write_bandwidth")
    fanout: dict[Name, Fanout] = Field(default_factory=dict)
    keep: tuple[str, ...] = ()
    may_keep: tuple[str, ...] = ()

    @property
    def instances(self) -> int:
        """How often the level exists under one instance of its parent."""
        total = 1
        for dimension in self.fanout.values():
            total *= dimension.size
        return total


class Action(Component):
    """What one operation of a unit costs: its own ``cycles`` and ``energy``, or those of the actions it is made of.

    ``cycles`` beside ``made_of`` replaces the sum of theirs: a pipelined sequence takes one cycle per result.
    """

    cycles: PositiveFloat | Literal[0] | None = None
    energy_j: EnergyPerOperationOrZero = Field(0.0, alias="energy")
    made_of: dict[str, PositiveFloat] = Field(default_factory=dict)


class Unit(Component):
    """A compute unit below the level ``parent``, which exists ``fanout`` times there.

    ``actions`` are named by the operators of the cascade language, with two more names: ``mac`` is the multiply and
    add of a contraction, ``point`` stands for whatever an Einsum does at one point of its space. ``width`` operations
    start in each instance each cycle. ``takes`` limits the unit to contractions or to everything else.
    """

    parent: Name
    clock_hz: Frequency = Field(alias="clock")
    width: PositiveInt = 1
    fanout: dict[Name, Fanout] = Field(default_factory=dict)
    actions: dict[str, Action] = Field(min_length=1)
    takes: Literal["all", "contraction", "other"] = "all"

    @property
    def instances(self) -> int:
        """How often the unit exists under one instance of its parent."""
        total = 1
        for dimension in self.fanout.values():
            total *= dimension.size
        return total

    def cost(self, action: str) -> tuple[float, float]:
        """Cycles and joules of one ``action``; KeyError when the unit has none of that name."""
        found = self.actions[action]
        cycles, energy = 0.0 if found.made_of else 1.0, found.energy_j
        for part, count in found.made_of.items():
            part_cycles, part_energy = self.cost(part)
            cycles += count * part_cycles
            energy += count * part_energy
        return (cycles if found.cycles is None else float(found.cycles)), energy


class Hierarchy(Component):
    """A machine for the mapper. ``levels`` stand from the outermost inwards; each but the first names its parent.

    ``sequential``: one Einsum runs after the other. ``pipelined``: the Einsums of a fused cascade run interleaved on
    the units, and only true dependences wait.
    """

    name: str = Field(min_length=1)
    description: str = ""
    execution: Literal["sequential", "pipelined"] = "sequential"
    levels: dict[Name, Level] = Field(min_length=1)
    units: dict[Name, Unit] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Hierarchy:
        seen: list[str] = []
        for name, level in self.levels.items():
            if level.parent is None and seen:
                raise InputError("has no parent", f"one of {', '.join(seen)}", f"levels.{name}.parent")
            if level.parent is not None and level.parent not in seen:
                raise unknown_name("outer level", level.parent, seen, field=f"levels.{name}.parent")
            seen.append(name)
        for name, unit in self.units.items():
            if unit.parent not in self.levels:
                raise unknown_name("level", unit.parent, seen, field=f"units.{name}.parent")
        return self

    @property
    def root(self) -> str:
        """The outermost level."""
        return next(iter(self.levels))

    def path(self, unit: str) -> tuple[str, ...]:
        """The levels above a unit, outermost first."""
        found: list[str] = []
        name: str | None = self.units[unit].parent
        while name is not None:
            found.append(name)
            name = self.levels[name].parent
        return tuple(reversed(found))
