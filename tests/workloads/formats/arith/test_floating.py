"""Arithmetic on codes against numpy's and ml_dtypes' numbers, against fractions, and by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.formats.arith.floating import (
    canonical_nan,
    float_add,
    float_convert,
    float_equal,
    float_fma,
    float_less,
    float_maximum,
    float_multiply,
    float_negate,
    float_subtract,
    float_unordered,
    int_to_float,
    scaled_to_float,
)
from workloads.formats.golden.floats import (
    BF16,
    E2M1,
    E2M3,
    E4M3,
    E5M2,
    FP16,
    FP32,
    FloatFormat,
    decode,
)

TINY = FloatFormat("tiny", 3, 1, "ieee")
"""32 codes with every kind of special: all triples can be tried."""
WORDS = {FP32: np.uint32, FP16: np.uint16, BF16: np.uint16, E4M3: np.uint8, E5M2: np.uint8}


def outside_type(fmt: FloatFormat) -> Any:
    if fmt in (FP32, FP16):
        return {FP32: np.float32, FP16: np.float16}[fmt]
    types = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: no outside reference")
    return {BF16: types.bfloat16, E4M3: types.float8_e4m3fn, E5M2: types.float8_e5m2}[fmt]


def outside_result(operation: Callable[..., Any], codes: tuple[Any, ...], fmt: FloatFormat) -> Any:
    """What numpy makes of ``codes``, every NaN as the canonical one."""
    kind = outside_type(fmt)
    with np.errstate(all="ignore"):
        result = operation(*(one.astype(WORDS[fmt]).view(kind) for one in codes))
        nan = np.isnan(result.astype(np.float64))
    return np.where(nan, canonical_nan(fmt), result.view(WORDS[fmt]).astype(np.int64))


def pairs(fmt: FloatFormat, count: int) -> tuple[Any, Any]:
    """Any code beside any, and beside its neighbours of either sign, with long runs of zeros in half of them."""
    rng = np.random.default_rng(fmt.bits)
    a, b = rng.integers(0, 1 << fmt.bits, (2, count))
    shift = rng.integers(0, fmt.mantissa_bits + 1, count)
    a = np.where(rng.random(count) < 0.5, (a >> shift) << shift, a)
    flips = rng.integers(0, 1 << (fmt.mantissa_bits + 3), count) & rng.integers(0, 1 << fmt.bits, count)
    near = a ^ np.where(rng.random(count) < 0.5, flips, flips & 1) ^ (rng.integers(0, 2, count) << (fmt.bits - 1))
    return a, np.where(rng.random(count) < 0.6, near, b)


def fraction(code: int, fmt: FloatFormat) -> Fraction:
    return Fraction(float(decode(code, fmt)))


def nearest(value: Fraction, fmt: FloatFormat, zero_sign: int) -> int:
    """IEEE 754-2019, 4.3.1, by integers: round to nearest, ties to even, then the rule for overflow."""
    sign = int(value < 0) if value else zero_sign
    size = abs(value)
    if not size:
        return zero_sign << (fmt.bits - 1)
    exponent = max(fmt.minimum_exponent, size.numerator.bit_length() - size.denominator.bit_length() - 1)
    exponent += size >= Fraction(2) ** (exponent + 1)
    step = Fraction(2) ** (exponent - fmt.mantissa_bits)
    count, rest = divmod(size, step)
    count += 2 * rest > step or (2 * rest == step and count % 2 == 1)
    code = ((exponent - fmt.minimum_exponent) << fmt.mantissa_bits) + count
    if code > fmt.largest_code:
        code = {"ieee": fmt.largest_code + 1, "none": fmt.largest_code}.get(fmt.specials, -1)
    return canonical_nan(fmt) if code < 0 else code | sign << (fmt.bits - 1)


def fused(a: int, b: int, c: int, fmt: FloatFormat, into: FloatFormat) -> int:
    """a * b + c with fractions; specials by IEEE 754-2019, 6.2 and 7.2."""
    x, y = float(decode(a, fmt)), float(decode(b, fmt))
    z = float(decode(c, into))
    if not all(np.isfinite([x, y, z])):
        with np.errstate(invalid="ignore"):
            special = np.float64(x) * np.float64(y) + np.float64(z)  # exact enough: NaN or infinity
        if np.isnan(special):
            return canonical_nan(into)
        return (into.largest_code + 1) | int(special < 0) << (into.bits - 1)
    signs = {(a >> (fmt.bits - 1)) ^ (b >> (fmt.bits - 1)), c >> (into.bits - 1)}
    return nearest(fraction(a, fmt) * fraction(b, fmt) + fraction(c, into), into, min(signs))


@pytest.mark.parametrize("fmt", [FP32, FP16, BF16], ids=lambda fmt: fmt.name)
def test_sums_and_products_are_the_outside_reference_s(fmt: FloatFormat) -> None:
    # ml_dtypes computes in float32 and rounds again, which is harmless for bfloat16 (24 >= 2 * 8 + 2 bits).
    a, b = pairs(fmt, 500_000)
    for operation, outside in ((float_add, np.add), (float_multiply, np.multiply), (float_subtract, np.subtract)):
        np.testing.assert_array_equal(operation(a, b, fmt), outside_result(outside, (a, b), fmt))


@pytest.mark.parametrize("fmt", [E4M3, E5M2], ids=lambda fmt: fmt.name)
def test_all_pairs_of_8_bit_floats(fmt: FloatFormat) -> None:
    a, b = np.divmod(np.arange(1 << 16), 256)
    for operation, outside in ((float_add, np.add), (float_multiply, np.multiply)):
        np.testing.assert_array_equal(operation(a, b, fmt), outside_result(outside, (a, b), fmt))


@pytest.mark.parametrize("fmt", [FP32, FP16, BF16, E4M3], ids=lambda fmt: fmt.name)
def test_comparisons_and_maximum(fmt: FloatFormat) -> None:
    a, b = pairs(fmt, 200_000)
    with np.errstate(invalid="ignore"):
        x, y = (one.astype(WORDS[fmt]).view(outside_type(fmt)).astype(np.float64) for one in (a, b))
    np.testing.assert_array_equal(float_less(a, b, fmt), x < y)
    np.testing.assert_array_equal(float_equal(a, b, fmt), x == y)
    np.testing.assert_array_equal(float_unordered(a, b, fmt), np.isnan(x) | np.isnan(y))
    larger = float_maximum(a, b, fmt)
    nan = np.isnan(x) | np.isnan(y)
    assert (larger[nan] == canonical_nan(fmt)).all()
    assert ((larger == a) | (larger == b))[~nan].all()
    np.testing.assert_array_equal(decode(larger[~nan], fmt), np.maximum(x, y)[~nan])


def test_maximum_puts_minus_zero_below_zero() -> None:
    assert [int(float_maximum(a, b, FP16)) for a in (0, 0x8000) for b in (0, 0x8000)] == [0, 0, 0, 0x8000]


def test_every_bfloat16_converts_as_the_outside_reference() -> None:
    codes = np.arange(1 << 16)
    for target in (FP16, FP32, E4M3, E5M2):
        kind = outside_type(target)
        with np.errstate(all="ignore"):
            cast = codes.astype(np.uint16).view(outside_type(BF16)).astype(np.float32).astype(kind)
            nan = np.isnan(cast.astype(np.float64))
        wanted = np.where(nan, canonical_nan(target), cast.view(WORDS[target]).astype(np.int64))
        np.testing.assert_array_equal(float_convert(codes, BF16, target), wanted)


def test_saturation_and_nan_without_a_code() -> None:
    # OCP 8-bit Floating Point 1.0: E4M3 ends at 448 = 0x7E; E2M1 at 6 = 0x7 and has no NaN.
    codes = [0x7C00, 0xFC00, 0x7BFF, 0x7E01]  # fp16: both infinities, 65,504, a NaN
    assert float_convert(codes, FP16, E4M3, saturate=True).tolist() == [0x7E, 0xFE, 0x7E, 0x7F]
    assert float_convert(codes, FP16, E4M3).tolist() == [0x7F, 0x7F, 0x7F, 0x7F]
    assert float_convert(codes, FP16, E2M1).tolist() == [0x7, 0xF, 0x7, 0x8]


def test_nan_is_canonical_and_invalid_operations_give_it() -> None:
    infinity, minus, payload = 0x7F80, 0xFF80, 0xFFA5
    assert canonical_nan(BF16) == 0x7FC0
    assert float_add([infinity, payload, 0x3F80], [minus, 0, payload], BF16).tolist() == [0x7FC0] * 3
    assert float_multiply([infinity, 0x8000], [0, minus], BF16).tolist() == [0x7FC0] * 2
    assert float_fma([infinity, infinity], [0, 0x3F80], [payload, minus], BF16).tolist() == [0x7FC0] * 2
    assert int(float_negate(payload, BF16)) == 0x7FC0


def test_signed_zeros() -> None:
    # IEEE 754-2019, 6.3: x + -x = +0 and -0 + -0 = -0 in round to nearest; products take the sign of the operands.
    one, minus = 0x3F80, 0xBF80
    assert float_add([one, 0x8000, 0, minus], [minus, 0x8000, 0x8000, one], BF16).tolist() == [0, 0x8000, 0, 0]
    assert float_multiply([0x8000, 0x0001], [one, 0x8001], BF16).tolist() == [0x8000, 0x8000]
    assert float_fma([one, 0], [minus, minus], [one, 0x8000], BF16).tolist() == [0, 0x8000]


@pytest.mark.parametrize("into", [TINY, E2M3, FloatFormat("wide", 4, 4, "ieee"), FloatFormat("nan", 3, 2, "nan")])
def test_every_fused_triple_of_tiny_floats(into: FloatFormat) -> None:
    rng = np.random.default_rng(3)
    a, b, c = np.array(list(itertools.product(range(32), range(32), range(1 << into.bits)))).T
    some = rng.permutation(len(a))[:2500]
    wanted = [fused(int(a[n]), int(b[n]), int(c[n]), TINY, into) for n in some]
    # An infinite result in a format without infinity is beyond `fused`: NaN, or the largest number.
    with np.errstate(invalid="ignore"):
        infinite = np.isinf(decode(a, TINY) * decode(b, TINY) + decode(c, into))[some]
    keep = np.ones(len(some), bool) if into.specials == "ieee" else ~infinite
    np.testing.assert_array_equal(float_fma(a, b, c, TINY, into)[some][keep], np.array(wanted)[keep])


@given(
    st.lists(
        st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)), min_size=10, max_size=20
    )
)
def test_fused_bfloat16_into_float32_against_fractions(triples: list[tuple[int, int, int]]) -> None:
    a, b, c = np.array(triples).T
    near = float_multiply(a, b, BF16, FP32) ^ (1 << 31) ^ (c & 3)  # cancels all but the last bits
    for addend in (c, near):
        wanted = [fused(int(a[n]), int(b[n]), int(addend[n]), BF16, FP32) for n in range(len(a))]
        assert float_fma(a, b, addend, BF16, FP32).tolist() == wanted


@pytest.mark.parametrize("fmt", [FP32, FP16, BF16], ids=lambda fmt: fmt.name)
def test_fused_against_fractions(fmt: FloatFormat) -> None:
    a, b = (one[:1500] for one in pairs(fmt, 1500))
    b = np.where(np.arange(1500) % 3 == 0, b, a ^ (((1 << fmt.exponent_bits) - 1) << fmt.mantissa_bits))
    rng = np.random.default_rng(1)
    near = float_multiply(a, b, fmt) ^ (1 << (fmt.bits - 1)) ^ rng.integers(0, 1 << fmt.mantissa_bits, 1500)
    for c in (near, rng.integers(0, 1 << fmt.bits, 1500)):
        wanted = [fused(int(a[n]), int(b[n]), int(c[n]), fmt, fmt) for n in range(1500)]
        assert float_fma(a, b, c, fmt).tolist() == wanted


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=20), st.integers(-200, 100))
def test_integers_and_scaled_integers(values: list[int], exponent: int) -> None:
    for fmt in (FP32, FP16, BF16, E4M3):
        assert int_to_float(values, fmt).tolist() == [nearest(Fraction(value), fmt, 0) for value in values]
        wanted = [nearest(Fraction(value) * Fraction(2) ** exponent, fmt, 0) for value in values]
        assert scaled_to_float(values, exponent, fmt).tolist() == wanted


def test_one_rounding_where_two_would_err() -> None:
    # (1 + 2^-7)^2 = 1 + 2^-6 + 2^-14, a tie in no format; minus (1 + 2^-6) leaves 2^-14 in one rounding, 0 in two.
    a, c = 0x3F81, 0xBF82
    assert int(float_fma(a, a, c, BF16)) == (127 - 14) << 7
    assert int(float_add(float_multiply(a, a, BF16), c, BF16)) == 0
