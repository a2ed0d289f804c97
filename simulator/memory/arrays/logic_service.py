"""Products of stored matrices with vectors in arrays of logic cells: lanes hold weights, multiply, and add up.

Mapping: a lane holds ``terms`` weights of one output and works them off one after the other; the lanes of a block are
different outputs, so that an input is sent to all of them at once, a preset column for each of its bits. An output that
is cut over several blocks is added up along a tree; at each level half of the partial sums move on, block by block,
``sum_bits`` columns a hop. Of all cuts that fit, the fastest is taken. Vectors follow one another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hw.cost.bit_serial import BitSerialCost, bit_serial_cost
from simulator.memory.arrays.devices import LogicDevice
from simulator.memory.arrays.logic import StepCounts
from simulator.memory.arrays.operations import ARRAYS
from simulator.memory.arrays.programs import DotProgram, dot_counts, dot_program, sum_counts
from simulator.memory.inside import Product, Served
from workloads.errors import InputError

__all__ = ["LanePlan", "LogicService", "WriteCost"]

FORMATS = ("fp32", "fp16", "bf16", *(f"int{bits}" for bits in range(2, 9)))
"""Formats of which there are gate lists."""


@dataclass(frozen=True)
class WriteCost:
    """Seconds and joules of putting data into cells."""

    seconds: float
    energy_j: float


@dataclass(frozen=True)
class LanePlan:
    """How a product lies in the lanes, and what one vector takes.

    ``terms`` weights a lane, ``pieces`` lanes an output, ``lanes`` in all, worked off in ``waves``. Seconds are those
    of one vector, joules of all its lanes; ``lane_writes`` are writes and presets of the busiest lane's cells.
    """

    terms: int
    pieces: int
    lanes: int
    waves: int
    dot_s: float
    tree_s: float
    dot_j: float
    tree_j: float
    lane_writes: int
    work_cells: int

    @property
    def seconds(self) -> float:
        """One vector."""
        return self.waves * (self.dot_s + self.tree_s)


@dataclass(frozen=True)
class LogicService:
    """``chips`` of ``device``; 16-bit numbers of which no format is known are taken as ``float16``.

    ``resident_bytes``, where known, are all that lies in the arrays: it must leave the lanes room to work in.
    """

    device: LogicDevice
    chips: int = 1
    float16: Literal["bf16", "fp16"] = "bf16"
    resident_bytes: float | None = None

    def __str__(self) -> str:
        return (
            f"{self.chips} x {self.device.name}, {self.lanes:,} lanes on {self.device.part().name} "
            f"({self.device.part().source.kind} cell values), 16-bit numbers as {self.float16}, weights stationary"
        )

    @property
    def lanes(self) -> int:
        """Lanes that compute at a time."""
        return self.chips * self.device.tiles * self.device.active_blocks_per_tile * self.device.rows

    def program(self, stored_bits: float) -> DotProgram:
        """The arithmetic for elements of ``stored_bits``; `InputError` where there is no gate list."""
        names: dict[float, str] = {32: "fp32", 16: self.float16, **{float(bits): f"int{bits}" for bits in range(2, 9)}}
        if stored_bits not in names:
            raise InputError(f"elements of {stored_bits:g} bits", "32, 16, or 2 to 8 whole bits", "stored_bits")
        return dot_program(names[stored_bits])

    def program_of(self, product: Product) -> DotProgram:
        """The arithmetic for ``product``, in the format it is computed in; `InputError` where there is no gate list."""
        if product.computed is None:
            return self.program(product.stored_bits)
        if product.computed not in FORMATS:
            raise InputError(f"computed in {product.computed}", f"one of {', '.join(FORMATS)}", "computed")
        return dot_program(product.computed)

    def weights_per_lane(self, program: DotProgram) -> int:
        """Weights a lane holds beside the cells it works in; `InputError` when there are none."""
        work = dot_counts(self.device.gates, program.name, 2).cells
        room = (self.device.columns - work) // program.bits
        if room < 1:
            problem = f"{self.device.columns} cells a lane, {work} taken by a multiply-add in {program.name}"
            raise InputError(problem, "room for at least one weight", "columns")
        return room

    def capacity_bytes(self, stored_bits: float) -> float:
        """Bytes of weights that fit beside the cells that the lanes work in."""
        return self._capacity(self.program(stored_bits))

    def plan(self, product: Product) -> LanePlan:
        """The fastest cut of ``product``; `InputError` when it does not fit, with what it needs."""
        program = self.program_of(product)
        room = self.weights_per_lane(program)
        elements = product.rows * product.columns * product.copies
        self._check_fit(program, elements)
        least = max(1, min(room, math.ceil(elements / self.lanes)))
        cuts = {room, *(least << k for k in range(room.bit_length()) if least << k < room)}
        plans = (self._cut(product, program, min(cut, product.columns)) for cut in cuts)
        return min(plans, key=lambda plan: (plan.seconds, plan.dot_j + plan.tree_j))

    def serve(self, product: Product) -> Served:
        """Time and energy of ``product``; `InputError` for formats without a gate list and for what does not fit."""
        program = self.program_of(product)
        plan = self.plan(product)
        cell = self.device.part()
        in_bits = product.columns * program.bits
        out_bits = product.rows * program.sum_bits * product.copies / (self.chips * self.device.tiles)
        port_s = product.vectors * (in_bits + out_bits) / self.device.port_bits_per_step * cell.step_s
        compute_s = product.vectors * plan.seconds
        seconds, energy_j = max(compute_s, port_s), product.vectors * (plan.dot_j + plan.tree_j)
        share = plan.dot_s / (plan.dot_s + plan.tree_s)
        why = "its ports" if port_s > compute_s else f"gates ({share:.0%} products in lanes, the rest sums over blocks)"
        why += f"; {min(plan.lanes, self.lanes):,} of {self.lanes:,} lanes, {plan.terms} terms each"
        if self.device.endurance is not None:
            hours = self._lasts_s(plan, rotated=True) / 3600
            why += f"; cells of {self.device.endurance:.0e} writes last {hours:,.2g} h of it"
        if product.grows:
            elements = product.new_rows * product.columns + product.new_columns * product.rows
            grown = self.write_cost(product.copies * elements * program.bits / 8)
            seconds, port_s, energy_j = seconds + grown.seconds, port_s + grown.seconds, energy_j + grown.energy_j
            why += "; new cells written"
        return Served(seconds, energy_j, port_s, why)

    def write_cost(self, stored_bytes: float) -> WriteCost:
        """Writing ``stored_bytes``: each bit a preset and a write where cells need both, a tile's port at a time."""
        cell, bits = self.device.part(), 8 * stored_bytes
        per_step = self.chips * self.device.tiles * self.device.port_bits_per_step
        preset_j = cell.preset_j if ARRAYS[self.device.gates].preset_steps else 0.0
        bit_j = cell.write_j + preset_j + cell.step_j
        return WriteCost(math.ceil(bits / per_step) * cell.step_s, bits * bit_j)

    def lifetime_s(self, product: Product, *, rotated: bool = True) -> float:
        """How long cells last that do nothing but ``product``, wear spread over the cells a lane works in.

        ``rotated`` moves that place over all of the lane's cells, as FloatPIM does. Infinite for cells without wear.
        """
        return self._lasts_s(self.plan(product), rotated)

    def _check_fit(self, program: DotProgram, elements: float) -> None:
        needed = max(elements * program.bits / 8, self.resident_bytes or 0.0)
        capacity = self._capacity(program)
        if needed > capacity:
            raise InputError(
                f"{needed / 1e9:,.3f} GB in {self.chips} x {self.device.name}",
                f"at most {capacity / 1e9:,.3f} GB of {program.name} beside the cells it works in",
                "chips",
            )

    def _lasts_s(self, plan: LanePlan, rotated: bool) -> float:
        if self.device.endurance is None:
            return math.inf
        over = self.device.columns if rotated else plan.work_cells
        return self.device.endurance * over / plan.lane_writes * plan.seconds

    def _capacity(self, program: DotProgram) -> float:
        held = self.chips * self.device.blocks * self.device.rows * self.weights_per_lane(program)
        return held * program.bits / 8

    def _cost(self, counts: StepCounts) -> BitSerialCost:
        return bit_serial_cost(
            self.device.part(),
            steps=counts.steps,
            reads=counts.reads,
            writes=counts.writes,
            presets=counts.presets,
            cells=counts.cells,
        )

    def _cut(self, product: Product, program: DotProgram, terms: int) -> LanePlan:
        gates = self.device.gates
        pieces = math.ceil(product.columns / terms)
        outputs = product.rows * product.copies
        lanes = math.ceil(outputs * pieces)
        dot, addition = dot_counts(gates, program.name, terms), sum_counts(gates, program.name)
        move = self._move(program)
        dot_cost, add_cost, move_cost = self._cost(dot), self._cost(addition), self._cost(move)
        levels = math.ceil(math.log2(pieces)) if pieces > 1 else 0
        hops = pieces - 1  # of the sum that travels farthest: 1 + 2 + 4 + ... blocks
        moved = pieces / 2 * levels  # hops of all sums: at level k, pieces / 2^(k+1) sums go 2^k blocks
        last = dot_counts(gates, program.name, product.columns - (pieces - 1) * terms)
        whole = self._cost(last).energy_j + (pieces - 1) * dot_cost.energy_j
        return LanePlan(
            terms=terms,
            pieces=pieces,
            lanes=lanes,
            waves=math.ceil(lanes / self.lanes),
            dot_s=dot_cost.latency_s,
            tree_s=levels * add_cost.latency_s + hops * move_cost.latency_s,
            dot_j=outputs * whole,
            tree_j=outputs * ((pieces - 1) * add_cost.energy_j + moved * move_cost.energy_j),
            lane_writes=sum(counts.writes + counts.presets for counts in (dot, *[addition] * levels)),
            work_cells=max(dot.cells, addition.cells),
        )

    def _move(self, program: DotProgram) -> StepCounts:
        """A running sum into the same lane of the next block, a column a step."""
        preset_steps = ARRAYS[self.device.gates].preset_steps
        bits = program.sum_bits
        presets = bits if preset_steps else 0
        return StepCounts(bits * (1 + preset_steps), 0, bits, bits, presets, bits)
