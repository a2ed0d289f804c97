"""exp in number formats against float64's exp: exhaustively where codes are few, and at the edges by hand."""

from __future__ import annotations

import numpy as np
import pytest

from workloads.errors import InputError
from workloads.formats.arith.exponential import exponential, exponential_error, exponential_plan
from workloads.formats.golden.arrays import Floats, Integers
from workloads.formats.golden.floats import BF16, E2M1, E4M3, E5M2, FP16, FP32, FloatFormat, decode, encode, steps


def errors_in_steps(codes: Integers, source: FloatFormat, result: FloatFormat) -> tuple[Floats, Floats]:
    """|given - exp x| in steps of ``result``, and what of them the bound leaves to the rounding, for finite results."""
    x = decode(codes, source)
    given = decode(exponential(codes, source, result), result)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = np.exp(x)
        finite = np.isfinite(given) & np.isfinite(exact) & (exact < result.maximum)
        step = steps(exact[finite], result)
        error = np.abs(given - exact)[finite]
        return error / step, (error - exponential_error(result) * exact[finite]) / step


@pytest.mark.parametrize(
    ("source", "result", "most"),
    # A miss of the nearest number costs more than half a step: by at most 0.02, as the tables were planned.
    [(BF16, BF16, 0.52), (FP16, FP16, 0.52), (FP16, BF16, 0.52), (E4M3, E4M3, 0.52), (E5M2, E5M2, 0.52)],
)
def test_error_over_all_codes(source: FloatFormat, result: FloatFormat, most: float) -> None:
    error, beyond_bound = errors_in_steps(np.arange(1 << source.bits), source, result)
    assert error.max() < most
    assert beyond_bound.max() <= 0.5


def test_bfloat16_is_within_one_unit_of_the_rounded_exponential() -> None:
    codes = np.arange(1 << 16)
    x = decode(codes, BF16)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = encode(np.exp(x), BF16)
    given = exponential(codes, BF16, BF16)
    assert np.array_equal(np.isnan(x), given == BF16.nan_code)
    assert np.abs(given - wanted)[~np.isnan(x)].max() == 1
    # 32 codes of 65,536 lie so near a midpoint that they round to its other side (measured).
    assert (given != wanted)[~np.isnan(x)].sum() < 64


@pytest.mark.parametrize("result", [FP32, BF16])
def test_error_from_single_precision(result: FloatFormat) -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.uniform(-104, 89, 300_000), rng.uniform(-1, 1, 100_000) * 2.0 ** rng.integers(-30, 0)])
    error, beyond_bound = errors_in_steps(encode(values, FP32), FP32, result)
    assert error.max() < 1.0  # one of the two neighbours
    assert beyond_bound.max() <= 0.5


def test_bounds_are_as_stated() -> None:
    # Chord over 1/32 of an octave: (ln2/32)^2/8 = 5.9e-5; bound with cuts and table below twice that.
    assert (np.log(2) / 32) ** 2 / 8 < exponential_error(BF16) < 2 * (np.log(2) / 32) ** 2 / 8
    assert exponential_error(FP32) < 2.0**-25
    plan = exponential_plan(BF16)
    assert len(plan.starts) == 32
    assert (plan.starts[0], plan.starts[16]) == (65536, 92682)  # 2^16 and 2^16.5


def test_specials_and_edges() -> None:
    # ln(largest bfloat16) = 88.7189; the largest code below is 88.5. ln 2^-134 = -92.88: below it all is zero.
    x = encode([0.0, -0.0, np.inf, -np.inf, 88.5, 89.0, -92.5, -93.0, 3e38, -3e38, 1e-38], BF16)
    y = decode(exponential(x, BF16, BF16), BF16)
    assert y[[0, 1, 2, 3]].tolist() == [1.0, 1.0, np.inf, 0.0]
    assert y[[5, 6, 7, 8, 9, 10]].tolist() == [np.inf, 2.0**-133, 0.0, np.inf, 0.0, 1.0]
    assert abs(y[4] / np.exp(88.5) - 1) < 2.0**-8
    assert exponential([0x7F81, 0xFFFF], BF16, BF16).tolist() == [0x7FC0, 0x7FC0]
    assert exponential(encode(500.0, FP32), FP32, E4M3) == E4M3.nan_code  # no infinity to overflow to


@pytest.mark.parametrize("fmt", [BF16, FP16, E5M2])
def test_with_chords_the_exponential_is_monotonic(fmt: FloatFormat) -> None:
    codes = np.arange(1 << fmt.bits)
    x = decode(codes, fmt)
    order = np.argsort(x[np.isfinite(x)], kind="stable")
    y = decode(exponential(codes, fmt, fmt), fmt)[np.isfinite(x)][order]
    assert (y[1:] >= y[:-1]).all()


def test_a_result_format_needs_nan() -> None:
    with pytest.raises(InputError) as caught:
        exponential([0], BF16, E2M1)
    assert caught.value.field == "result"
