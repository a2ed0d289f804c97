"""Bit-serial integer programs: add, subtract, compare, multiply, and shift by an amount that differs between lanes."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.memory.arrays.logic import Column, LogicArray, Word

__all__ = [
    "add",
    "add_constant",
    "all_of",
    "any_of",
    "decrement",
    "increment",
    "less",
    "multiply",
    "shift_left",
    "shift_right_sticky",
    "subtract",
]


def any_of(array: LogicArray, word: Sequence[Column]) -> Column:
    """The OR of one or more bits."""
    result = word[0]
    for bit in word[1:]:
        result = array.or_(result, bit)
    return result


def all_of(array: LogicArray, word: Sequence[Column]) -> Column:
    """The AND of one or more bits."""
    result = word[0]
    for bit in word[1:]:
        result = array.and_(result, bit)
    return result


def add(
    array: LogicArray, a: Sequence[Column], b: Sequence[Column], carry: Column | None = None
) -> tuple[Word, Column]:
    """Sum of two words of one length and the carry out; ``carry`` comes in, and its cell is used up."""
    result = []
    for x, y in zip(a, b, strict=True):
        bit, carry = array.half_add(x, y) if carry is None else array.full_add(x, y, carry)
        result.append(bit)
    return result, array.constant(0) if carry is None else carry


def add_constant(array: LogicArray, a: Sequence[Column], value: int) -> Word:
    """a plus a number known beforehand, modulo two to the length."""
    result: Word = []
    carry: Column | None = None
    for i, bit in enumerate(a):
        if (value >> i) & 1:
            total, carry = (array.not_(bit), bit) if carry is None else array.half_add_one(bit, carry)
        else:
            total, carry = (bit, None) if carry is None else array.half_add(bit, carry)
        result.append(total)
    return result


def subtract(array: LogicArray, a: Sequence[Column], b: Sequence[Column]) -> tuple[Word, Column]:
    """a - b modulo two to a's length, and a column that is set where nothing was borrowed (a >= b).

    ``b`` may be shorter than ``a``.
    """
    result, carry = add(array, a[: len(b)], [array.not_(bit) for bit in b], array.constant(1))
    for bit in a[len(b) :]:
        total, carry = array.half_add_one(bit, carry)
        result.append(total)
    return result, carry


def less(array: LogicArray, a: Sequence[Column], b: Sequence[Column]) -> Column:
    """Set where a < b, as unsigned numbers."""
    carry = array.constant(1)
    for x, y in zip(a, b, strict=True):
        carry = array.carry_of(x, array.not_(y), carry)
    return array.not_(carry)


def increment(array: LogicArray, a: Sequence[Column], carry: Column) -> tuple[Word, Column]:
    """a plus one bit, and the carry out."""
    result = []
    for bit in a:
        total, carry = array.half_add(bit, carry)
        result.append(total)
    return result, carry


def decrement(array: LogicArray, a: Sequence[Column], bit: Column) -> Word:
    """a less one bit, modulo two to the length: not (not a + bit)."""
    total, _ = increment(array, [array.not_(column) for column in a], bit)
    return [array.not_(column) for column in total]


def shift_left(array: LogicArray, word: Sequence[Column], places: int, select: Column) -> Word:
    """``word`` shifted left by ``places`` in the lanes where ``select`` is set; the top bits are lost."""
    return array.clear_word(word[:places], select) + array.mux_word(select, word[:-places], word[places:])


def multiply(array: LogicArray, a: Sequence[Column], b: Sequence[Column]) -> Word:
    """The full product of two unsigned words: one masked addition for each bit of ``b``."""
    width = len(a)
    parts = array.and_each(a, b)
    result = [*next(parts), array.constant(0)]
    for i, part in enumerate(parts, start=1):
        total, carry = add(array, result[i : i + width], part)
        result = [*result[:i], *total, carry]
    return result


def shift_right_sticky(array: LogicArray, word: Sequence[Column], amount: Sequence[Column]) -> tuple[Word, Column]:
    """``word`` shifted right by each lane's ``amount``, and a column set where a one was shifted out.

    Bits of the amount that exceed the width count as the greatest shift.
    """
    stages = max(1, len(word).bit_length())
    low = list(amount[:stages])
    if len(amount) > stages:
        far = any_of(array, amount[stages:])
        low = [array.or_(bit, far) for bit in low]
    sticky = array.constant(0)
    result = list(word)
    for stage, select in enumerate(low):
        step = min(1 << stage, len(result))
        out = array.and_(any_of(array, result[:step]), select)
        sticky = array.or_(sticky, out)
        kept = array.mux_word(select, result[step:], result[:-step])
        result = kept + array.clear_word(result[-step:], select)
    return result, sticky
