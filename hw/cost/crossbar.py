"""Energy, time and area of an analogue crossbar from what a product made it do.

The pieces are those of ISAAC (Shafiee et al., ISCA 2016) at 32 nm, as PUMA's ``constants.py`` gives them
(Aayush-Ankit/puma-simulator a206f75): powers of one piece while a step of 100 ns runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hw.cost.converters import ISAAC_ADC, Converter
from hw.spec.source import Source
from workloads.errors import InputError

__all__ = ["ISAAC_PIECES", "PIECES", "CrossbarCost", "CrossbarPieces", "CrossbarUse", "crossbar_cost"]


@dataclass(frozen=True)
class CrossbarPieces:
    """One array's parts: energies in J of one use, areas in mm2 of one part; ``step_s`` is one slice of the inputs.

    ``array_j`` is a step of an array of ``array_cells`` cells.
    """

    step_s: float
    array_j: float
    array_cells: int
    dac_j: float
    sample_j: float
    shift_add_j: float
    array_mm2: float
    dac_mm2: float
    sample_mm2: float
    shift_add_mm2: float
    adc: Converter
    source: Source


_STEP_S = 100e-9
ISAAC_PIECES = CrossbarPieces(
    step_s=_STEP_S,
    array_j=0.3e-3 * _STEP_S,
    array_cells=128 * 128,
    dac_j=0.0039e-3 * _STEP_S,
    sample_j=9.7e-9 * _STEP_S,
    shift_add_j=0.05e-3 / 1e9,
    array_mm2=2.5e-5,
    dac_mm2=1.67e-7,
    sample_mm2=3.9e-8,
    shift_add_mm2=6e-5,
    adc=ISAAC_ADC,
    source=Source("stated", "PUMA's constants.py (Aayush-Ankit/puma-simulator a206f75), after ISAAC's table, 32 nm"),
)
PIECES: dict[str, CrossbarPieces] = {"isaac-32nm": ISAAC_PIECES}


@dataclass(frozen=True)
class CrossbarUse:
    """What a matrix-vector product did: steps in time, and uses of each part summed over all arrays.

    ``cell_j`` is the energy in the cells, sum of V^2 G t, where it was worked out from the values; else None and a
    step's published energy stands in.
    """

    arrays: int
    rows: int
    columns: int
    steps: int
    dac_drives: int
    conversions: int
    shift_adds: int
    cell_j: float | None = None


@dataclass(frozen=True)
class CrossbarCost:
    """One product: energies in J by part, latency in s with what bounds it, and area in mm2 of the arrays it uses."""

    cells_j: float
    dacs_j: float
    samples_j: float
    adcs_j: float
    shift_adds_j: float
    latency_s: float
    bound: Literal["array", "converter"]
    area_mm2: float

    @property
    def energy_j(self) -> float:
        """All parts."""
        return self.cells_j + self.dacs_j + self.samples_j + self.adcs_j + self.shift_adds_j


def crossbar_cost(use: CrossbarUse, pieces: CrossbarPieces = ISAAC_PIECES, *, adcs_per_array: int = 1) -> CrossbarCost:
    """Cost of ``use`` with ``adcs_per_array`` converters shared by an array's columns.

    A step takes the longer of the array and the conversions of its columns. Raises `InputError` when there is no
    converter or more than columns.
    """
    if not 1 <= adcs_per_array <= use.columns:
        expected = f"between 1 and {use.columns}, one for each column"
        raise InputError(f"adcs_per_array is {adcs_per_array}", expected, "adcs_per_array")
    convert_s = -(-use.columns // adcs_per_array) / pieces.adc.rate_per_s
    # A tie is the array's: converters were then chosen to keep up.
    slack = 1e-12
    bound: Literal["array", "converter"] = "converter" if convert_s > pieces.step_s * (1 + slack) else "array"
    scale = use.rows * use.columns / pieces.array_cells
    cells_j = use.arrays * use.steps * pieces.array_j * scale if use.cell_j is None else use.cell_j
    one_mm2 = pieces.array_mm2 * scale + adcs_per_array * pieces.adc.area_mm2 + pieces.shift_add_mm2
    one_mm2 += use.rows * pieces.dac_mm2 + use.columns * pieces.sample_mm2
    return CrossbarCost(
        cells_j=cells_j,
        dacs_j=use.dac_drives * pieces.dac_j,
        samples_j=use.conversions * pieces.sample_j,
        adcs_j=use.conversions * pieces.adc.energy_j,
        shift_adds_j=use.shift_adds * pieces.shift_add_j,
        latency_s=use.steps * max(pieces.step_s, convert_s),
        bound=bound,
        area_mm2=use.arrays * one_mm2,
    )
