"""Exact sums rounded once: against numpy's float32, and against a search for the nearest number in fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hw.rtl.dequant.exact import BlockSum, add_rounded, round_exact, sum_of_blocks
from workloads.formats.golden.floats import FP16, FP32, decode


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


@given(st.integers(-(1 << 53), 1 << 53), st.integers(-190, 80))
def test_rounding_is_that_of_numpy(integer: int, exponent: int) -> None:
    """Integers of 53 bits stand exactly in float64, whose cast to float32 rounds once."""
    with np.errstate(over="ignore", under="ignore"):
        wanted = bits(math.ldexp(integer, exponent))
    assert round_exact(integer, exponent, FP32) == wanted


@given(st.integers(1, 1 << 80), st.integers(-120, -40))
def test_no_number_is_nearer(integer: int, exponent: int) -> None:
    """Wider integers than float64 holds: neighbours in fp16 are no nearer, of two equally near the even one is."""
    code = round_exact(integer, exponent, FP16)
    value = Fraction(integer) * Fraction(2) ** exponent
    if code > FP16.largest_code:
        assert value >= 65520  # halfway from 65,504 to 2^16
        return
    here = abs(Fraction(float(decode(code, FP16))) - value)
    for other in {max(code - 1, 0), min(code + 1, FP16.largest_code)} - {code}:
        there = abs(Fraction(float(decode(other, FP16))) - value)
        assert here < there or (here == there and code % 2 == 0)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8))
def test_sums_of_float32_numbers_are_those_of_numpy(values: list[float]) -> None:
    """Each block is one float32 number: then rounding behind each block is plain float32 addition, but for the sign
    of -0, which an exact block has not."""
    blocks, running = [], np.float32(0)
    for value in values:
        if math.isinf(value):
            blocks.append(BlockSum(0, 0, "+inf" if value > 0 else "-inf"))
        else:
            numerator, denominator = value.as_integer_ratio()
            blocks.append(BlockSum(numerator, 1 - denominator.bit_length()))
        with np.errstate(over="ignore", invalid="ignore"):
            running = running + (np.float32(value) if value else np.float32(0))
    blocks[-1] = BlockSum(blocks[-1].integer, blocks[-1].exponent, blocks[-1].special, closes=True)
    wanted = 0x7FC00000 if np.isnan(running) else bits(float(running))
    assert sum_of_blocks(blocks, FP32) == [wanted]


def test_sums_by_hand() -> None:
    # 1 + 2^-24 is a tie and goes to the even 1; a bit more goes up. The exact block -2^-200 rounds to -0.
    assert add_rounded(bits(1.0), BlockSum(1, -24), FP32) == bits(1.0)
    assert add_rounded(bits(1.0), BlockSum((1 << 60) + 1, -84), FP32) == bits(1.0 + 2.0**-23)
    assert sum_of_blocks([BlockSum(-1, -200, closes=True)], FP32) == [1 << 31]
    # -0 and an exact zero make +0; opposite infinities make NaN; sums begin anew.
    assert sum_of_blocks([BlockSum(-1, -200), BlockSum(0, 0, closes=True)], FP32) == [0]
    blocks = [BlockSum(0, 0, "+inf"), BlockSum(0, 0, "-inf", closes=True), BlockSum(3, 0, closes=True)]
    assert sum_of_blocks(blocks, FP32) == [0x7FC00000, bits(3.0)]
