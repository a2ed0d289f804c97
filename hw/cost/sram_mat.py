"""One mat of an SRAM: four subarrays of six-transistor cells round their decoder and column circuits.

A read drives one word line of each of the four subarrays, lets their bit lines fall by the sense voltage, and passes
one column of every ``mux`` to the outputs; a write drives those columns over the full supply. The cell and the column
circuits have the sizes of CACTI 7 (HewlettPackard/cacti d246854, ``tech_params`` and ``parameter.cc``), in half
pitches F: cell 10 F by 14.6 F; access, pull-up and pull-down 1.31, 1.23 and 2.08 F wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.cost.circuits import Chain, RepeatedWire, gate_chain, repeated_wire, stage_delay_s
from hw.cost.technology import SLOPE_FACTOR, Technology

__all__ = ["Mat", "MatShape", "sram_mat"]

_CELL_F2, _CELL_ASPECT = 146.0, 1.46
_ACCESS_F, _PULL_UP_F, _PULL_DOWN_F = 1.31, 1.23, 2.08
_ISOLATION_F, _SENSE_N_F, _SENSE_P_F, _SENSE_ENABLE_F = 12.5, 3.75, 7.5, 5.0
_COLUMN_MUX_F = 9.0
_PRECHARGE_OVER_P = 6.0
_STITCH_CELLS, _STITCH_F = 16, 7.5
_SENSE_V, _SENSE_FRACTION = 0.08, 0.05
_DIFFUSION_GAP_F = 5.0


@dataclass(frozen=True)
class MatShape:
    """A subarray's ``rows`` and ``columns``, the columns behind one output, and read-write ``ports`` of a cell."""

    rows: int
    columns: int
    mux: int
    ports: int = 1

    @property
    def outputs(self) -> int:
        """Bits a mat gives an access."""
        return 4 * self.columns // self.mux


@dataclass(frozen=True)
class Mat:
    """Size in um, energies of one access in J, leakage in W, and the times of one access in s.

    ``predecode_s``: address at the mat to the row gates; ``wordline_s``: to the word line's far end; ``bitline_s`` with
    the sense amplifier; ``output_s``: to the mat's edge; ``restore_s``: word line down and bit lines precharged.
    """

    width_um: float
    height_um: float
    read_j: float
    write_j: float
    leakage_w: float
    predecode_s: float
    wordline_s: float
    bitline_s: float
    output_s: float
    restore_s: float


def _strip_um(tech: Technology, width_f: float, pitch_f: float) -> float:
    """Height of a row of transistors of ``width_f``, each folded to fit a column pitch."""
    fingers = math.ceil(width_f / pitch_f)
    return fingers * tech.finger_um + 3 * tech.f_um


@dataclass(frozen=True)
class _Sizes:
    """A cell and a subarray of one technology: um."""

    tech: Technology
    shape: MatShape

    @property
    def _port_um(self) -> float:
        """A further port widens a cell by two lines in each direction."""
        return 2 * (self.shape.ports - 1) * self.tech.local.pitch_um

    @property
    def cell_w(self) -> float:
        return math.sqrt(_CELL_F2 / _CELL_ASPECT) * self.tech.f_um + self._port_um

    @property
    def cell_h(self) -> float:
        return math.sqrt(_CELL_F2 * _CELL_ASPECT) * self.tech.f_um + self._port_um

    @property
    def pitch_f(self) -> float:
        """Width for one port's column circuits, in half pitches."""
        return self.cell_w / self.tech.f_um / self.shape.ports

    @property
    def array_w(self) -> float:
        stitches = math.ceil(self.shape.columns / _STITCH_CELLS)
        return self.shape.columns * self.cell_w + stitches * _STITCH_F * self.tech.f_um

    @property
    def array_h(self) -> float:
        return self.shape.rows * self.cell_h

    @property
    def row_ohm(self) -> float:
        """A word line."""
        return self.shape.columns * self.cell_w * self.tech.local.r_ohm_per_um

    def gate_f(self, width_f: float) -> float:
        """Gate capacitance of a transistor of ``width_f`` half pitches."""
        return width_f * self.tech.f_um * self.tech.c_in_f_per_um

    def ohm(self, width_f: float) -> float:
        """Resistance of an nMOS of ``width_f`` half pitches."""
        return self.tech.r_n_ohm_um / (width_f * self.tech.f_um)


@dataclass(frozen=True)
class _RowPath:
    """Address buffers, predecoder, row gate with word line; word line and its wire's delay; predecoded lines."""

    buffer: Chain
    predecode: Chain
    wordline: Chain
    wire_s: float
    address_bits: float
    lines: int


