"""Arrays that compute, by name: crossbars and arrays of logic cells, bundled or in a user's own file."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from hw.cost.bit_serial import CELLS, BitSerialCell
from hw.cost.converters import Converter
from hw.cost.crossbar import PIECES, CrossbarPieces
from hw.spec.source import Source
from simulator.memory.arrays.crossbar import Crossbar
from workloads.documents import Document, read_document
from workloads.errors import InputError, unknown_name
from workloads.validation import field_error, validate

__all__ = ["ArrayDevice", "CrossbarDevice", "LogicDevice", "MeasuredMode", "array_names", "load_array"]

_FILE = Path(__file__).parent / "devices.yaml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Pieces(_Part):
    step_ns: PositiveFloat
    array_pJ: NonNegativeFloat
    array_cells: PositiveInt
    dac_pJ: NonNegativeFloat
    sample_pJ: NonNegativeFloat
    shift_add_pJ: NonNegativeFloat
    array_mm2: NonNegativeFloat
    dac_mm2: NonNegativeFloat
    sample_mm2: NonNegativeFloat
    shift_add_mm2: NonNegativeFloat
    adc_bits: PositiveFloat
    adc_pJ: NonNegativeFloat
    adc_per_ns: PositiveFloat
    adc_mm2: NonNegativeFloat
    source: Source


class _Cell(_Part):
    step_ns: PositiveFloat
    read_fJ: NonNegativeFloat
    write_fJ: NonNegativeFloat
    preset_fJ: NonNegativeFloat
    step_fJ: NonNegativeFloat = 0.0
    cell_um2: PositiveFloat | None = None
    source: Source


class MeasuredMode(_Part):
    """What a chip was measured to do, all arrays at work: 10^12 operations a second and per joule (a MAC is two)."""

    input_bits: PositiveInt
    output_bits: PositiveInt
    tops: PositiveFloat
    tops_per_w: PositiveFloat


class _Device(_Part):
    name: str = Field(min_length=1)
    note: str = ""
    tiles: PositiveInt
    rows: PositiveInt
    columns: PositiveInt
    endurance: PositiveFloat | None = None
    area_mm2: PositiveFloat | None = None
    power_w: PositiveFloat | None = None
    sources: dict[str, Source]


class CrossbarDevice(_Device):
    """One chip of ``tiles`` x ``arrays_per_tile`` crossbars of ``rows`` inputs x ``columns`` lines of cells.

    Time and energy are built from ``pieces`` (a name of `hw.cost.crossbar.PIECES` or ``own_pieces``), or are those of
    the ``measured`` modes. A tile's buffer serves ``buffer_bits`` in ``buffer_ns`` for ``buffer_pJ``; writing a row of
    cells takes ``write_row_ns``, a cell ``write_cell_pJ``, and a cell stands ``endurance`` writes.
    """

    kind: Literal["crossbar"]
    arrays_per_tile: PositiveInt
    cell_bits: PositiveInt
    dac_bits: PositiveInt
    adc_bits: PositiveInt
    input_bits: PositiveInt
    adcs_per_array: PositiveInt
    flip: bool
    cells_per_weight: Literal[1, 2] = 1
    pieces: str | None = None
    own_pieces: _Pieces | None = None
    measured: tuple[MeasuredMode, ...] = ()
    buffer_bits: PositiveInt | None = None
    buffer_ns: NonNegativeFloat = 0.0
    buffer_pJ: NonNegativeFloat = 0.0
    write_row_ns: PositiveFloat
    write_cell_pJ: PositiveFloat

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _one_of("pieces", self.pieces, self.own_pieces, self.measured or None)
        _known("pieces", self.pieces, PIECES)
        if not 1 <= self.adcs_per_array <= self.columns:
            raise field_error(
                InputError(f"adcs_per_array is {self.adcs_per_array}", f"between 1 and {self.columns}, one a column")
            )
        return self

    @property
    def arrays(self) -> int:
        """Arrays of one chip."""
        return self.tiles * self.arrays_per_tile

    def crossbar(self, weight_bits: int, input_bits: int) -> Crossbar:
        """One array as `simulator.memory.arrays.crossbar` computes with it."""
        return Crossbar(
            rows=self.rows,
            columns=self.columns,
            cell_bits=self.cell_bits,
            dac_bits=self.dac_bits,
            adc_bits=self.adc_bits,
            weight_bits=weight_bits,
            input_bits=input_bits,
            flip=self.flip,
        )

    def parts(self) -> CrossbarPieces | None:
        """The pieces of one array; None for a chip that was measured as a whole."""
        own = self.own_pieces
        if own is None:
            return PIECES[self.pieces] if self.pieces else None
        return CrossbarPieces(
            step_s=own.step_ns * 1e-9,
            array_j=own.array_pJ * 1e-12,
            array_cells=own.array_cells,
            dac_j=own.dac_pJ * 1e-12,
            sample_j=own.sample_pJ * 1e-12,
            shift_add_j=own.shift_add_pJ * 1e-12,
            array_mm2=own.array_mm2,
            dac_mm2=own.dac_mm2,
            sample_mm2=own.sample_mm2,
            shift_add_mm2=own.shift_add_mm2,
            adc=Converter(own.adc_bits, own.adc_pJ * 1e-12, own.adc_per_ns * 1e9, own.adc_mm2, own.source),
            source=own.source,
        )


class LogicDevice(_Device):
    """One chip of blocks of ``rows`` lanes of ``columns`` cells that run the gate lists of ``gates``.

    ``active_blocks_per_tile`` compute at a time. ``cell`` is a name of `hw.cost.bit_serial.CELLS`, or ``own_cell``
    says what it is. A tile takes or gives ``port_bits_per_step`` a step; ``endurance`` None: cells do not wear.
    """

    kind: Literal["logic"]
    gates: Literal["nor", "sot", "bulk"]
    blocks_per_tile: PositiveInt
    active_blocks_per_tile: PositiveInt
    cell: str | None = None
    own_cell: _Cell | None = None
    port_bits_per_step: PositiveInt

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _one_of("cell", self.cell, self.own_cell)
        _known("cell", self.cell, CELLS)
        if self.active_blocks_per_tile > self.blocks_per_tile:
            problem = f"active_blocks_per_tile is {self.active_blocks_per_tile}"
            raise field_error(InputError(problem, f"at most {self.blocks_per_tile}, the blocks of a tile"))
        return self

    @property
    def blocks(self) -> int:
        """Blocks of one chip."""
        return self.tiles * self.blocks_per_tile

    def part(self) -> BitSerialCell:
        """The cell."""
        own = self.own_cell
        if own is None:
            assert self.cell is not None
            return CELLS[self.cell]
        return BitSerialCell(
            name=self.name,
            step_s=own.step_ns * 1e-9,
            read_j=own.read_fJ * 1e-15,
            write_j=own.write_fJ * 1e-15,
            preset_j=own.preset_fJ * 1e-15,
            cell_um2=own.cell_um2,
            search_s=own.step_ns * 1e-9,
            search_j=own.read_fJ * 1e-15,
            source=own.source,
            step_j=own.step_fJ * 1e-15,
        )


ArrayDevice = CrossbarDevice | LogicDevice
_KINDS: dict[str, type[CrossbarDevice] | type[LogicDevice]] = {"crossbar": CrossbarDevice, "logic": LogicDevice}


def _one_of(name: str, *given: Any) -> None:
    if sum(value is not None for value in given) != 1:
        ways = f"{name} or own_{name}" + (", or measured" if len(given) > 2 else "")
        raise field_error(InputError(f"{sum(v is not None for v in given)} of {ways} given", "exactly one"))


def _known(name: str, given: str | None, names: dict[str, Any]) -> None:
    if given is not None and given not in names:
        raise field_error(unknown_name(name, given, names))


@lru_cache
def _bundled() -> dict[str, ArrayDevice]:
    document = read_document(_FILE)
    devices = {}
    for name, entry in document.value.items():
        lines = {path[1:]: line for path, line in document.lines.items() if path[:1] == (name,)}
        devices[name] = _checked(Document(document.file, {"name": name, **entry}, lines))
    return devices


def _checked(document: Document) -> ArrayDevice:
    kind = document.value.get("kind")
    if kind not in _KINDS:
        raise document.error(f"kind is {kind!r}", ("kind",), expected=f"one of {', '.join(_KINDS)}")
    return validate(_KINDS[kind], document)


def array_names() -> tuple[str, ...]:
    """The bundled arrays, in alphabetical order."""
    return tuple(sorted(_bundled()))


def load_array(name_or_path: str | Path) -> ArrayDevice:
    """A bundled array by name, or the one that a file describes (its name is the file's, where it gives none).

    Text with a path separator, or that ends in .yaml, .yml or .json, is a path. Raises `InputError`, with file, line
    and field where there is a file.
    """
    text = str(name_or_path)
    is_path = text.lower().endswith((".yaml", ".yml", ".json")) or "/" in text or os.sep in text
    if is_path or isinstance(name_or_path, Path):
        document = read_document(name_or_path)
        return _checked(Document(document.file, {"name": Path(text).stem, **document.value}, document.lines))
    folded = {name.casefold(): device for name, device in _bundled().items()}
    if text.casefold() not in folded:
        raise unknown_name("array", text, array_names())
    return folded[text.casefold()]
