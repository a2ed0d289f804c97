"""A memory that computes, in numbers: its units and registers, and its commands on top of a DRAM device's own.

A command of such a memory goes to a set of banks at once. It obeys the rules of the DRAM command it is ``like``
wherever the two sets share a node of the rule's scope, and rules of its own. So an activation of all even banks waits
until every one of them may be activated; it counts as one activation of the rank, because one command is sent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from simulator.memory.dram.device import Constraint, Device

__all__ = ["PimCommand", "PimDevice", "PimEnergy", "Registers"]


@dataclass(frozen=True)
class PimCommand:
    """One command: its name, and the DRAM command whose rules it obeys; '' if it only touches buffers, and no row."""

    name: str
    like: str


@dataclass(frozen=True)
class Registers:
    """Of one unit: instructions and their bits, vector registers (A for inputs, B for results), scalars, one's bits."""

    instructions: int
    instruction_bits: int
    inputs: int
    results: int
    scalars: int
    bits: int


@dataclass(frozen=True)
class PimEnergy:
    """Joules: opening a row of one bank, one column read or written into one unit, one over the pins, one multiply-add.

    ``source`` says where each is from. Refresh and background are the DRAM device's.
    """

    activate_j: float
    column_j: float
    pins_j: float
    multiply_add_j: float
    source: str


@dataclass(frozen=True)
class PimDevice:
    """``channels`` channels of ``dram``, each with ``units`` units of ``lanes`` lanes of fp16.

    ``level`` says where the units sit: ``bank-pair``, ``bank``, ``bank-group`` or ``logic-die``. A compute command
    reads one burst into every unit it reaches. ``vectors_per_read`` input vectors can use that burst before it must be
    read again, at ``vector_ticks`` each. ``buffer_bytes`` holds input vectors beside a unit; ``row_split`` units share
    the columns of one output and add up their parts. ``layout`` names how a matrix is laid out and driven:
    ``registers`` (`simulator.memory.pim.lowering_registers`) or ``buffer`` (`simulator.memory.pim.lowering_buffer`).
    ``moves_overlap``: buffers are filled and emptied while the units compute; ``opens_ahead``: rows of the next group
    of commands are opened while other banks compute; ``two_row_buffers``: the host has its own row buffers.
    ``sets`` are the banks of each named set. The first refresh falls due at ``first_refresh_ticks``, then every nREFI.
    """

    name: str
    dram: Device
    channels: int
    level: str
    units: int
    lanes: int
    vectors_per_read: int
    vector_ticks: Fraction
    buffer_bytes: int
    row_split: int
    registers: Registers
    layout: str
    commands: dict[str, PimCommand]
    sets: dict[str, frozenset[int]]
    rules: tuple[Constraint, ...]
    timing: dict[str, int]
    first_refresh_ticks: int
    energy: PimEnergy
    moves_overlap: bool = False
    opens_ahead: bool = False
    two_row_buffers: bool = False
    note: str = ""
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def column_sets(self) -> tuple[str, ...]:
        """The bank sets that compute commands go to in turn, in the order of their names."""
        return tuple(sorted(name for name in self.sets if name.startswith("compute")))

    @property
    def units_per_command(self) -> int:
        """Units that one compute command keeps busy."""
        return len(self.sets[self.column_sets[0]])

    @property
    def compute_ticks(self) -> int:
        """The shortest time between two compute commands, whatever the batch: the largest rule between them."""
        command = self.commands["compute"]
        own = [rule.ticks for rule in self.rules if rule.before == rule.after == command.name]
        base = [r.ticks for r in self.dram.constraints if r.before == r.after == command.like and not r.sibling]
        return max(1, *own, *base)

    def interval_ticks(self, vectors: int) -> int:
        """Between compute commands that serve ``vectors`` input vectors each."""
        return max(self.compute_ticks, math.ceil(vectors * self.vector_ticks))

    @property
    def inside_bytes_per_s(self) -> float:
        """What all units read at most: a burst for every unit per `compute_ticks`."""
        burst = self.units_per_command * self.dram.burst_bytes
        return self.channels * burst / (self.compute_ticks * self.dram.tick_s)

    @property
    def outside_bytes_per_s(self) -> float:
        """The nominal rate of the pins of all channels."""
        return self.channels * self.dram.peak_bytes_per_s

    @property
    def multiply_adds_per_s(self) -> float:
        """Of all units at their own rate, with rows open and operands at hand."""
        vectors = min(self.vectors_per_read, max(1, math.floor(self.compute_ticks / self.vector_ticks)))
        return self.inside_bytes_per_s / 2 * vectors * self.compute_ticks / self.interval_ticks(vectors)
