"""Machines as a mapper sees them: a tree of storage levels with fan-outs, and compute units at its leaves.

A `System` says what a machine's parts are and how they are joined; a `Hierarchy` says what a mapper may decide: which
level keeps which tensor, how often each level exists under its parent and what the wires between them share. In YAML
the unit is part of the value and the field name drops it: ``capacity: 128 MiB`` becomes ``capacity_bytes``.

Keep rules are lists of the words ``all``, ``input``, ``weight``, ``output`` and ``intermediate`` (produced and consumed
inside the cascade), each of which ``not`` may precede, and ``not LEVEL``: what that level does not keep. An Einsum's
first operand is its input, its second its weight.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PositiveFloat, PositiveInt, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from hw.spec.component import Component
from hw.spec.hierarchy_checks import check_hierarchy
from hw.spec.quantity import (
    Bandwidth,
    Bytes,
    EnergyPerBitOrZero,
    EnergyPerOperationOrZero,
    Frequency,
)
from hw.spec.rtl_engine import RtlUnits, with_mac_fields
from hw.spec.system import Name

__all__ = ["Action", "Fanout", "Hierarchy", "Level", "Systolic", "Unit"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
_NO_LIMIT = ("infinite", "none")


class _Limit:
    """A quantity that may be missing, which ``infinite`` and ``none`` say too."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(cls._read, handler(source))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [*handler(schema)["anyOf"], {"enum": list(_NO_LIMIT)}]}

    @staticmethod
    def _read(value: Any) -> Any:
        return None if isinstance(value, str) and value.strip() in _NO_LIMIT else value


ByteLimit = Annotated[Bytes | None, _Limit]
BandwidthLimit = Annotated[Bandwidth | None, _Limit]


class Fanout(Component):
    """One dimension along which a component exists ``size`` times under its parent.

    ``reuse`` names the operand that is sent once to all instances along the dimension (an output: reduced on the way
    back); only ranks that this operand lacks may be spread there. Without it any rank may, and each instance moves
    its own copy. ``min_usage`` is the share of instances to be used; where no mapping reaches it, those that use most.
    ``reduces`` (pipelined machines): neighbours pass partial results on, so a rank that is reduced may be spread here.
    """

    size: PositiveInt
    reuse: Literal["input", "weight", "output"] | None = None
    min_usage: Share = 0.0
    reduces: bool = False


class Level(Component):
    """A storage level. Sizes, rates and ports are those of one instance.

    ``bandwidth`` is a port that reads and writes share; ``read_bandwidth`` and ``write_bandwidth`` are ports of their
    own. None is no limit, in YAML ``infinite`` or left out. ``keep`` must be stored here, ``may_keep`` may.
    """

    parent: Name | None = None
    capacity_bytes: ByteLimit = Field(None, alias="capacity")
    read_energy_j_per_bit: EnergyPerBitOrZero = Field(0.0, alias="read_energy")
    write_energy_j_per_bit: EnergyPerBitOrZero = Field(0.0, alias="write_energy")
    bandwidth_bytes_per_s: BandwidthLimit = Field(None, alias="bandwidth")
    read_bandwidth_bytes_per_s: BandwidthLimit = Field(None, alias="read_bandwidth")
    write_bandwidth_bytes_per_s: BandwidthLimit = Field(None, alias="write_bandwidth")
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


class Systolic(Component):
    """A skewed systolic array: operands march in from two edges, and folds follow one another without overlap.

    Each operand's on-chip buffer takes data at ``prefetch_bandwidth``: half of it is filled before the first fold. The
    output's buffer sends results away at ``drain_bandwidth``. Between the two, transfers hide behind the folds. No
    limit (None) is no time.
    """

    prefetch_bandwidth_bytes_per_s: BandwidthLimit = Field(None, alias="prefetch_bandwidth")
    drain_bandwidth_bytes_per_s: BandwidthLimit = Field(None, alias="drain_bandwidth")


class Unit(Component):
    """A compute unit below the level ``parent``, which exists ``fanout`` times there.

    ``actions`` are named by the operators of the cascade language, with two more names: ``mac`` is the multiply and
    add of a contraction, ``point`` stands for whatever an Einsum does at one point of its space. ``width`` operations
    start in each instance each cycle. ``takes`` limits the unit to contractions or to everything else. A
    ``systolic`` unit is an array whose fan-out has the dimensions ``rows`` and ``columns``.

    Two rules of pipelined machines. ``operand_buses``: what is not yet in the array enters over one bus for each row
    and column, so such an operand must lack the rank on one of two dimensions. ``one_layout``: Einsums that follow one
    another on the array find their operands where they were left, so all of them spread the same ranks.

    A unit may be a hardware unit, ``rtl`` (`hw.spec.rtl_engine`): its width, clock and the energy of its ``mac`` come
    from there where they are left out.
    """

    parent: Name
    clock_hz: Frequency = Field(alias="clock")
    width: PositiveInt = 1
    fanout: dict[Name, Fanout] = Field(default_factory=dict)
    actions: dict[str, Action] = Field(min_length=1)
    takes: Literal["all", "contraction", "other"] = "all"
    systolic: Systolic | None = None
    operand_buses: bool = False
    one_layout: bool = False
    rtl: RtlUnits | None = None

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, given: Any) -> Any:
        return with_mac_fields(given)

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
        check_hierarchy(self)
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
