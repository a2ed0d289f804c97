"""Integer attention: by hand, against float64 softmax attention within the derived bound, and how near it really is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.formats.arith.integer_attention import (
    AttentionNumerics,
    integer_attention,
    integer_attention_bound,
    real_attention,
    requantised,
    weight_table,
)


def test_by_hand() -> None:
    # Scores are q.k / 2 rounded half up: 3, 8, 8 (of 6, 16, 15); octaves of 4 steps: 0, 2, 2 and places 3, 0, 0.
    # Table of 4 bits: 8, 8 * 2^.25 = 9.5 -> 10, 11.3 -> 11, 13.45 -> 13.
    numerics = AttentionNumerics(
        width=8, fraction=2, weight=4, length=4, multiplier=1, shift=1, output_multiplier=1, output_shift=0
    )
    assert weight_table(numerics) == (8, 10, 11, 13)
    # Weights 13, then 8 and 8 after a rise of 2: sum (13 >> 2) + 16 = 19; accumulator (13 * 7 >> 2) + 8 * 20 - 8 * 50
    # = 22 - 240 = -218. Digits 8 + 3 + 2: reciprocal 8 * 2^13 / 19 = 3449; -218 * 3449 / 2^16 = -11.47 -> -11.
    assert numerics.digits == 13
    assert integer_attention([1], [[6], [16], [15]], [[7], [20], [-50]], numerics).tolist() == [-11]


def test_requantising_rounds_half_up_and_clips() -> None:
    values = np.array([-3, -2, -1, 0, 1, 2, 3, 1000, -1000])
    assert requantised(values, 1, 1, 8).tolist() == [-1, -1, 0, 0, 1, 1, 2, 127, -128]


def test_one_position_returns_its_value() -> None:
    numerics = AttentionNumerics(output_multiplier=1, output_shift=0)
    value = np.arange(-128, 128)
    q = k = np.zeros(256)
    # Whatever its weight, a value over it is itself: the cut of the reciprocal is below 1/8 step.
    assert integer_attention(q, k[None], value[None], numerics).tolist() == value.tolist()


def test_equal_keys_average() -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(-128, 128, (64, 16))
    numerics = AttentionNumerics(output_multiplier=1, output_shift=0)
    found = integer_attention(np.ones(16), np.ones((64, 16)), values, numerics)
    assert np.abs(found - values.mean(axis=0)).max() <= 0.5 + 1 / 8


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 64), st.integers(0, 5), st.sampled_from([6, 8, 12, 16]))
def test_lies_within_derived_bound(seed: int, positions: int, fraction: int, weight: int) -> None:
    if weight < fraction + 2:
        weight = fraction + 2
    rng = np.random.default_rng(seed)
    numerics = AttentionNumerics(fraction=fraction, weight=weight)
    q, k, v = (
        rng.integers(-128, 128, 16),
        rng.integers(-128, 128, (positions, 16)),
        rng.integers(-128, 128, (positions, 16)),
    )
    k = (k * rng.choice([0.1, 0.5, 1.0])).astype(int)
    if rng.random() < 0.3:
        k = k[np.argsort(k @ q)]  # the reference rises as often as it can
    error = np.abs(integer_attention(q, k, v, numerics) - real_attention(q, k, v, numerics)[0])
    assert (error <= integer_attention_bound(q, k, v, numerics)).all()


@pytest.mark.parametrize(
    ("positions", "weight", "most"),
    # Steps of the output (of 255), which is scaled by 1.41; half a step of it is the output's own rounding.
    [(1, 12, 0.6), (16, 12, 4.0), (64, 12, 2.5), (64, 8, 8.0)],
)
def test_error_against_float64(positions: int, weight: int, most: float) -> None:
    """Measured 0.50, 2.2, 1.7 and 5.0, where the bounds allow 0.67, 7.8, 11 and 87."""
    rng = np.random.default_rng(1)
    numerics = AttentionNumerics(weight=weight)
    worst = 0.0
    for _ in range(200):
        q = rng.integers(-128, 128, 16)
        k, v = rng.integers(-128, 128, (positions, 16)), rng.integers(-128, 128, (positions, 16))
        error = np.abs(integer_attention(q, k, v, numerics) - real_attention(q, k, v, numerics)[0])
        bound = integer_attention_bound(q, k, v, numerics)
        assert (error <= bound).all()
        worst = max(worst, error.max())
    assert worst < most


def test_many_small_rises_do_not_drift() -> None:
    """Scores that rise one step at a time: 64 rises of 1/16 octave. Were each rounded to a whole octave (to none),
    the first position would keep its weight of 1 where it should have 2^-4."""
    numerics = AttentionNumerics(fraction=4, multiplier=1, shift=1, output_multiplier=1, output_shift=0)
    k, q = 2 * np.arange(64)[:, None], np.array([1])
    v = np.where(np.arange(64) < 16, 100, -100)[:, None]
    real = real_attention(q, k, v, numerics)[0]
    assert abs(integer_attention(q, k, v, numerics) - real)[0] < 1.0
