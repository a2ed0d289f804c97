"""Energy, time and area of programs on arrays of cells that compute bit by bit.

Counts come from a program's gate list (`simulator.memory.arrays`) or from the closed forms that two papers gave for
theirs: FloatPIM (Imani et al., ISCA 2019) and the SOT-MRAM array of Wang et al. (ISCAS 2020, arXiv 2003.01551). Cell
values that were not found in print by us are marked synthetic; the ranges are to be swept, not believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from hw.spec.source import Source
from workloads.errors import InputError

__all__ = [
    "CELLS",
    "DRAM_ROW",
    "DRAM_ROW_LANES",
    "MEMRISTOR_CIRCUIT",
    "MEMRISTOR_NOR",
    "SOT_FAST",
    "SOT_MEASURED",
    "SOT_SLOW",
    "BitSerialCell",
    "BitSerialCost",
    "PublishedCounts",
    "bit_serial_cost",
    "floatpim_add",
    "floatpim_multiply",
    "needed_step_s",
    "needed_write_j",
    "published_cost",
    "sot_add",
    "sot_multiply",
]


@dataclass(frozen=True)
class BitSerialCell:
    """Time of a step in s, energies of one cell's read, write and preset in J, cell area in um2 (None: not known).

    A search compares every row with a key; ``search_j`` is one lane's share. ``step_j`` is one lane's share of what a
    step costs whatever it reads and writes.
    """

    name: str
    step_s: float
    read_j: float
    write_j: float
    preset_j: float
    cell_um2: float | None
    search_s: float
    search_j: float
    source: Source
    step_j: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{field.name} is {value:g}", "a finite number, at least 0", field.name)


_FLOATPIM_ROWS = 1024
MEMRISTOR_NOR = BitSerialCell(
    name="memristor NOR, 28 nm",
    step_s=1.1e-9,
    read_j=0.0,
    write_j=0.29e-15,
    preset_j=23.8e-15,
    cell_um2=4 * 0.028**2,
    search_s=1.5e-9,
    search_j=5.34e-12 / _FLOATPIM_ROWS,
    source=Source("synthetic", "FloatPIM's cell as recalled; a search's 5.34 pJ is taken to serve 1024 rows; 4 F^2"),
)
_SENSE_J = 2.16e-15
SOT_FAST = BitSerialCell(
    name="SOT-MRAM, fast end",
    step_s=1.0e-9,
    read_j=_SENSE_J,
    write_j=50e-15,
    preset_j=50e-15,
    cell_um2=None,
    search_s=1.0e-9,
    search_j=_SENSE_J,
    source=Source("synthetic", "read 0.5 ns, write 0.5 ns and 50 fJ; read energy is a 32 nm sense amplifier's"),
)
SOT_SLOW = BitSerialCell(
    name="SOT-MRAM, slow end",
    step_s=3.5e-9,
    read_j=_SENSE_J,
    write_j=500e-15,
    preset_j=500e-15,
    cell_um2=None,
    search_s=1.5e-9,
    search_j=_SENSE_J,
    source=Source("synthetic", "read 1.5 ns, write 2 ns and 500 fJ; read energy is a 32 nm sense amplifier's"),
)
MEMRISTOR_CIRCUIT = replace(
    MEMRISTOR_NOR,
    name="memristor NOR, circuit simulation",
    write_j=1.303e-15,
    preset_j=3.166e-15,
    source=Source(
        "synthetic",
        "energies of a NOR and of the dearer of two SETs at 10 kohm and 10 Mohm are stated, a circuit simulation of"
        " MahirDhrubo/3D_Crossbar_Mapping 7e4885e (public-data/table1); the rest is FloatPIM's cell as recalled",
    ),
)
SOT_MEASURED = replace(
    SOT_FAST,
    name="SOT-MRAM, measured device",
    write_j=100e-15,
    preset_j=100e-15,
    cell_um2=34.5 * 0.028**2,
    source=Source(
        "synthetic",
        "imec's devices switch below 100 fJ a bit (stated, IEDM 2023) and in 0.3 ns; a step of 1 ns, the read energy of"
        " a 32 nm sense amplifier, and the area of NVSim's aggressive STT cell (34.5 F^2, one transistor fewer) at"
        " 28 nm are assumed",
    ),
)
DRAM_ROW_LANES = 8 * 8192
"""Bits of a row of 8 KiB, each a lane."""

DRAM_ROW = BitSerialCell(
    name="DRAM rows, triple activation",
    step_s=48.0e-9,
    read_j=0.0,
    write_j=0.0,
    preset_j=0.0,
    cell_um2=None,
    search_s=0.0,
    search_j=0.0,
    source=Source(
        "derived",
        "published times of SIMDRAM programs over their step counts; 0.871 nJ a step and row of 8 KiB",
    ),
    step_j=0.871e-9 / DRAM_ROW_LANES,
)
CELLS: dict[str, BitSerialCell] = {
    "memristor-nor": MEMRISTOR_NOR,
    "memristor-circuit": MEMRISTOR_CIRCUIT,
    "sot-fast": SOT_FAST,
    "sot-measured": SOT_MEASURED,
    "sot-slow": SOT_SLOW,
    "dram-row": DRAM_ROW,
}


@dataclass(frozen=True)
class BitSerialCost:
    """One operation of one lane: ``latency_s`` is shared by all lanes of the array, energy and area are not.

    ``area_um2`` is that of the lane's cells, None where the cell's is not known.
    """

    latency_s: float
    energy_j: float
    area_um2: float | None


def bit_serial_cost(
    cell: BitSerialCell, *, steps: int, reads: int, writes: int, presets: int, cells: int
) -> BitSerialCost:
    """Cost of a gate list with these counts; `InputError` when a count is negative."""
    counts = {"steps": steps, "reads": reads, "writes": writes, "presets": presets, "cells": cells}
    for field, count in counts.items():
        if count < 0:
            raise InputError(f"{field} is {count}", "at least 0", field)
    energy_j = reads * cell.read_j + writes * cell.write_j + presets * cell.preset_j + steps * cell.step_j
    area_um2 = None if cell.cell_um2 is None else cells * cell.cell_um2
    return BitSerialCost(steps * cell.step_s, energy_j, area_um2)


@dataclass(frozen=True)
class PublishedCounts:
    """Steps of the cell (a NOR, or a read with a conditional write) and searches of one operation."""

    steps: float
    searches: float

    def __add__(self, other: PublishedCounts) -> PublishedCounts:
        return PublishedCounts(self.steps + other.steps, self.searches + other.searches)


def floatpim_add(exponent_bits: int, fraction_bits: int) -> PublishedCounts:
    """FloatPIM's addition: it shifts bit by bit, hence the square."""
    e, m = exponent_bits, fraction_bits
    return PublishedCounts(3 + 16 * e + 19 * m + m * m, 2 * m + 1)


