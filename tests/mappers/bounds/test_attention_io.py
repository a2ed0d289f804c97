"""Traffic of attention against the size of the chip: two regimes, and schedules that follow the bound."""

from __future__ import annotations

import math

import pytest

from mappers.bounds import (
    attention_io_asymptote_words,
    attention_io_bound_words,
    attention_schedules,
    best_attention_schedule,
)
from workloads.errors import InputError

N, D = 4096, 64


def _slope(function: object, low: int, high: int) -> float:
    assert callable(function)
    return (math.log(function(high)) - math.log(function(low))) / (math.log(high) - math.log(low))


def test_slopes_of_the_asymptote() -> None:
    # Saha and Ye, ICML 2024: n^2 d^2 / S for S >= d^2, n^2 d / sqrt(S) below.
    def curve(words: int) -> float:
        return attention_io_asymptote_words(N, D, words)

    assert _slope(curve, D * D, 8 * D * D) == pytest.approx(-1.0, abs=1e-12)
    assert _slope(curve, 4, D * D - 1) == pytest.approx(-0.5, abs=1e-12)
    assert curve(D * D) == N * N  # both forms meet: n^2 d^2 / d^2 = n^2 d / d


def test_slopes_of_the_bound_and_of_the_best_schedule() -> None:
    # Without the 2 n d of Q and O that are moved once anyway. Whole blocks make steps: 5 % and 10 % of the slope.
    def bound(words: int) -> float:
        return attention_io_bound_words(N, D, words) - 2 * N * D

    def schedule(words: int) -> float:
        return best_attention_schedule(N, D, words).words - 2 * N * D

    assert _slope(bound, D * D, 16 * D * D) == pytest.approx(-1.0, abs=0.05)
    assert _slope(bound, 16, D * D // 16) == pytest.approx(-0.5, abs=0.05)
    assert _slope(schedule, 4 * D * D, 32 * D * D) == pytest.approx(-1.0, abs=0.1)
    assert _slope(schedule, 64, D * D // 16) == pytest.approx(-0.5, abs=0.1)


@pytest.mark.parametrize("words", [2**exponent for exponent in range(4, 21)])
def test_schedules_lie_above_the_bound_and_near_it(words: int) -> None:
    bound = attention_io_bound_words(N, D, words)
    assert bound >= 4 * N * D
    for schedule in attention_schedules(N, D, words):
        assert schedule.words >= bound
    if words >= 64:  # below, the buffers beside a block are as large as the block
        assert best_attention_schedule(N, D, words).words <= 4 * bound


def test_large_chips_run_flash_attention_and_small_ones_do_not() -> None:
    assert best_attention_schedule(N, D, 16 * D * D).name == "query stationary"
    assert best_attention_schedule(N, D, D * D // 16).name != "query stationary"
    # Everything fits: Q, K, V and O once.
    assert best_attention_schedule(N, D, 4 * N * D).words == 4 * N * D


def test_nothing_fits() -> None:
    with pytest.raises(InputError, match="hold no block"):
        best_attention_schedule(N, D, 2)
    with pytest.raises(InputError, match="at least 1"):
        attention_io_asymptote_words(0, D, 16)