def _row_path(sizes: _Sizes) -> _RowPath:
    tech, rows, columns = sizes.tech, sizes.shape.rows, sizes.shape.columns
    wordline_f = columns * (2 * sizes.gate_f(_ACCESS_F) + sizes.cell_w * tech.local.c_f_per_um)
    address = max(math.log2(rows), 2.0)
    group = 2 ** math.ceil(address / 2)
    first_um_f = tech.min_width_um * tech.c_in_f_per_um
    across_f = 2 * sizes.array_h * tech.semi_global.c_f_per_um
    line_f = 4 * rows / group * (2 + tech.p_to_n) * first_um_f + across_f
    return _RowPath(
        buffer=gate_chain(tech, 1, group / 2 * (3 + tech.p_to_n) * first_um_f),
        predecode=gate_chain(tech, 3, line_f, 2 * sizes.array_h * tech.semi_global.r_ohm_per_um, line_f),
        wordline=gate_chain(tech, 2, wordline_f, sizes.row_ohm, wordline_f),
        wire_s=SLOPE_FACTOR * sizes.row_ohm * wordline_f / 2,
        address_bits=address,
        lines=2 * group,
    )


@dataclass(frozen=True)
class _ColumnPath:
    """Bit line, sense amplifier, precharge and output: loads in F, delays in s; ``sense_v`` is a read's swing."""

    bitline_f: float
    sense_f: float
    sense_v: float
    bitline_s: float
    restore_s: float
    precharge: Chain
    driver: Chain
    wire: RepeatedWire


def _column_path(sizes: _Sizes, row: _RowPath) -> _ColumnPath:
    tech, rows, columns = sizes.tech, sizes.shape.rows, sizes.shape.columns
    f, vdd, p = tech.f_um, tech.vdd_v, tech.p_to_n
    ohm = sizes.ohm
    cells_f = rows * (tech.c_drain_f(_ACCESS_F * f) / 2 + sizes.cell_h * tech.local.c_f_per_um)
    mux_f = 2 * tech.c_drain_f(_COLUMN_MUX_F * f, sizes.pitch_f * f / 2)
    drains = (_SENSE_N_F, _SENSE_P_F, _ISOLATION_F, _ISOLATION_F, _COLUMN_MUX_F)
    sense_f = sizes.gate_f(_SENSE_N_F + _SENSE_P_F) + sum(tech.c_drain_f(width * f) for width in drains)
    sense_v = max(_SENSE_V, _SENSE_FRACTION * vdd)
    far_f = mux_f + sense_f
    tau = (ohm(_PULL_DOWN_F) + ohm(_ACCESS_F)) * (cells_f + far_f)
    tau += rows * sizes.cell_h * tech.local.r_ohm_per_um * (cells_f / 2 + far_f)
    tau += (ohm(_COLUMN_MUX_F) + p * ohm(_ISOLATION_F)) * sense_f
    fall_s = tau * math.log(vdd / (vdd - sense_v))
    # The word line's ramp: the cell's current grows with it from the threshold on.
    above_v = vdd - tech.vth_v
    rise_s = 2 * (stage_delay_s(tech, 4) + row.wire_s) * above_v / vdd
    ramped_s = math.sqrt(2 * fall_s * rise_s) if fall_s <= rise_s / 2 else fall_s + rise_s / 2
    # Velocity-saturated transistors: transconductance I_on / (Vdd - Vth).
    siemens = (_SENSE_N_F + _SENSE_P_F / p) * f * tech.i_on_a_per_um / above_v
    sense_s = sense_f / siemens * math.log(vdd / sense_v)
    precharge_f = _PRECHARGE_OVER_P * p * 1.5
    gates_f = columns * (sizes.gate_f(2 * precharge_f + p * 1.5) + sizes.cell_w * tech.semi_global.c_f_per_um)
    gates_ohm = columns * sizes.cell_w * tech.semi_global.r_ohm_per_um
    precharge = gate_chain(tech, 1, gates_f, gates_ohm, gates_f)
    # Bit lines are back when within a tenth of the sense voltage.
    restore_s = math.log((vdd - 0.1 * sense_v) / (vdd - sense_v)) * ohm(precharge_f) * p * cells_f
    wire = repeated_wire(tech, tech.semi_global)
    repeater_f = wire.width_um * (1 + p) * tech.c_in_f_per_um * min(1.0, sizes.array_w / wire.spacing_um)
    return _ColumnPath(
        bitline_f=cells_f + mux_f,
        sense_f=sense_f,
        sense_v=sense_v,
        bitline_s=ramped_s + sense_s,
        restore_s=precharge.delay_s + restore_s + stage_delay_s(tech, 4) + row.wire_s,
        precharge=precharge,
        driver=gate_chain(tech, 1, repeater_f),
        wire=wire,
    )


