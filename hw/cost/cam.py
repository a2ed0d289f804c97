"""Energy, time and area of a content-addressable memory: match lines precharged, search lines driven.

A search charges the match line of every row that misses (those that match keep their charge) and drives one of each
pair of search lines for every bit that is not masked. A match line is two halves joined by a gate. The cell is CACTI
7's (HewlettPackard/cacti d246854, ``tech_params`` and ``mat.cc``): 292 F^2, 2.92 times as wide as high, two pull-down
pairs of 2.08 F. Of CACTI's own search this is 0.55 to 0.68 in energy (it adds a dummy row, both lines of a pair and
their precharge) and 1.4 to 2.0 in time; neither was compared with silicon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.cost.circuits import gate_chain, stage_delay_s
from hw.cost.technology import NODES, SLOPE_FACTOR
from hw.spec.source import Source
from workloads.errors import InputError

__all__ = ["ANALOG_CAM_CELL", "AnalogCamCell", "CamCost", "cam"]

_CELL_F2, _CELL_ASPECT = 292.0, 2.92
_COMPARE_F = 2.08
_STACK, _HALVES = 2, 2


@dataclass(frozen=True)
class AnalogCamCell:
    """One cell of an analogue search array: energy of a search, time, area."""

    search_j: float
    search_s: float
    area_um2: float
    source: Source


ANALOG_CAM_CELL = AnalogCamCell(
    0.47e-15, 45e-12, 0.52, Source("stated", "16 nm cell of Hong et al., Nature Comm. 2025, s41467-025-65233-w")
)


@dataclass(frozen=True)
class CamCost:
    """Energy in J and time in s of one search, and the area of the cells in mm2."""

    search_j: float
    search_s: float
    cells_mm2: float


def cam(rows: int, bits: int, *, misses: int, driven_bits: int | None = None, node_nm: int) -> CamCost:
    """A search of ``rows`` words of ``bits``, of which ``misses`` rows do not match and ``driven_bits`` are compared.

    ``driven_bits`` None: all of them. Computed at 65, 45, 32 and 22 nm; `InputError` for other nodes or counts that
    do not fit.
    """
    driven = bits if driven_bits is None else driven_bits
    if node_nm not in NODES:
        raise InputError(f"node_nm is {node_nm}", "one of 65, 45, 32 and 22", "node_nm")
    if rows < 1 or bits < 1:
        raise InputError(f"{rows} rows of {bits} bits", "at least one of each", "rows")
    if not 0 <= misses <= rows:
        raise InputError(f"misses is {misses}", f"between 0 and {rows}", "misses")
    if not 0 <= driven <= bits:
        raise InputError(f"driven_bits is {driven}", f"between 0 and {bits}", "driven_bits")
    tech = NODES[node_nm]
    f = tech.f_um
    height = math.sqrt(_CELL_F2 / _CELL_ASPECT) * f
    width = height * _CELL_ASPECT
    match_f = bits * (2 * tech.c_drain_f(_COMPARE_F * f) + width * tech.local.c_f_per_um)
    search_f = rows * (_COMPARE_F * f * tech.c_in_f_per_um + height * tech.local.c_f_per_um)
    driver = gate_chain(tech, 1, search_f, rows * height * tech.local.r_ohm_per_um, search_f)
    half_f = match_f / _HALVES
    pull_ohm = _STACK * tech.r_n_ohm_um / (_COMPARE_F * f) + bits / _HALVES * width * tech.local.r_ohm_per_um / 2
    return CamCost(
        search_j=misses * match_f * tech.vdd_v**2 + driven * driver.energy_j,
        search_s=driver.delay_s + SLOPE_FACTOR * pull_ohm * half_f + stage_delay_s(tech, 4),
        cells_mm2=rows * bits * _CELL_F2 * f * f * 1e-6,
    )
