"""What arrays that compute give: a crossbar's error for its energy, a bit-serial array's time and energy by format.

Crossbars: one array, weights and inputs drawn uniformly, columns converted with fewer or more bits than lose nothing.
A converter's energy at other bits than its own is scaled by the bound on published converters (`hw.cost.converters`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from dse.reports.characteristics.sheet import Axis, Chart, Curve, Limit, Progress, Sheet
from hw.cost.bit_serial import BitSerialCost, bit_serial_cost
from hw.cost.converters import survey_adc
from hw.cost.crossbar import CrossbarCost, CrossbarPieces, crossbar_cost
from simulator.memory.arrays.crossbar import Cells, Crossbar, error_statistics, lossless_adc_bits, multiply
from simulator.memory.arrays.devices import ArrayDevice, CrossbarDevice, LogicDevice
from simulator.memory.arrays.logic_service import LogicService
from simulator.memory.arrays.programs import dot_counts, dot_program

__all__ = ["array_sheet"]

_WEIGHT_BITS = _INPUT_BITS = 8
_VECTORS, _SEED, _TERMS = 32, 1, 64
_NODE_NM = 32.0  # of no effect: only ratios of the survey's energies at one node are taken
_LEAST_ADC_BITS = 4  # below, the bound on the survey rises again
_SPREADS = (0.003, 0.01, 0.03, 0.1, 0.3)
_CELLS = {
    "exact cells": Cells(),
    "written to 1 %": Cells(write_sigma=0.01),
    "written to 5 %": Cells(write_sigma=0.05),
    "oxide cells as measured": Cells(spread="reram"),
}
_ERROR = Axis("relative_rms_error", "error, rms of the result", "", "log10")
_ADC = Axis("adc_bits", "bits of the converter")
_MAC = Axis("energy_j_per_multiply_add", "energy of a multiply-add", "J", "log10")


def array_sheet(device: ArrayDevice, progress: Progress = lambda _: None) -> Sheet:
    """The charts of ``device``. A chip that was measured as a whole shows what was measured."""
    if isinstance(device, LogicDevice):
        return _logic(device, progress)
    parts = device.parts()
    return _measured(device) if parts is None else _crossbar(device, parts, progress)


@dataclass(frozen=True)
class _Product:
    """Error and cost of one product on one array."""

    error: float
    cost: CrossbarCost
    multiply_adds: int


def _product(device: CrossbarDevice, parts: CrossbarPieces, adc_bits: int | None, cells: Cells) -> _Product:
    crossbar: Crossbar = replace(device.crossbar(_WEIGHT_BITS, _INPUT_BITS), adc_bits=adc_bits, cells=cells)
    random = np.random.default_rng(_SEED)
    outputs = crossbar.columns // crossbar.weight_slices
    half = 1 << (_WEIGHT_BITS - 1)
    inputs = random.integers(0, 1 << _INPUT_BITS, (_VECTORS, crossbar.rows))
    weights = random.integers(-half, half, (crossbar.rows, outputs))
    result = multiply(crossbar, inputs, weights, seed=_SEED)
    own = parts.adc
    bits = own.bits if adc_bits is None else adc_bits
    survey_j = [
        survey_adc(bits=each, rate_per_s=own.rate_per_s, node_nm=_NODE_NM).energy_j for each in (bits, own.bits)
    ]
    scaled = replace(parts, adc=replace(own, bits=bits, energy_j=own.energy_j * survey_j[0] / survey_j[1]))
    cost = crossbar_cost(result.use, scaled, adcs_per_array=device.adcs_per_array)
    error = error_statistics(result.output, inputs @ weights)["relative_rms"]
    return _Product(error, cost, _VECTORS * crossbar.rows * outputs)


def _crossbar(device: CrossbarDevice, parts: CrossbarPieces, progress: Progress) -> Sheet:
    lossless = lossless_adc_bits(device.rows, device.dac_bits, device.cell_bits, flip=device.flip)
    bits = range(_LEAST_ADC_BITS, lossless + 1)
    products: dict[str, dict[int, _Product]] = {}
    for name, cells in _CELLS.items():
        progress(name)
        products[name] = {each: _product(device, parts, each, cells) for each in bits}
    progress("spreads of the cells")
    spreads = {
        name: [(spread, _product(device, parts, each, Cells(write_sigma=spread)).error) for spread in _SPREADS]
        for name, each in {f"{lossless - 2} bits": lossless - 2, f"{lossless} bits": lossless, "ideal": None}.items()
    }
    exact = products["exact cells"]
    energies = {
        each: {name.removesuffix("_j"): getattr(found.cost, name) / found.cost.energy_j for name in _PARTS}
        for each, found in exact.items()
    }
    charts = (
        Chart(
            "error_energy",
            "Error for energy",
            _MAC,
            _ERROR,
            tuple(
                Curve(name, tuple(_with_error((p.cost.energy_j / p.multiply_adds, p.error) for p in found.values())))
                for name, found in products.items()
            ),
        ),
        Chart(
            "error_bits",
            "Error",
            _ADC,
            _ERROR,
            tuple(
                Curve(name, tuple(_with_error((each, product.error) for each, product in found.items())))
                for name, found in products.items()
            ),
            (Limit("loses nothing", "x", lossless),),
        ),
        Chart(
            "error_spread",
            "Error of written cells",
            Axis("write_sigma", "spread of cells over their range", "", "log10"),
            _ERROR,
            tuple(Curve(name, tuple(_with_error(points))) for name, points in spreads.items()),
        ),
        Chart(
            "energy_parts",
            "Where the energy goes",
            _ADC,
            Axis("share", "share of the energy"),
            tuple(
                Curve(_PARTS[name], tuple((each, found[name.removesuffix("_j")]) for each, found in energies.items()))
                for name in _PARTS
            ),
            stacked=True,
        ),
    )
    headline = (
        f"{device.name}: {device.arrays:,} arrays, {device.rows} x {device.columns} cells of {device.cell_bits} bits; "
        f"{_WEIGHT_BITS}-bit weights and inputs"
    )
    settings = {"weight_bits": _WEIGHT_BITS, "input_bits": _INPUT_BITS, "vectors": _VECTORS, "seed": _SEED}
    notes = [
        f"error for energy: converters of {_LEAST_ADC_BITS} to {lossless} bits; points without any error are left out",
        "oxide cells as measured: one second after writing, polynomials of aihwkit",
        "a converter's energy at other bits than its own follows the bound on published converters",
        device.note.strip(),
    ]
    return Sheet(device.name, "array", headline, charts, settings, tuple(note for note in notes if note))


_PARTS = {"cells_j": "cells", "dacs_j": "drivers", "samples_j": "sampling", "adcs_j": "converters"}
_PARTS |= {"shift_adds_j": "shifts and adds"}


def _with_error(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for point in points if point[1] > 0]


def _measured(device: CrossbarDevice) -> Sheet:
    modes = sorted(device.measured, key=lambda mode: mode.input_bits)
    bits = Axis("input_bits", "bits of an input")
    rate = tuple((mode.input_bits, mode.tops * 1e12) for mode in modes)
    energy = tuple((mode.input_bits, 2 / (mode.tops_per_w * 1e12)) for mode in modes)
    charts = (
        Chart("rate", "Rate", bits, Axis("operations_per_s", "rate", "op/s"), (Curve("measured", rate),)),
        Chart("energy", "Energy", bits, replace(_MAC, scale="linear"), (Curve("measured", energy),)),
    )
    headline = f"{device.name}: {device.arrays:,} arrays of {device.rows} x {device.columns} cells, as measured"
    return Sheet(device.name, "array", headline, charts, {}, (device.note.strip(),) if device.note else ())


_FAMILIES = {
    "whole numbers": ("int2", "int4", "int8", "int16"),
    "8 exponent bits": ("bf16", "fp32"),
    "5 exponent bits": ("fp16",),
}


def _logic(device: LogicDevice, progress: Progress) -> Sheet:
    """A multiply-add of a dot product, its time, energy and place, by the bits of its numbers."""
    service = LogicService(device)
    cell = device.part()
    costs: dict[str, list[tuple[int, BitSerialCost, int]]] = {}
    for family, names in _FAMILIES.items():
        progress(family)
        for name in names:
            counts, program = dot_counts(device.gates, name, _TERMS), dot_program(name)
            cost = bit_serial_cost(
                cell,
                steps=counts.steps,
                reads=counts.reads,
                writes=counts.writes,
                presets=counts.presets,
                cells=counts.cells,
            )
            costs.setdefault(family, []).append((program.bits, cost, service.weights_per_lane(program)))
    bits = Axis("bits", "bits of a number", "", "log2")
    lanes = service.lanes

    def chart(name: str, title: str, axis: Axis, value: Callable[[BitSerialCost, int], float]) -> Chart:
        curves = (Curve(f, tuple((n, value(cost, room)) for n, cost, room in found)) for f, found in costs.items())
        return Chart(name, title, bits, axis, tuple(curves))

    time = Axis("time_s_per_multiply_add", "of a lane", "s", "log10")
    rate = Axis("operations_per_s", "all lanes", "op/s", "log10")
    room = Axis("weights_per_lane", "weights beside the work", "", "log10")
    charts = (
        chart("time", "Time of a multiply-add", time, lambda cost, _: cost.latency_s / _TERMS),
        chart("energy", "Energy of a multiply-add", _MAC, lambda cost, _: cost.energy_j / _TERMS),
        chart("rate", "Rate of a chip", rate, lambda cost, _: 2 * _TERMS * lanes / cost.latency_s),
        chart("room", "What a lane holds", room, lambda _, room: room),
    )
    headline = f"{device.name}: {lanes:,} lanes of {device.columns} cells compute at a time; {cell.name}"
    notes = tuple(note for note in (f"cell: {cell.source}", device.note.strip()) if note)
    return Sheet(device.name, "array", headline, charts, {"terms": _TERMS}, notes)
