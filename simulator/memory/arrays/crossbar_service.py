"""Products of stored matrices with vectors on crossbars: inputs in slices, columns converted, partial sums added.

Mapping: inputs run along the rows of cells, an output takes the columns of its weight's cells. A matrix cut over
several arrays of rows has its partial sums added by the tiles. All arrays of a matrix work at once; vectors follow one
another. An array holds pieces of one matrix only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.cost.crossbar import CrossbarUse, crossbar_cost
from simulator.memory.arrays.devices import CrossbarDevice, MeasuredMode
from simulator.memory.arrays.logic_service import WriteCost
from simulator.memory.inside import Product, Served
from workloads.errors import InputError

__all__ = ["CrossbarService", "Tiling"]


@dataclass(frozen=True)
class Tiling:
    """How one matrix is cut: ``row_blocks`` of inputs x ``column_blocks`` of outputs; ``arrays`` for all copies."""

    row_blocks: int
    column_blocks: int
    arrays: int


@dataclass(frozen=True)
class _Work:
    """Seconds and joules of all vectors, and what the seconds went to."""

    seconds: float
    energy_j: float
    why: str


@dataclass(frozen=True)
class CrossbarService:
    """``chips`` of ``device`` with inputs of ``input_bits`` (the device's own when None).

    Without ``resident_bytes``, all that lies in the arrays, a matrix is there once; with it, arrays that are left over
    hold further copies, which take vectors in parallel. A product that grows writes its new cells: a new input is one
    row of them, a new output a few cells in every row of its arrays.
    """

    device: CrossbarDevice
    chips: int = 1
    input_bits: int | None = None
    resident_bytes: float | None = None

    def __str__(self) -> str:
        resolution = f"fixed point, inputs of {self._input_bits} bits"
        return f"{self.chips} x {self.device.name}, {self.arrays:,} crossbars, {resolution}, weights stationary"

    @property
    def arrays(self) -> int:
        """Arrays of all chips."""
        return self.chips * self.device.arrays

    @property
    def _input_bits(self) -> int:
        return self.input_bits if self.input_bits is not None else self.device.input_bits

    @property
    def _inputs_per_array(self) -> int:
        return self.device.rows // self.device.cells_per_weight

    def capacity_bytes(self, stored_bits: float) -> float:
        """Bytes of weights that fill every array; fewer fit where matrices leave arrays partly filled."""
        return self.arrays * self._inputs_per_array * self._outputs_per_array(stored_bits) * stored_bits / 8

    def tiling(self, product: Product) -> Tiling:
        """The arrays that ``product`` takes; `InputError` when there are fewer, with both counts."""
        row_blocks = math.ceil(product.columns / self._inputs_per_array)
        column_blocks = math.ceil(product.rows / self._outputs_per_array(product.stored_bits))
        needed = math.ceil(product.copies * row_blocks * column_blocks)
        resident = self._resident_arrays(product.stored_bits)
        if max(needed, resident) > self.arrays:
            raise InputError(
                f"{max(needed, resident):,} crossbars needed of {self.chips} x {self.device.name}",
                f"at most {self.arrays:,}, which hold {self.capacity_bytes(product.stored_bits) / 1e9:,.3f} GB",
                "chips",
            )
        return Tiling(row_blocks, column_blocks, needed)

    def use(self, product: Product) -> CrossbarUse:
        """What all vectors make the arrays do, as `simulator.memory.arrays.crossbar.multiply` counts it."""
        tiling = self.tiling(product)
        crossbar = self.device.crossbar(_whole_bits(product.stored_bits), self._input_bits)
        steps = product.vectors * crossbar.input_slices
        one = steps * product.copies
        drives = one * product.columns * self.device.cells_per_weight * tiling.column_blocks
        conversions = one * tiling.row_blocks * product.rows * crossbar.weight_slices
        return CrossbarUse(
            arrays=tiling.arrays,
            rows=self.device.rows,
            columns=self.device.columns,
            steps=steps,
            dac_drives=round(drives),
            conversions=round(conversions),
            shift_adds=round(conversions),
        )

    def serve(self, product: Product) -> Served:
        """Time and energy of ``product``; `InputError` for formats it has not and for what does not fit."""
        tiling = self.tiling(product)
        passes = math.ceil(product.vectors / self._replicas(product))
        work = self._measured(product, tiling, passes) if self.device.measured else self._built(product, passes)
        buffer = self._buffered(product, tiling)
        seconds, energy_j, port_s = max(work.seconds, buffer.seconds), work.energy_j + buffer.energy_j, buffer.seconds
        why = "tile buffers" if buffer.seconds > work.seconds else work.why
        why += f"; {tiling.arrays:,} of {self.arrays:,} crossbars"
        if product.grows:
            grown = self._growth(product)
            seconds, port_s, energy_j = seconds + grown.seconds, port_s + grown.seconds, energy_j + grown.energy_j
            why += "; new cells written"
        return Served(seconds, energy_j, port_s, why)

    def write_cost(self, stored_bytes: float) -> WriteCost:
        """Writing ``stored_bytes`` of weights: row by row, one array of each tile at a time."""
        cells = 8 * stored_bytes / self.device.cell_bits * self.device.cells_per_weight
        rows = math.ceil(cells / self.device.columns)
        at_once = self.chips * self.device.tiles
        return WriteCost(math.ceil(rows / at_once) * self.device.write_row_ns * 1e-9, cells * self._cell_j)

    @property
    def _cell_j(self) -> float:
        return self.device.write_cell_pJ * 1e-12

    def _outputs_per_array(self, stored_bits: float) -> int:
        weight_bits = _whole_bits(stored_bits)
        if self.device.measured and weight_bits > self.device.cell_bits:
            problem = f"weights of {weight_bits} bits in cells of {self.device.name}"
            raise InputError(problem, f"at most {self.device.cell_bits} bits, as it was measured", "stored_bits")
        return self.device.columns // self.device.crossbar(weight_bits, self._input_bits).weight_slices

    def _resident_arrays(self, stored_bits: float) -> int:
        if self.resident_bytes is None:
            return 0
        return math.ceil(self.resident_bytes / self.capacity_bytes(stored_bits) * self.arrays)

    def _replicas(self, product: Product) -> int:
        if product.grows or not self.resident_bytes:
            return 1
        return max(1, self.arrays // self._resident_arrays(product.stored_bits))

    def _built(self, product: Product, passes: int) -> _Work:
        pieces = self.device.parts()
        assert pieces is not None
        cost = crossbar_cost(self.use(product), pieces, adcs_per_array=self.device.adcs_per_array)
        why = "converters" if cost.bound == "converter" else "steps of the arrays"
        return _Work(cost.latency_s * passes / product.vectors, cost.energy_j, why)

    def _measured(self, product: Product, tiling: Tiling, passes: int) -> _Work:
        mode = self._mode()
        per_array = 2 * self._inputs_per_array * self.device.columns
        vector_s = per_array * self.device.arrays / (mode.tops * 1e12)
        vector_j = per_array * tiling.arrays / (mode.tops_per_w * 1e12)
        why = f"arrays as measured with inputs of {mode.input_bits} bits"
        return _Work(passes * vector_s, product.vectors * vector_j, why)

    def _mode(self) -> MeasuredMode:
        modes = sorted(self.device.measured, key=lambda mode: mode.input_bits)
        for mode in modes:
            if mode.input_bits >= self._input_bits:
                return mode
        widest = modes[-1].input_bits
        raise InputError(f"input_bits is {self._input_bits}", f"at most {widest}, as measured", "input_bits")

    def _buffered(self, product: Product, tiling: Tiling) -> _Work:
        """Inputs read once in every tile that holds some of their rows' arrays; partial sums written, all by tiles."""
        if self.device.buffer_bits is None:
            return _Work(0.0, 0.0, "")
        spanned = math.ceil(tiling.column_blocks / self.device.arrays_per_tile)
        words = self._input_bits * (product.columns * spanned + product.rows * tiling.row_blocks)
        accesses = product.vectors * product.copies * words / self.device.buffer_bits
        tiles = min(self.chips * self.device.tiles, math.ceil(tiling.arrays / self.device.arrays_per_tile))
        seconds = accesses / (tiles * self._replicas(product)) * self.device.buffer_ns * 1e-9
        return _Work(seconds, accesses * self.device.buffer_pJ * 1e-12, "")

    def _growth(self, product: Product) -> WriteCost:
        """Arrays of all copies are written at once; so are those of one output's inputs, cut over arrays of rows."""
        slices = self.device.crossbar(_whole_bits(product.stored_bits), self._input_bits).weight_slices
        elements = product.new_rows * product.columns + product.new_columns * product.rows
        cells = product.copies * elements * slices * self.device.cells_per_weight
        outputs = math.ceil(product.new_rows / self._outputs_per_array(product.stored_bits))
        rows = outputs * min(product.columns, self._inputs_per_array) + math.ceil(product.new_columns)
        row_s = self.device.cells_per_weight * self.device.write_row_ns * 1e-9
        return WriteCost(rows * row_s, cells * self._cell_j)


def _whole_bits(stored_bits: float) -> int:
    if stored_bits < 1:
        raise InputError(f"elements of {stored_bits:g} bits", "at least 1", "stored_bits")
    return math.ceil(stored_bits)
