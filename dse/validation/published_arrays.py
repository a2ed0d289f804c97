"""Models behind the published figures of arrays that compute and of their converters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dse.validation.published import Subject
from hw.cost.bit_serial import (
    MEMRISTOR_NOR,
    SOT_FAST,
    SOT_SLOW,
    BitSerialCell,
    floatpim_add,
    floatpim_multiply,
    published_cost,
    sot_add,
    sot_multiply,
)
from hw.cost.cam import cam
from hw.cost.converters import ISAAC_ADC, RAMP_5BIT, Converter, survey_adc
from hw.cost.crossbar import CrossbarUse, crossbar_cost
from simulator.memory.arrays.bulk import BULK_STEP, bulk_steps
from simulator.memory.arrays.integers import add, multiply
from simulator.memory.arrays.logic import NorArray
from simulator.memory.arrays.operations import ArrayName, OperationName, operation_cost, operation_counts

__all__ = ["ARRAYS"]

Model = Callable[[], float]
_OPERATIONS: tuple[OperationName, ...] = ("add", "multiply")
_FP32 = (8, 23)
_SLICES = 16  # of a 16-bit input, one bit each: a product of ISAAC
_ISAAC_ARRAYS, _ISAAC_MM2 = 168 * 12 * 8, 85.4  # tiles x units x arrays, and the chip's area
_STEP = CrossbarUse(arrays=1, rows=128, columns=128, steps=1, dac_drives=128, conversions=128, shift_adds=128)
_HONG_J, _HONG_S, _HONG_SHARED = 12.58e-15, 0.165e-9, 4  # one conversion, and columns that share a converter
_RAMP_COLUMNS, _RAMP_MEAN_CODE = 128, 15.5  # codes equally likely


def _nor_floats(operation: OperationName, layout: str) -> Model:
    return lambda: operation_counts("nor", operation, layout, subnormals=False).steps


def _nor_integers(operation: OperationName, bits: int) -> Model:
    def steps() -> float:
        array = NorArray(1)
        zero = np.zeros(1, dtype=np.uint64)
        a, b = array.load(zero, bits), array.load(zero, bits)
        if operation == "add":
            add(array, a, b, array.constant(0))
        else:
            multiply(array, a, b)
        return array.counts().steps

    return steps


def _survey(bits: int, node_nm: int, rate_gs: float) -> Converter:
    return survey_adc(bits=bits, rate_per_s=rate_gs * 1e9, node_nm=node_nm)


def _adc_energy(*point: float) -> Model:
    return lambda: _survey(int(point[0]), int(point[1]), point[2]).energy_j * 1e12


def _adc_area(*point: float) -> Model:
    return lambda: _survey(int(point[0]), int(point[1]), point[2]).area_mm2 * 1e6


def _isaac_adc() -> Converter:
    return survey_adc(bits=ISAAC_ADC.bits, rate_per_s=ISAAC_ADC.rate_per_s, node_nm=32)


def _isaac_gops() -> float:
    """Billions of operations a second of one array: 128 x 16 weights of 16 bits, two operations each."""
    return 128 * 16 * 2 / crossbar_cost(replace(_STEP, steps=_SLICES)).latency_s / 1e9


def _cam_energy(size_bytes: int, bits: int, node_nm: int) -> Model:
    rows = size_bytes * 8 // bits
    return lambda: cam(rows, bits, misses=rows, node_nm=node_nm).search_j * 1e12


def _cam_time(size_bytes: int, bits: int, node_nm: int) -> Model:
    rows = size_bytes * 8 // bits
    return lambda: cam(rows, bits, misses=rows, node_nm=node_nm).search_s * 1e9


def _bulk(operation: OperationName, bits: int) -> Model:
    return lambda: bulk_steps(operation, bits) * BULK_STEP.seconds * 1e9


def _sot_gains(cell: BitSerialCell) -> tuple[float, float]:
    """Latency and energy of FloatPIM's multiply and add over the magnetic array's, by the papers' own counts."""
    floatpim = published_cost(MEMRISTOR_NOR, floatpim_add(*_FP32) + floatpim_multiply(*_FP32))
    magnetic = published_cost(cell, sot_add(*_FP32) + sot_multiply(*_FP32))
    return floatpim.latency_s / magnetic.latency_s, floatpim.energy_j / magnetic.energy_j


