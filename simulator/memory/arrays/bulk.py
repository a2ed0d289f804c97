"""Bulk bitwise logic in DRAM rows: three rows opened at once give the majority (Ambit, MICRO 2017; SIMDRAM).

Lanes are the bits of a row. The unit of time is one AAP, an activation that copies a row into others; majority
destroys its operands, so they are copied to the compute rows first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hw.cost.bit_serial import DRAM_ROW, DRAM_ROW_LANES
from hw.spec.source import Source
from simulator.memory.arrays.logic import Column, LogicArray, Word
from workloads.errors import InputError

__all__ = ["BULK_STEP", "BulkArray", "BulkStep", "bulk_steps"]

_AND_OR_STEPS, _XOR_STEPS, _NOT_STEPS, _FULL_ADD_STEPS = 4, 7, 2, 8


@dataclass(frozen=True)
class BulkStep:
    """Time and energy of one AAP of one row."""

    seconds: float
    joules_per_row: float
    source: Source


BULK_STEP = BulkStep(DRAM_ROW.step_s, DRAM_ROW.step_j * DRAM_ROW_LANES, DRAM_ROW.source)


def bulk_steps(operation: str, bits: int) -> int:
    """AAPs of SIMDRAM's ``add``, ``multiply`` or ``relu`` on ``bits``-bit lanes; `InputError` for another."""
    if bits < 1:
        raise InputError(f"bits is {bits}", "at least 1", "bits")
    forms = {"add": 8 * bits + 1, "multiply": 11 * bits**2 - 5 * bits - 1, "relu": 3 * bits + (bits - 1) % 2}
    if operation not in forms:
        raise InputError(f"unknown operation {operation!r}", "one of add, multiply, relu", "operation")
    return forms[operation]


class BulkArray(LogicArray):
    """DRAM rows: steps are AAPs; and, or four, xor seven, not two, a full adder eight (SIMDRAM: 8 N + 1 for N bits)."""

    preset_steps = 1

    def _majority(self, a: Column, b: Column, c: Column) -> Column:
        self._reads += 3
        self._writes += 1
        plane = (a.plane & b.plane) | (c.plane & (a.plane | b.plane))
        return Column(self, self._written(plane))

    def _inverse(self, a: Column) -> Column:
        self._reads += 1
        self._writes += 1
        return Column(self, self._written(~a.plane))

    def not_(self, a: Column) -> Column:
        self._steps += _NOT_STEPS
        return self._inverse(a)

    def _controlled(self, a: Column, b: Column, bit: int) -> Column:
        # The constant rows are always there: no preset.
        control = Column(self, np.full_like(a.plane, 255 if bit else 0))
        return self._majority(a, b, control)

    def and_(self, a: Column, b: Column) -> Column:
        self._steps += _AND_OR_STEPS
        return self._controlled(a, b, 0)

    def or_(self, a: Column, b: Column) -> Column:
        self._steps += _AND_OR_STEPS
        return self._controlled(a, b, 1)

    def xor(self, a: Column, b: Column) -> Column:
        self._steps += _XOR_STEPS
        both = self._controlled(a, b, 0)
        return self._controlled(self._controlled(a, b, 1), self._inverse(both), 0)

    def half_add(self, a: Column, b: Column) -> tuple[Column, Column]:
        return self.xor(a, b), self.and_(a, b)

    def half_add_one(self, a: Column, b: Column) -> tuple[Column, Column]:
        return self.not_(self.xor(a, b)), self.or_(a, b)

    def full_add(self, a: Column, b: Column, carry: Column) -> tuple[Column, Column]:
        self._steps += _FULL_ADD_STEPS
        out = self._majority(a, b, carry)
        middle = self._majority(a, b, self._inverse(carry))
        return self._majority(self._inverse(out), middle, carry), out

    def carry_of(self, a: Column, b: Column, carry: Column) -> Column:
        self._steps += _AND_OR_STEPS
        return self._majority(a, b, carry)

    def mux_word(self, select: Column, ones: Sequence[Column], zeros: Sequence[Column]) -> Word:
        off = self.not_(select)
        return [self.or_(self.and_(one, select), self.and_(zero, off)) for one, zero in zip(ones, zeros, strict=True)]

    def and_word(self, word: Sequence[Column], mask: Column) -> Word:
        return [self.and_(bit, mask) for bit in word]

    def and_each(self, word: Sequence[Column], masks: Sequence[Column]) -> Iterator[Word]:
        return (self.and_word(word, mask) for mask in masks)

    def clear_word(self, word: Sequence[Column], select: Column) -> Word:
        return self.and_word(word, self.not_(select)) if word else []

    def xor_word(self, word: Sequence[Column], mask: Column) -> Word:
        return [self.xor(bit, mask) for bit in word]
