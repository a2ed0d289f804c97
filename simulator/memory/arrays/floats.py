"""Floating-point addition and multiplication as bit-serial programs, rounded to nearest, ties to even (IEEE 754-2019).

With ``subnormals`` every operand and result is treated as IEEE 754 asks: subnormals, signed zeros, infinities, and one
quiet NaN. Without, operands and results must be zero or normal, as in the programs published for such arrays
(FloatPIM, AritPIM): fewer steps, and anything else is undefined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.memory.arrays.integers import (
    add,
    add_constant,
    all_of,
    any_of,
    decrement,
    increment,
    less,
    multiply,
    shift_left,
    shift_right_sticky,
    subtract,
)
from simulator.memory.arrays.logic import Column, LogicArray, Word
from workloads.errors import unknown_name

__all__ = ["FLOAT_LAYOUTS", "FloatLayout", "float_add", "float_layout", "float_multiply"]


@dataclass(frozen=True)
class FloatLayout:
    """Fraction and exponent bits; a sign bit stands above them."""

    exponent_bits: int
    fraction_bits: int

    @property
    def bits(self) -> int:
        """All bits, with the sign."""
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def bias(self) -> int:
        """Exponent field of 1.0."""
        return (1 << (self.exponent_bits - 1)) - 1


FLOAT_LAYOUTS = {"fp16": FloatLayout(5, 10), "bf16": FloatLayout(8, 7), "fp32": FloatLayout(8, 23)}


def float_layout(name: str) -> FloatLayout:
    """Layout of ``fp16``, ``bf16`` or ``fp32``; `InputError` for any other name."""
    if name not in FLOAT_LAYOUTS:
        raise unknown_name("floating-point format", name, FLOAT_LAYOUTS)
    return FLOAT_LAYOUTS[name]


@dataclass(frozen=True)
class _Operand:
    """Significand with its leading bit, and the exponent field (one, for a subnormal)."""

    significand: Word
    exponent: Word
    sign: Column


def _unpack(array: LogicArray, layout: FloatLayout, word: Sequence[Column], subnormals: bool) -> _Operand:
    fraction = list(word[: layout.fraction_bits])
    exponent = list(word[layout.fraction_bits : -1])
    leading = any_of(array, exponent)
    if subnormals:
        exponent = [array.or_(exponent[0], array.not_(leading)), *exponent[1:]]
    return _Operand([*fraction, leading], exponent, word[-1])


def float_add(
    array: LogicArray, layout: FloatLayout, x: Sequence[Column], y: Sequence[Column], *, subnormals: bool = True
) -> Word:
    """x + y; both are words of ``layout.bits`` columns."""
    a, b = _unpack(array, layout, x, subnormals), _unpack(array, layout, y, subnormals)
    # The larger magnitude first: the difference is then never negative, and its sign is the result's.
    swap = less(array, x[:-1], y[:-1])
    a_all, b_all = [*a.significand, *a.exponent], [*b.significand, *b.exponent]
    large = array.mux_word(swap, b_all, a_all)
    small = array.mux_word(swap, a_all, b_all)
    sign = array.mux_word(swap, [b.sign], [a.sign])[0]
    width = layout.fraction_bits + 1
    distance, _ = subtract(array, large[width:], small[width:])
    zero = array.constant(0)
    shifted, sticky = shift_right_sticky(array, [zero, zero, *small[:width]], distance)
    differ = array.xor(a.sign, b.sign)
    addend = array.xor_word([sticky, *shifted], differ)
    low, carry = increment(array, addend[:3], differ)
    high, carry = add(array, large[:width], addend[3:], carry)
    top = array.and_(carry, array.not_(differ))
    # Bits: three below the fraction, the fraction, the leading bit, and the carry above it.
    exponent, normal = _normalise(array, [*low, *high, top], large[width:], width + 3, subnormals)
    leading = normal[-1]
    nothing = array.not_(any_of(array, normal)) if subnormals else array.not_(leading)
    result_sign = array.and_(sign, array.not_(array.and_(differ, nothing)))
    sticky_low = any_of(array, normal[:3])
    fraction, field = _round(array, normal[4:-1], array.and_word(exponent, leading), leading, normal[3], sticky_low)
    if not subnormals:
        return [*fraction, *field[: layout.exponent_bits], result_sign]
    special_large = all_of(array, large[width:])
    special_small = all_of(array, small[width:])
    opposed = array.and_(array.and_(special_large, special_small), differ)
    invalid = array.or_(opposed, array.and_(special_large, any_of(array, large[: width - 1])))
    field = field[: layout.exponent_bits]
    return _specials(array, fraction, field, all_of(array, field), special_large, invalid, result_sign)


def _normalise(array: LogicArray, value: Word, budget: Word, longest: int, limited: bool) -> tuple[Word, Word]:
    """``value`` shifted left by up to ``longest`` places until its last bit is set, and ``budget`` less the shift.

    Where ``limited``, no lane shifts by more than its budget, an unsigned number.
    """
    shift: Word = []
    for stage in reversed(range(longest.bit_length())):
        places = 1 << stage
        select = array.not_(any_of(array, value[-places:]))
        if limited:
            select = array.and_(select, any_of(array, budget[stage:]))
            budget = budget[:stage] + decrement(array, budget[stage:], select)
        value = shift_left(array, value, places, select)
        shift.insert(0, select)
    if limited:
        return budget, value
    return subtract(array, budget, shift)[0], value


def _round(
    array: LogicArray, fraction: Word, field: Word, leading: Column, guard: Column, sticky: Column
) -> tuple[Word, Word]:
    """The fraction rounded to nearest even, and ``field`` + leading bit + the fraction's carry."""
    up = array.and_(guard, array.or_(sticky, fraction[0]))
    fraction, carry = increment(array, fraction, up)
    low, carry = array.full_add(field[0], leading, carry)
    high, _ = increment(array, field[1:], carry)
    return fraction, [low, *high]


