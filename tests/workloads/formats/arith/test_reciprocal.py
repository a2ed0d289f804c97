"""1/x in number formats against IEEE division and exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from workloads.errors import InputError
from workloads.formats.arith.reciprocal import reciprocal
from workloads.formats.golden.floats import BF16, E2M1, FP16, FP32, FloatFormat, decode


@pytest.mark.parametrize(("fmt", "of"), [(FP32, np.float32), (FP16, np.float16)])
def test_is_ieee_division(fmt: FloatFormat, of: type) -> None:
    words = np.dtype(f"u{fmt.bits // 8}")
    codes = np.random.default_rng(5).integers(0, 1 << fmt.bits, 400_000) if fmt is FP32 else np.arange(1 << 16)
    x = codes.astype(words).view(of)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        wanted = (of(1) / x).view(words).astype(np.int64)
    wanted = np.where(np.isnan(x), fmt.nan_code, wanted)
    assert np.array_equal(reciprocal(codes, fmt), wanted)


def test_bfloat16_exactly_by_fractions() -> None:
    # The nearest number is nearer than both its neighbours; ties do not occur but for powers of two.
    codes = np.concatenate([np.arange(0x3F80, 0x4000), np.arange(0x7E80, 0x7F80), np.arange(0x0040, 0x0100)])
    results = reciprocal(codes, BF16)
    for code, result in zip(codes.tolist(), results.tolist(), strict=True):
        if result > BF16.largest_code:
            assert 1 / Fraction(float(decode(code, BF16))) > BF16.maximum
            continue
        exact = 1 / Fraction(float(decode(code, BF16)))
        off = abs(Fraction(float(decode(result, BF16))) - exact)
        for other in {max(result - 1, 0), min(result + 1, BF16.largest_code)} - {result}:
            assert off < abs(Fraction(float(decode(other, BF16))) - exact)


def test_specials() -> None:
    codes = [0x0000, 0x8000, 0x7F80, 0xFF80, 0x7F81, 0xFFFF, 0x3F80, 0xC000, 0x0020, 0x0021, 0x7F00]
    # 2^-128 overflows, the next subnormal 33 * 2^-133 gives 0.97 * 2^128 = 0x7F78; 1/2^127 = 2^-127 is subnormal.
    wanted = [0x7F80, 0xFF80, 0x0000, 0x8000, 0x7FC0, 0x7FC0, 0x3F80, 0xBF00, 0x7F80, 0x7F78, 0x0040]
    assert reciprocal(codes, BF16).tolist() == wanted


def test_a_result_format_needs_nan() -> None:
    with pytest.raises(InputError) as caught:
        reciprocal([0], BF16, E2M1)
    assert caught.value.field == "result"
