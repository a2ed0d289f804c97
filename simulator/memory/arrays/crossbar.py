"""Matrix-vector products on resistive crossbars: sliced inputs and weights, noisy cells, converters that clip.

Mechanism (ISAAC, ISCA 2016): a weight of ``weight_bits`` is cut into cells of ``cell_bits`` side by side in a row, an
input of ``input_bits`` into slices of ``dac_bits`` one after the other. Each step drives one slice on all rows; every
column's current, the sum of voltage times conductance, is converted; shifts and adds put the slices together. Weights
are stored with an offset of half their range, taken off again through the sum of the inputs; a column of ``flip`` whose
levels would exceed half of the range is stored as its complement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.cost.crossbar import CrossbarUse
from simulator.memory.arrays.spread import SPREADS, Spread, drift_factor, write_spread
from simulator.memory.arrays.wires import column_currents
from workloads.errors import InputError, unknown_name

__all__ = ["Cells", "Crossbar", "CrossbarResult", "error_statistics", "lossless_adc_bits", "multiply"]


@dataclass(frozen=True)
class Cells:
    """Conductances between 1 / ``off_ohm`` and 1 / ``on_ohm``, read at ``read_v`` for ``read_s``.

    ``write_sigma`` is the spread of a written cell in parts of the conductance range, the same for all with ``spread``
    constant; another `simulator.memory.arrays.spread` gives it by the conductance, and lets phase-change cells drift
    for ``age_s``. ``read_sigma`` is the noise of one read in parts of the cell's conductance, ``wire_ohm`` one wire
    segment between neighbouring cells.
    The default resistances are ISAAC's and RAELLA's as CiMLoop has them (mit-emze/cimloop d6e1390).
    """

    on_ohm: float = 1333.0
    off_ohm: float = 20_000.0
    read_v: float = 0.2
    read_s: float = 1e-9
    write_sigma: float = 0.0
    read_sigma: float = 0.0
    wire_ohm: float = 0.0
    spread: Spread = "constant"
    age_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.on_ohm < self.off_ohm:
            raise InputError(f"on_ohm is {self.on_ohm:g}, off_ohm {self.off_ohm:g}", "0 < on_ohm < off_ohm", "on_ohm")
        for field in ("write_sigma", "read_sigma", "wire_ohm", "age_s"):
            if not getattr(self, field) >= 0:
                raise InputError(f"{field} is {getattr(self, field):g}", "at least 0", field)
        if self.spread not in SPREADS:
            raise unknown_name("spread", self.spread, SPREADS, field="spread")
        if self.spread != "constant" and self.write_sigma:
            raise InputError(f"write_sigma is {self.write_sigma:g} beside spread {self.spread}", "one of the two")
        if self.spread != "pcm" and self.age_s:
            raise InputError(f"age_s is {self.age_s:g}", "0: only phase-change cells drift here", "age_s")
        for field in ("read_v", "read_s"):
            if not getattr(self, field) > 0:
                raise InputError(f"{field} is {getattr(self, field):g}", "more than 0", field)


@dataclass(frozen=True)
class Crossbar:
    """One array's size and its converters. ``adc_bits`` None: ideal converters, no rounding and no clipping.

    ``adc_range`` is the part of the greatest column sum that the converter covers: less gives finer steps and clips.
    """

    rows: int = 128
    columns: int = 128
    cell_bits: int = 2
    dac_bits: int = 1
    adc_bits: int | None = 8
    weight_bits: int = 8
    input_bits: int = 8
    adc_range: float = 1.0
    flip: bool = True
    cells: Cells = Cells()

    def __post_init__(self) -> None:
        for field in ("rows", "columns", "cell_bits", "dac_bits", "weight_bits", "input_bits"):
            if getattr(self, field) < 1:
                raise InputError(f"{field} is {getattr(self, field)}", "at least 1", field)
        if self.adc_bits is not None and self.adc_bits < 1:
            raise InputError(f"adc_bits is {self.adc_bits}", "at least 1, or None for ideal converters", "adc_bits")
        if not 0 < self.adc_range <= 1:
            raise InputError(f"adc_range is {self.adc_range:g}", "more than 0, at most 1", "adc_range")
        if self.weight_slices > self.columns:
            problem = f"a weight takes {self.weight_slices} columns of {self.columns}"
            raise InputError(problem, "at least one weight a row", "columns")

    @property
    def weight_slices(self) -> int:
        """Cells of one weight."""
        return math.ceil(self.weight_bits / self.cell_bits)

    @property
    def input_slices(self) -> int:
        """Steps of one input."""
        return math.ceil(self.input_bits / self.dac_bits)

    @property
    def greatest_sum(self) -> int:
        """The greatest column sum, in products of one input level and one cell level."""
        greatest = self.rows * ((1 << self.dac_bits) - 1) * ((1 << self.cell_bits) - 1)
        return math.ceil(greatest / 2) if self.flip else greatest

    @property
    def adc_step(self) -> float:
        """The converter's step in the same unit; never below one, which already loses nothing."""
        if self.adc_bits is None:
            return 0.0
        return max(1.0, self.adc_range * self.greatest_sum / ((1 << self.adc_bits) - 1))


