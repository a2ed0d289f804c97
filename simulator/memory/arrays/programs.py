"""Dot products in the lanes of a bit-serial array: each lane multiplies its own weights by inputs sent to all lanes.

An input reaches the lanes as one preset column a bit. Products are added up in the lane, one after the other. Integers
are sign and magnitude when they are multiplied and two's complement when they are added up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.memory.arrays.floats import FLOAT_LAYOUTS, FloatLayout, float_add, float_multiply
from simulator.memory.arrays.integers import add, multiply
from simulator.memory.arrays.logic import Column, LogicArray, StepCounts, Word
from simulator.memory.arrays.operations import ARRAYS
from workloads.errors import InputError, unknown_name

__all__ = ["DotProgram", "dot_counts", "dot_program", "lane_dot", "sum_counts"]

_SUM_BITS = 16  # terms of an integer dot product may be 2^16


@dataclass(frozen=True)
class DotProgram:
    """The numbers of a dot product: a name of `FLOAT_LAYOUTS`, or ``int`` and 2 to 16 bits.

    ``bits`` are those of a weight or an input, ``sum_bits`` those of the running sum; ``layout`` None: integers.
    """

    name: str
    bits: int
    sum_bits: int
    layout: FloatLayout | None


def dot_program(name: str) -> DotProgram:
    """``fp32``, ``fp16``, ``bf16`` or ``int2`` to ``int16``; `InputError` for any other name."""
    if name in FLOAT_LAYOUTS:
        layout = FLOAT_LAYOUTS[name]
        return DotProgram(name, layout.bits, layout.bits, layout)
    digits = name.removeprefix("int")
    if not name.startswith("int") or not digits.isdigit() or not 2 <= int(digits) <= 16:
        raise unknown_name("format", name, [*FLOAT_LAYOUTS, "int8", "int4"], field="format")
    bits = int(digits)
    return DotProgram(name, bits, 2 * bits + _SUM_BITS, None)


def lane_dot(
    gates: str,
    name: str,
    weights: NDArray[Any],
    inputs: NDArray[Any],
    *,
    subnormals: bool = False,
    write_error: float = 0.0,
    seed: int = 0,
) -> tuple[NDArray[np.float64], StepCounts]:
    """``weights @ inputs`` as the lanes compute it, and what each lane took.

    ``weights`` (lanes, terms) and ``inputs`` (terms,) are floats, or whole numbers of magnitude below 2^(bits - 1).
    Raises `InputError` for other shapes, values, and names.
    """
    program = dot_program(name)
    _known_gates(gates)
    if weights.ndim != 2 or inputs.shape != weights.shape[1:] or weights.size == 0:
        raise InputError(f"weights have shape {weights.shape}, inputs {inputs.shape}", "(lanes, terms) and (terms,)")
    array = ARRAYS[gates](weights.shape[0], write_error=write_error, seed=seed)
    words, sent = _words(program, weights), _words(program, inputs)
    total: Word | None = None
    for term in range(inputs.size):
        weight = array.load(np.ascontiguousarray(words[:, term]), program.bits)
        value = [array.constant(int(sent[term]) >> bit & 1) for bit in range(program.bits)]
        total = _accumulate(array, program, weight, value, total, subnormals)
    assert total is not None
    return _values(program, array.store(total)), array.counts()


def _known_gates(gates: str) -> None:
    if gates not in ARRAYS:
        raise unknown_name("array", gates, ARRAYS, field="gates")


def _accumulate(
    array: LogicArray, program: DotProgram, weight: Word, value: Word, total: Word | None, subnormals: bool
) -> Word:
    if program.layout is not None:
        product = float_multiply(array, program.layout, weight, value, subnormals=subnormals)
        return product if total is None else float_add(array, program.layout, total, product, subnormals=subnormals)
    magnitude = multiply(array, weight[:-1], value[:-1])
    sign = array.xor(weight[-1], value[-1])
    flipped: list[Column] = array.xor_word(magnitude, sign)
    term = [*flipped, *[sign] * (program.sum_bits - len(flipped))]
    # The carry's cell is used up by the addition; the sign is read again as the term's upper bits.
    carry = array.or_(sign, sign)
    start = [array.constant(0) for _ in range(program.sum_bits)] if total is None else total
    return add(array, start, term, carry)[0]


def _words(program: DotProgram, values: NDArray[Any]) -> NDArray[np.uint64]:
    if program.layout is None:
        if not np.issubdtype(values.dtype, np.integer) or np.abs(values).max() >= 1 << (program.bits - 1):
            expected = f"whole numbers of magnitude below {1 << (program.bits - 1)}"
            raise InputError(f"values are {values.dtype}, up to {np.abs(values).max()}", expected, "weights")
        sign = (values < 0).astype(np.uint64) << np.uint64(program.bits - 1)
        return np.asarray(np.abs(values).astype(np.uint64) | sign)
    if program.name == "fp16":
        return values.astype(np.float16).view(np.uint16).astype(np.uint64)
    words = np.ascontiguousarray(values.astype(np.float32)).view(np.uint32).astype(np.uint64)
    if program.name == "bf16":
        # Rounded to nearest, ties to even, on the upper half of the word.
        low = np.uint64(0x7FFF) + ((words >> np.uint64(16)) & np.uint64(1))
        return np.asarray((words + low) >> np.uint64(16))
    return words


def _values(program: DotProgram, words: NDArray[np.uint64]) -> NDArray[np.float64]:
    if program.layout is None:
        signed = words.astype(np.int64)
        return np.where(signed >> (program.sum_bits - 1) & 1, signed - (1 << program.sum_bits), signed).astype(float)
    with np.errstate(invalid="ignore"):  # wrong writes may leave any NaN
        if program.name == "fp16":
            return words.astype(np.uint16).view(np.float16).astype(np.float64)
        shift = np.uint64(16 if program.name == "bf16" else 0)
        return (words << shift).astype(np.uint32).view(np.float32).astype(np.float64)


@lru_cache(maxsize=64)
def _short(gates: str, name: str, terms: int, subnormals: bool) -> StepCounts:
    program = dot_program(name)
    kind = np.int64 if program.layout is None else np.float32
    return lane_dot(gates, name, np.zeros((1, terms), kind), np.zeros(terms, kind), subnormals=subnormals)[1]


def dot_counts(gates: str, name: str, terms: int, *, subnormals: bool = False) -> StepCounts:
    """What a lane takes for a dot product of ``terms``: the first term, and as often the second as there are more.

    A lane's weights are left out of ``cells`` beyond the two that are at hand.
    """
    first, second = (_short(gates, name, count, subnormals) for count in (1, 2))
    more = terms - 1
    return StepCounts(
        steps=first.steps + more * (second.steps - first.steps),
        gates=first.gates + more * (second.gates - first.gates),
        reads=first.reads + more * (second.reads - first.reads),
        writes=first.writes + more * (second.writes - first.writes),
        presets=first.presets + more * (second.presets - first.presets),
        cells=second.cells if more else first.cells,
    )


@lru_cache(maxsize=64)
def sum_counts(gates: str, name: str, *, subnormals: bool = False) -> StepCounts:
    """What a lane takes to add another lane's sum to its own, once it is there."""
    program = dot_program(name)
    _known_gates(gates)
    array = ARRAYS[gates](1)
    x, y = (array.load(np.zeros(1, dtype=np.uint64), program.sum_bits) for _ in range(2))
    if program.layout is not None:
        float_add(array, program.layout, x, y, subnormals=subnormals)
    else:
        add(array, x, y)
    return array.counts()