def _specials(
    array: LogicArray, fraction: Word, field: Word, overflow: Column, special: Column, invalid: Column, sign: Column
) -> Word:
    """The word with infinities (``overflow`` or ``special``) and NaN (``invalid``, which implies special) put in."""
    infinite = array.or_(overflow, special)
    fraction = array.and_word(fraction, array.not_(infinite))
    fraction[-1] = array.or_(fraction[-1], invalid)
    return [*fraction, *(array.or_(bit, infinite) for bit in field), sign]


def float_multiply(
    array: LogicArray, layout: FloatLayout, x: Sequence[Column], y: Sequence[Column], *, subnormals: bool = True
) -> Word:
    """x * y; both are words of ``layout.bits`` columns."""
    a, b = _unpack(array, layout, x, subnormals), _unpack(array, layout, y, subnormals)
    sign = array.xor(a.sign, b.sign)
    product = multiply(array, a.significand, b.significand)
    exponents, carry = add(array, a.exponent, b.exponent)
    # The exponent field if the product's top bit leads, less one; signed, with two bits more.
    if not subnormals:
        budget = add_constant(array, exponents, -layout.bias)
        return _multiply_normal(array, layout, product, budget, sign, a, b)
    budget = add_constant(array, [*exponents, carry, array.constant(0)], -layout.bias)
    negative = budget[-1]
    positive = array.and_word(budget[:-1], array.not_(negative))
    left, value = _normalise(array, product, positive, layout.fraction_bits + 1, True)
    # Below the exponent's range: shift right by the missing amount instead.
    opposite, _ = increment(array, [array.not_(bit) for bit in budget[:-1]], array.not_(array.constant(0)))
    right = array.and_word(opposite, negative)
    keep = layout.fraction_bits + 2
    value_high, lost = shift_right_sticky(array, value[-keep:], right)
    sticky = array.or_(any_of(array, value[:-keep]), lost)
    leading = value_high[-1]
    fraction, field = _round(array, value_high[1:-1], array.and_word(left, leading), leading, value_high[0], sticky)
    special_a, special_b = (all_of(array, word[layout.fraction_bits : -1]) for word in (x, y))
    odd_a, odd_b = (any_of(array, word[: layout.fraction_bits]) for word in (x, y))
    zero_a, zero_b = (array.not_(any_of(array, operand.significand)) for operand in (a, b))
    invalid = any_of(
        array,
        [
            array.and_(special_a, array.or_(odd_a, zero_b)),
            array.and_(special_b, array.or_(odd_b, zero_a)),
        ],
    )
    special = array.or_(special_a, special_b)
    bits = layout.exponent_bits
    overflow = array.or_(any_of(array, field[bits:]), all_of(array, field[:bits]))
    return _specials(array, fraction, field[:bits], overflow, special, invalid, sign)


def _multiply_normal(
    array: LogicArray,
    layout: FloatLayout,
    product: Word,
    budget: Word,
    sign: Column,
    a: _Operand,
    b: _Operand,
) -> Word:
    """The product of zero or normal operands: its leading bit is one of the two highest."""
    top = product[-1]
    keep = layout.fraction_bits + 1
    value = array.mux_word(top, product[-keep - 1 : -1], product[-keep - 2 : -2])
    sticky = array.or_(any_of(array, product[: -keep - 2]), array.and_(product[-keep - 2], top))
    fraction = value[1:]
    some = array.and_(a.significand[-1], b.significand[-1])
    # budget + top is the exponent field; the rounding carry joins it.
    up = array.and_(value[0], array.or_(sticky, fraction[0]))
    fraction, carry = increment(array, fraction, up)
    bits = layout.exponent_bits
    low, carry = array.full_add(budget[0], top, carry)
    high, _ = increment(array, budget[1:bits], carry)
    return [*fraction, *array.and_word([low, *high], some), sign]