def floatpim_multiply(exponent_bits: int, fraction_bits: int) -> PublishedCounts:
    """FloatPIM's multiplication."""
    e, m = exponent_bits, fraction_bits
    return PublishedCounts(12 * e + 6.5 * m * m - 7.5 * m - 2, 0)


def sot_add(exponent_bits: int, fraction_bits: int) -> PublishedCounts:
    """The SOT-MRAM array's addition; the one read without a write counts as a step."""
    e, m = exponent_bits, fraction_bits
    return PublishedCounts(1 + 7 * e + 7 * m, 2 * (m + 2))


def sot_multiply(exponent_bits: int, fraction_bits: int) -> PublishedCounts:
    """The SOT-MRAM array's multiplication: 2 m^2, as if half of the multiplier's bits were skipped."""
    e, m = exponent_bits, fraction_bits
    return PublishedCounts(2 * m * m + 6.5 * m + 6 * e + 3, 0)


def published_cost(cell: BitSerialCell, counts: PublishedCounts) -> BitSerialCost:
    """Cost of counts that name steps and searches only: each step reads, presets (NOR) and writes one cell.

    A cell that presets for nothing more than its write (equal energies, SOT-MRAM) does not preset.
    """
    preset_j = 0.0 if cell.preset_j == cell.write_j else cell.preset_j
    step_j = cell.read_j + cell.write_j + preset_j + cell.step_j
    latency_s = counts.steps * cell.step_s + counts.searches * cell.search_s
    return BitSerialCost(latency_s, counts.steps * step_j + counts.searches * cell.search_j, None)


def needed_step_s(reference_s: float, ratio: float, counts: PublishedCounts, search_s: float) -> float:
    """The step time at which ``counts`` are ``ratio`` times faster than ``reference_s``.

    Raises `InputError` when the searches alone take longer.
    """
    left_s = reference_s / ratio - counts.searches * search_s
    if left_s <= 0:
        searches_s = counts.searches * search_s
        raise InputError(f"the searches alone take {searches_s:g} s", f"less than {reference_s / ratio:g} s")
    return left_s / counts.steps


def needed_write_j(reference_j: float, ratio: float, *, reads: int, writes: int, read_j: float) -> float:
    """The write energy at which a gate list takes ``1 / ratio`` of ``reference_j``; `InputError` if reads exceed it."""
    left_j = reference_j / ratio - reads * read_j
    if left_j <= 0:
        raise InputError(f"the reads alone take {reads * read_j:g} J", f"less than {reference_j / ratio:g} J")
    return left_j / writes