def _gate_list_gain(cell: BitSerialCell) -> float:
    """The same latency gain by our own gate lists, zeros and normal numbers only."""

    def seconds(array: ArrayName, on: BitSerialCell) -> float:
        counts = (operation_counts(array, operation, "fp32", subnormals=False) for operation in _OPERATIONS)
        return sum(operation_cost(on, count).latency_s for count in counts)

    return seconds("nor", MEMRISTOR_NOR) / seconds("sot", cell)


def _sot(name: str, cell: BitSerialCell) -> dict[str, Model]:
    return {
        f"sot latency {name}": lambda: _sot_gains(cell)[0],
        f"sot energy {name}": lambda: _sot_gains(cell)[1],
        f"sot gates latency {name}": lambda: _gate_list_gain(cell),
    }


def _ramp_j() -> float:
    return RAMP_5BIT.energy_j(_RAMP_COLUMNS, _RAMP_MEAN_CODE)


_SURVEYED = [(bits, node, rate) for node, rate in ((32, 0.1), (32, 1.28), (16, 1.28)) for bits in (4, 6, 8, 10, 12)]
_SEARCHED = [(2048, 64, 32), (8192, 64, 32), (8192, 128, 32), (8192, 64, 65)]

ARRAYS = Subject(
    "Accuracy of arrays that compute",
    """Cycle counts, ratios and converters that papers, their repositories and CACTI give, beside our gate lists
(`simulator/memory/arrays/`) and cost models (`hw/cost/`). Gate lists are counted, each of them bit-exact in tests.
Cells of memristors and of SOT-MRAM were not found in print: their values are synthetic, and a ratio is shown at the
fast and at the slow end of the range only to see whether the published one lies between. Errors are
ours / published - 1.

Reproduced: the counts of AritPIM's NOR adders exactly, its floating-point programs within a few per cent; ISAAC's
density of the whole chip. Within the range of the cell, which says little: the latency gain of 1.8. Not reproduced: the
energy gain of 3.3, which no cell of the range gives; the area gain; the ramp's table of gains.
""",
    {
        **{f"nor {op} {name}": _nor_floats(op, name) for op in _OPERATIONS for name in ("bf16", "fp16", "fp32")},
        **{f"nor {op} int{bits}": _nor_integers(op, bits) for op in _OPERATIONS for bits in (8, 16, 32)},
        **{f"adc energy {b} {node} {rate}": _adc_energy(b, node, rate) for b, node, rate in _SURVEYED},
        **{f"adc area {b} {node} {rate}": _adc_area(b, node, rate) for b, node, rate in _SURVEYED},
        "isaac adc energy": lambda: _isaac_adc().energy_j * 1e12,
        "isaac adc area": lambda: _isaac_adc().area_mm2 * 1e6,
        "isaac density": lambda: _ISAAC_ARRAYS * _isaac_gops() / _ISAAC_MM2,
        "isaac array density": lambda: _isaac_gops() / crossbar_cost(replace(_STEP, steps=_SLICES)).area_mm2,
        **{f"cam energy {size} {bits} {node}": _cam_energy(size, bits, node) for size, bits, node in _SEARCHED},
        **{f"cam time {size} {bits} {node}": _cam_time(size, bits, node) for size, bits, node in _SEARCHED},
        **{f"bulk {op} {bits}": _bulk(op, bits) for op in _OPERATIONS for bits in (8, 16, 32)},
        **_sot("fast", SOT_FAST),
        **_sot("slow", SOT_SLOW),
        "ramp time": lambda: RAMP_5BIT.time_s * 1e9,
        "ramp energy": lambda: _ramp_j() * 1e12,
        "ramp over one-step energy": lambda: _ramp_j() / (_RAMP_COLUMNS * _HONG_J),
        "ramp over one-step time": lambda: RAMP_5BIT.time_s / (_HONG_SHARED * _HONG_S),
    },
)
