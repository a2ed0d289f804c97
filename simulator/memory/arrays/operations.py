"""Floating-point operations on a bit-serial array: results, counts and cost in one call."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hw.cost.bit_serial import BitSerialCell, BitSerialCost, bit_serial_cost
from simulator.memory.arrays.bulk import BulkArray
from simulator.memory.arrays.floats import FLOAT_LAYOUTS, float_add, float_layout, float_multiply
from simulator.memory.arrays.logic import LogicArray, NorArray, SotArray, StepCounts
from workloads.errors import InputError, unknown_name

__all__ = [
    "ARRAYS",
    "ArrayName",
    "OperationName",
    "driven_share",
    "float_operation",
    "operation_cost",
    "operation_counts",
]

ArrayName = Literal["nor", "sot", "bulk"]
OperationName = Literal["add", "multiply"]
ARRAYS: dict[str, type[LogicArray]] = {"nor": NorArray, "sot": SotArray, "bulk": BulkArray}
_OPERATIONS = {"add": float_add, "multiply": float_multiply}
_WORDS: dict[type[np.floating[Any]], tuple[str, type[np.unsignedinteger[Any]]]] = {
    np.float16: ("fp16", np.uint16),
    np.float32: ("fp32", np.uint32),
}


def _check_names(array: str, operation: str) -> None:
    if array not in ARRAYS:
        raise unknown_name("array", array, ARRAYS, field="array")
    if operation not in _OPERATIONS:
        raise unknown_name("operation", operation, _OPERATIONS, field="operation")


def float_operation(
    array: ArrayName,
    operation: OperationName,
    x: NDArray[np.floating[Any]],
    y: NDArray[np.floating[Any]],
    *,
    subnormals: bool = True,
    write_error: float = 0.0,
    seed: int = 0,
) -> tuple[NDArray[np.floating[Any]], StepCounts]:
    """``x`` op ``y``, lane by lane, as the array computes it, and what each lane took.

    ``x`` and ``y`` are vectors of one length, float16 or float32. ``write_error`` is the probability that a written bit
    is kept wrong. Raises `InputError` for other shapes, types or names.
    """
    _check_names(array, operation)
    if x.shape != y.shape or x.ndim != 1 or x.dtype != y.dtype:
        raise InputError(f"x is {x.dtype} {x.shape}, y {y.dtype} {y.shape}", "two vectors of one length and type", "x")
    if x.dtype.type not in _WORDS:
        raise InputError(f"x is {x.dtype}", "float16 or float32", "x")
    name, unsigned = _WORDS[x.dtype.type]
    layout = FLOAT_LAYOUTS[name]
    machine = ARRAYS[array](x.size, write_error=write_error, seed=seed)
    operands = [machine.load(np.ascontiguousarray(v).view(unsigned), layout.bits) for v in (x, y)]
    result = _OPERATIONS[operation](machine, layout, *operands, subnormals=subnormals)
    return machine.store(result).astype(unsigned).view(x.dtype), machine.counts()


@lru_cache(maxsize=64)
def operation_counts(array: ArrayName, operation: OperationName, layout: str, *, subnormals: bool = True) -> StepCounts:
    """Counts of one operation in ``layout``; they are the same for all operands."""
    _check_names(array, operation)
    shape = float_layout(layout)
    machine = ARRAYS[array](1)
    operands = [machine.load(np.zeros(1, dtype=np.uint64), shape.bits) for _ in range(2)]
    _OPERATIONS[operation](machine, shape, *operands, subnormals=subnormals)
    return machine.counts()


@lru_cache(maxsize=64)
def driven_share(operation: OperationName, layout: str, *, lanes: int = 4096, seed: int = 0) -> float:
    """Share of a magnetic array's writes that drive a cell, for normally distributed operands drawn by ``seed``.

    Operands are zero or normal. ``layout`` is ``fp16`` or ``fp32``; `InputError` for other names.
    """
    _check_names("sot", operation)
    kinds: dict[str, type[np.floating[Any]]] = {name: kind for kind, (name, _) in _WORDS.items()}
    if layout not in kinds:
        raise unknown_name("layout", layout, kinds, field="layout")
    random = np.random.default_rng(seed)
    shape, unsigned = float_layout(layout), _WORDS[kinds[layout]][1]
    machine = SotArray(lanes, count_driven=True)
    operands = [
        machine.load(random.normal(size=lanes).astype(kinds[layout]).view(unsigned), shape.bits) for _ in range(2)
    ]
    _OPERATIONS[operation](machine, shape, *operands, subnormals=False)
    return machine.driven_writes / machine.counts().writes


def operation_cost(cell: BitSerialCell, counts: StepCounts) -> BitSerialCost:
    """Time, energy and area of one lane's operation on ``cell``."""
    return bit_serial_cost(
        cell, steps=counts.steps, reads=counts.reads, writes=counts.writes, presets=counts.presets, cells=counts.cells
    )