def sram_mat(tech: Technology, shape: MatShape, address_bits: int) -> Mat:
    """The mat of ``shape``; ``address_bits`` reach it."""
    sizes = _Sizes(tech, shape)
    row = _row_path(sizes)
    column = _column_path(sizes, row)
    vdd = tech.vdd_v
    # Every line charges once an access; all columns of the four subarrays swing on a read.
    swings = 4 * shape.columns
    shared_j = 4 * (row.wordline.energy_j + column.precharge.energy_j)
    shared_j += 2 * row.predecode.energy_j + row.address_bits * row.buffer.energy_j
    shared_j += shape.outputs * (column.driver.energy_j + sizes.array_w * column.wire.energy_j_per_um)
    read_f = 2 * column.sense_v * (column.bitline_f + column.sense_f / shape.mux) + column.sense_f / shape.mux * vdd
    width, height = _outline_um(sizes, row, column, address_bits)
    return Mat(
        width_um=width,
        height_um=height,
        read_j=shared_j + swings * read_f * vdd,
        write_j=shared_j + shape.outputs * 2 * column.bitline_f * vdd**2,
        leakage_w=_leakage_w(sizes, row, column),
        predecode_s=row.buffer.delay_s + row.predecode.delay_s,
        wordline_s=row.wordline.delay_s,
        bitline_s=column.bitline_s,
        output_s=column.driver.delay_s + sizes.array_w * column.wire.delay_s_per_um,
        restore_s=column.restore_s,
    )


def _outline_um(sizes: _Sizes, row: _RowPath, column: _ColumnPath, address_bits: int) -> tuple[float, float]:
    """Width and height: strips of column circuits below the cells, of row drivers beside them, and lines across."""
    tech, shape, p = sizes.tech, sizes.shape, sizes.tech.p_to_n
    amplifier_f = sizes.pitch_f * shape.mux
    strip = _strip_um(tech, _PRECHARGE_OVER_P * p * 1.5, sizes.pitch_f / 2)
    strip += _strip_um(tech, _COLUMN_MUX_F, sizes.pitch_f / 2) + _strip_um(tech, p * 1.5, sizes.pitch_f)
    amplifier = (2 * _ISOLATION_F, 2 * _SENSE_N_F, 2 * _SENSE_P_F, _SENSE_ENABLE_F)
    strip += sum(_strip_um(tech, width, amplifier_f) for width in amplifier)
    strip += 2 * _DIFFUSION_GAP_F * tech.f_um
    driver_um = column.wire.width_um * (1 + p) * sizes.array_w / column.wire.spacing_um
    strip += shape.columns / shape.mux * driver_um * tech.finger_um / sizes.array_w
    tracks = (shape.mux + address_bits + shape.outputs) * shape.ports
    height = 2 * (sizes.array_h + shape.ports * strip) + tracks * tech.semi_global.pitch_um
    gates_um = row.wordline.width_um + (2 + p) * tech.min_width_um
    row_driver_um = gates_um * tech.finger_um / sizes.cell_h
    beside = max(2 * row_driver_um, row.lines * tech.semi_global.pitch_um)
    return 2 * sizes.array_w + shape.ports * beside, height


def _leakage_w(sizes: _Sizes, row: _RowPath, column: _ColumnPath) -> float:
    """Leakage of cells and drivers.

    A cell holds one nMOS and one pMOS off and one access device across a charged bit line; one nMOS gate conducts. In
    each driver half of the width is off, and the nMOS gates of every other stage conduct.
    """
    tech, shape = sizes.tech, sizes.shape
    off_f = _PULL_DOWN_F + _PULL_UP_F + shape.ports * _ACCESS_F
    cell_a = (off_f * tech.i_off_a_per_um + _PULL_DOWN_F * tech.i_gate_a_per_um) * tech.f_um
    drivers_um = 4 * (shape.rows * row.wordline.width_um + column.precharge.width_um)
    drivers_um += shape.outputs * column.driver.width_um
    driver_a_per_um = tech.i_off_a_per_um + tech.i_gate_a_per_um / (1 + tech.p_to_n)
    cells = 4 * shape.rows * shape.columns
    return tech.vdd_v * (cells * cell_a + shape.ports * drivers_um / 2 * driver_a_per_um)
