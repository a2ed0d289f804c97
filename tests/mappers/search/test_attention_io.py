"""Attention's traffic against the size of the on-chip buffer, as the search finds it: two regimes.

Source: Saha and Ye, "The I/O complexity of attention, or how optimal is FlashAttention?", ICML 2024 (arXiv 2402.07443):
Theta(n^2 d^2 / S) for S >= d^2, Theta(n^2 d / sqrt(S)) below. In log-log: slope -1 and slope -1/2.

The slopes are fitted to what scales with S. The result (n d words) is written once for every S. Above d^2, Q (n d) is
read once too and what scales are the reads of K and V; with all words counted, that floor would flatten the curve: at
S = 10 d^2 and n = 4096 it is 6 % of them. Below d^2 all reads scale, and the n^2 scores that one product hands to the
other through memory are written once.
"""

from __future__ import annotations

import pytest

from benchmarks.attention_io import ABOVE, BELOW, WIDTH, N, Point, measure, slope


def _checked(point: Point) -> Point:
    assert point.gap <= 1e-9  # exhausted: the least of the map space, not a sample
    assert point.words >= point.bound
    return point


def test_below_d_squared_the_slope_is_minus_a_half() -> None:
    # A tile of B x B scores needs B or 2 B words beside it. Words go as 1 / B and S = B^2 + B or B^2 + 2 B, so the
    # slope is -(B + 1) / (2 B + 1) or -(B + 2) / (2 B + 2): from -0.51 to -0.58 for B from 22 down to 5.
    points = [_checked(measure(N, WIDTH, words, "imperfect")) for words in BELOW]
    assert slope(points) == pytest.approx(-0.5, abs=0.05)
    for point in points:
        # The closed form's tiles are in the map space; it reads the scores once more, for the maxima of their rows.
        assert point.words <= point.schedule
        assert point.words <= 1.2 * point.bound


def test_from_d_squared_on_the_slope_is_minus_one() -> None:
    # Divisors of 4096 are powers of two and so are the steps of S: whole tiles cost nothing, 0.02 is for rounding.
    points = [_checked(measure(N, WIDTH, words, "divisor")) for words in ABOVE[:2]]
    assert slope(points) == pytest.approx(-1.0, abs=0.02)
    for point in points:
        # B rows of Q and of the result fill the buffer: 2 n d / B passes of S = 2 B d words, n^2 d^2 4 / S in all.
        # Power-of-two tiles may leave up to half of it empty.
        ideal = 4 * N * N * WIDTH * WIDTH / point.buffer_words
        assert 0.99 * ideal <= point.scaling <= 2 * ideal


@pytest.mark.slow
def test_the_slope_stays_minus_one_up_to_ten_times_d_squared() -> None:
    points = [_checked(measure(N, WIDTH, words, "divisor")) for words in ABOVE]
    assert slope(points) == pytest.approx(-1.0, abs=0.02)
    assert all(point.words <= 1.25 * point.schedule for point in points)  # the quarter that its tiles do not fill