def lossless_adc_bits(rows: int, dac_bits: int, cell_bits: int, *, flip: bool = False) -> int:
    """ISAAC's rule for a converter that loses nothing; 128 rows, 1 and 2 bits and flipped columns need 8."""
    bits = math.ceil(math.log2(rows)) + dac_bits + cell_bits
    return bits - (1 if dac_bits == 1 or cell_bits == 1 else 0) - (1 if flip else 0)


@dataclass(frozen=True)
class CrossbarResult:
    """``output`` (inputs, outputs) and what it took; ``clipped`` is the share of conversions at the converter's end."""

    output: NDArray[np.float64]
    use: CrossbarUse
    clipped: float


def multiply(
    crossbar: Crossbar, inputs: NDArray[np.integer[Any]], weights: NDArray[np.integer[Any]], *, seed: int = 0
) -> CrossbarResult:
    """``inputs @ weights`` as the crossbar gives it.

    ``inputs`` (vectors, features) are unsigned numbers of ``input_bits``, ``weights`` (features, outputs) signed ones
    of ``weight_bits``. Cells are written once for all vectors; counts are those of all vectors. Raises `InputError` for
    other shapes or values out of range.
    """
    _check(crossbar, inputs, weights)
    random = np.random.default_rng(seed)
    vectors, features = inputs.shape
    outputs = weights.shape[1]
    levels = (1 << crossbar.cell_bits) - 1
    offset = 1 << (crossbar.weight_bits - 1)
    stored = weights.astype(np.int64) + offset
    slices = np.stack([(stored >> (s * crossbar.cell_bits)) & levels for s in range(crossbar.weight_slices)], axis=2)
    slices = slices.reshape(features, -1).astype(np.float64)
    column_scale = np.tile(2.0 ** (crossbar.cell_bits * np.arange(crossbar.weight_slices)), outputs)
    drive_levels = (1 << crossbar.dac_bits) - 1
    total = np.zeros((vectors, slices.shape[1]))
    clipped = conversions = 0
    cell_j = 0.0
    row_tiles = math.ceil(features / crossbar.rows)
    for tile in range(row_tiles):
        rows = slice(tile * crossbar.rows, (tile + 1) * crossbar.rows)
        array = _Written(crossbar, slices[rows], random)
        for step in range(crossbar.input_slices):
            drive = ((inputs[:, rows].astype(np.int64) >> (step * crossbar.dac_bits)) & drive_levels).astype(np.float64)
            sums, energy_j = array.read(drive, random)
            codes, clips = _convert(crossbar, sums)
            clipped += clips
            conversions += codes.size
            cell_j += energy_j
            total += array.unflip(codes, drive) * 2.0 ** (step * crossbar.dac_bits)
    weighted = (total * column_scale).reshape(vectors, outputs, crossbar.weight_slices).sum(axis=2)
    output = weighted - offset * inputs.astype(np.float64).sum(axis=1, keepdims=True)
    column_tiles = math.ceil(outputs / (crossbar.columns // crossbar.weight_slices))
    use = CrossbarUse(
        arrays=row_tiles * column_tiles,
        rows=crossbar.rows,
        columns=crossbar.columns,
        steps=vectors * crossbar.input_slices,
        dac_drives=vectors * crossbar.input_slices * features * column_tiles,
        conversions=conversions,
        shift_adds=conversions,
        cell_j=cell_j,
    )
    return CrossbarResult(output, use, clipped / conversions)


def _as_written(cells: Cells, asked: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """What cells hold in parts of the range, of what was ``asked``."""
    if cells.spread == "constant":
        return asked + random.normal(0.0, cells.write_sigma, asked.shape) if cells.write_sigma else asked
    written = asked + write_spread(cells.spread)(asked) * random.normal(0.0, 1.0, asked.shape)
    return written * drift_factor(asked, cells.age_s, random) if cells.age_s else written


class _Written:
    """The cells of one tile of rows, as written."""

    def __init__(self, crossbar: Crossbar, levels: NDArray[np.float64], random: np.random.Generator) -> None:
        self._crossbar = crossbar
        greatest = (1 << crossbar.cell_bits) - 1
        self._greatest = float(greatest)
        self._flipped = (
            levels.sum(axis=0) * 2 > levels.shape[0] * greatest if crossbar.flip else np.zeros(levels.shape[1], bool)
        )
        kept = np.where(self._flipped, greatest - levels, levels)
        cells = crossbar.cells
        kept = _as_written(cells, kept / greatest, random) * greatest
        low, high = 1 / cells.off_ohm, 1 / cells.on_ohm
        self._low, self._unit = low, (high - low) / greatest
        # A cell cannot be written below no conductance at all.
        self._siemens = np.maximum(low + kept * self._unit, 0.0)

    def read(self, drive: NDArray[np.float64], random: np.random.Generator) -> tuple[NDArray[np.float64], float]:
        """Column sums in products of levels, and the energy in the cells.

        A column of cells at the lowest conductance is subtracted, as a reference column would.
        """
        cells = self._crossbar.cells
        volts = drive * (cells.read_v / ((1 << self._crossbar.dac_bits) - 1))
        siemens = self._siemens
        current = volts @ siemens if cells.wire_ohm == 0 else column_currents(volts, siemens, cells.wire_ohm)
        energy_j = float(((volts**2) @ siemens).sum()) * cells.read_s
        if cells.read_sigma:
            spread = cells.read_sigma * np.sqrt((volts**2) @ (siemens**2))
            current = current + random.normal(0.0, 1.0, current.shape) * spread
        current = current - volts.sum(axis=1, keepdims=True) * self._low
        volts_per_level = cells.read_v / ((1 << self._crossbar.dac_bits) - 1)
        return current / (self._unit * volts_per_level), energy_j

    def unflip(self, codes: NDArray[np.float64], drive: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sums of the levels meant, from those of flipped columns."""
        return np.where(self._flipped, self._greatest * drive.sum(axis=1, keepdims=True) - codes, codes)


def _convert(crossbar: Crossbar, sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Sums as the converter gives them, and how many were beyond its ends."""
    if crossbar.adc_bits is None:
        return sums, 0
    step = crossbar.adc_step
    codes = np.rint(sums / step)
    last = (1 << crossbar.adc_bits) - 1
    clips = int(((codes < 0) | (codes > last)).sum())
    return np.clip(codes, 0, last) * step, clips


def error_statistics(result: NDArray[np.float64], exact: NDArray[Any]) -> dict[str, float]:
    """Mean, standard deviation and greatest magnitude of the error, and its root mean square over the exact one's."""
    error = result - exact
    size = float(np.sqrt(np.mean(np.square(exact.astype(np.float64)))))
    rms = float(np.sqrt(np.mean(np.square(error))))
    return {
        "mean": float(error.mean()),
        "sigma": float(error.std()),
        "greatest": float(np.abs(error).max()),
        "relative_rms": rms / size if size else math.inf if rms else 0.0,
    }


def _check(crossbar: Crossbar, inputs: NDArray[np.integer[Any]], weights: NDArray[np.integer[Any]]) -> None:
    if inputs.ndim != 2 or weights.ndim != 2 or inputs.shape[1] != weights.shape[0]:
        raise InputError(
            f"inputs have shape {inputs.shape}, weights {weights.shape}",
            "(vectors, features) and (features, outputs)",
            "inputs",
        )
    if inputs.size == 0 or weights.size == 0:
        raise InputError("nothing to multiply", "at least one vector, feature and output", "inputs")
    half = 1 << (crossbar.weight_bits - 1)
    for name, values, low, high in (
        ("inputs", inputs, 0, (1 << crossbar.input_bits) - 1),
        ("weights", weights, -half, half - 1),
    ):
        if not np.issubdtype(values.dtype, np.integer):
            raise InputError(f"{name} are {values.dtype}", "whole numbers", name)
        if values.min() < low or values.max() > high:
            raise InputError(f"{name} reach from {values.min()} to {values.max()}", f"from {low} to {high}", name)
