"""Arrival processes: closed forms in their limits, a slow event-by-event twin, and fits that return what they were
given."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.traces.generator_arrivals import BurstyArrivals, GammaArrivals, fit_bursty, fit_gamma
from workloads.traces.statistics import ArrivalStatistics, arrival_statistics, dispersion

# The Azure code trace's statistics, as its own test has them.
CODE = ArrivalStatistics(2.566, 13.15, 13.19, 164.0, 217.2, 67)


def test_dispersion_in_its_limits() -> None:
    """Windows much shorter than a period see one rate: 1 + R v T; much longer ones forget: 1 + 2 R v m."""
    process = BurstyArrivals(rate_per_s=5, variance=2, memory_s=10)
    assert process.dispersion(1e-4) == pytest.approx(1 + 5 * 2 * 1e-4, rel=1e-6)
    assert process.dispersion(1e9) == pytest.approx(1 + 2 * 5 * 2 * 10, rel=1e-6)


def test_gaps_in_their_limits() -> None:
    """No variance: Poisson. Short periods average out to Poisson. Rates that last for ever, Gamma of shape k: gaps are
    the mixture of exponentials of CV squared 2 E[G] E[1/G] - 1, E[1/G] = k / (k - 1)."""
    assert BurstyArrivals(rate_per_s=5, variance=0, memory_s=1).gap_cv() == 1
    assert BurstyArrivals(rate_per_s=5, variance=3, memory_s=1e-6).gap_cv() == pytest.approx(1, abs=1e-3)
    shape = 4.0
    frozen = BurstyArrivals(rate_per_s=5, variance=1 / shape, memory_s=1e6)
    assert frozen.gap_cv() == pytest.approx(math.sqrt(2 * shape / (shape - 1) - 1), rel=1e-4)


def test_on_and_off_by_hand() -> None:
    """Half of the periods silent, the others at twice the rate (v = 1), R = m = 1: 1/m + R G is 1 or 3.

    A = (1 + 1/3) / 2 = 2/3; CV squared 2 (2/3) / (1 - 2/3) - 1 = 3.
    """
    process = BurstyArrivals(rate_per_s=1, variance=1, memory_s=1, silent=0.4999999)
    assert process.gap_cv() == pytest.approx(math.sqrt(3), rel=1e-4)


def event_by_event(process: BurstyArrivals, requests: int, rng: np.random.Generator) -> list[float]:
    """The slow twin: the next of two clocks, the arrival's and the end of the period's, rings."""
    mean = 1 / (1 - process.silent)
    variance = (1 + process.variance) * mean - mean**2
    now, rate = 0.0, 0.0
    found: list[float] = []
    renew = True
    while len(found) < requests:
        if renew:
            factor = 0.0 if rng.random() < process.silent else rng.gamma(mean**2 / variance, variance / mean)
            rate = process.rate_per_s * factor
        to_end = rng.exponential(process.memory_s)  # without memory: it may be drawn anew at each event
        to_next = rng.exponential(1 / rate) if rate > 0 else math.inf
        renew = to_end < to_next
        now += min(to_end, to_next)
        if not renew:
            found.append(now)
    return found


@pytest.mark.parametrize("silent", [0.0, 0.3])
def test_draws_are_as_those_of_the_twin_and_of_the_closed_forms(silent: float) -> None:
    """60,000 gaps in 6,000 s, 2,000 periods: the dispersion in 600 windows of 10 s has a sampling error of 6 %."""
    process = BurstyArrivals(rate_per_s=10, variance=0.8, memory_s=3, silent=silent)
    fast = process.draw(60_000, np.random.default_rng(5))
    slow = np.array(event_by_event(process, 60_000, np.random.default_rng(6)))
    for arrivals in (fast, slow):
        found = arrival_statistics(arrivals)
        assert found.rate_per_s == pytest.approx(10, rel=0.06)
        assert found.gap_cv == pytest.approx(process.gap_cv(), rel=0.1)
        assert found.dispersion_1_s == pytest.approx(process.dispersion(1), rel=0.1)
        assert dispersion(arrivals, 10.0) == pytest.approx(process.dispersion(10), rel=0.18)


def test_a_metronome() -> None:
    assert GammaArrivals(rate_per_s=4, gap_cv=0).draw(3, np.random.default_rng(0)).tolist() == [0, 0.25, 0.5]


def test_gamma_gaps() -> None:
    """A renewal process's dispersion goes to the square of its CV."""
    found = arrival_statistics(fit_gamma(replace(CODE, gap_cv=2.0)).draw(200_000, np.random.default_rng(1)))
    assert found.rate_per_s == pytest.approx(2.566, rel=0.02)
    assert found.gap_cv == pytest.approx(2, rel=0.02)
    assert found.dispersion_60_s == pytest.approx(4, rel=0.1)


def test_the_code_trace_has_all_four_statistics() -> None:
    """Rate and dispersions exactly; the CV, which only silence explains, within 2 %."""
    process = fit_bursty(CODE)
    assert process.dispersion(1) == pytest.approx(CODE.dispersion_1_s, rel=1e-4)
    assert process.dispersion(60) == pytest.approx(CODE.dispersion_60_s, rel=1e-4)
    assert process.gap_cv() == pytest.approx(CODE.gap_cv, rel=0.02)
    drawn = arrival_statistics(process.draw(400_000, np.random.default_rng(3)))
    assert drawn.rate_per_s == pytest.approx(CODE.rate_per_s, rel=0.05)
    assert drawn.dispersion_1_s == pytest.approx(CODE.dispersion_1_s, rel=0.05)
    assert drawn.dispersion_60_s == pytest.approx(CODE.dispersion_60_s, rel=0.1)
    assert drawn.gap_cv == pytest.approx(CODE.gap_cv, rel=0.1)


@given(rate=st.floats(0.1, 100), short=st.floats(0.01, 20), ratio=st.floats(2, 50))
def test_fits_return_the_dispersions_they_were_given(rate: float, short: float, ratio: float) -> None:
    found = ArrivalStatistics(rate, 1.5, 1 + short, 1 + short * ratio, 1, 1)
    process = fit_bursty(found)
    assert process.dispersion(1) - 1 == pytest.approx(short, rel=1e-3)
    assert process.dispersion(60) - 1 == pytest.approx(short * ratio, rel=1e-3)


@pytest.mark.parametrize(("short", "long"), [(0.9, 5.0), (1.01, 500.0), (30.0, 20.0)])
def test_beyond_one_memory_the_minute_is_kept(short: float, long: float) -> None:
    process = fit_bursty(replace(CODE, dispersion_1_s=short, dispersion_60_s=long))
    assert process.dispersion(60) == pytest.approx(long, rel=1e-4)
    assert 0.1 <= process.memory_s <= 600


def test_regular_arrivals_become_poisson() -> None:
    assert fit_bursty(replace(CODE, dispersion_1_s=0.2, dispersion_60_s=0.5)).variance == 0


def test_too_short_a_trace() -> None:
    with pytest.raises(InputError, match="arrivals of less than two minutes"):
        fit_bursty(replace(CODE, dispersion_60_s=math.nan))


@pytest.mark.parametrize("process", [GammaArrivals(rate_per_s=3, gap_cv=2), fit_bursty(CODE)], ids=["gamma", "bursty"])
@pytest.mark.parametrize("requests", [1, 2, 1000])
def test_draws_begin_at_0_and_do_not_fall(process: GammaArrivals | BurstyArrivals, requests: int) -> None:
    drawn = process.draw(requests, np.random.default_rng(0))
    assert len(drawn) == requests
    assert drawn[0] == 0
    assert np.all(np.diff(drawn) >= 0)
