"""Arrival processes fitted to a trace: a Gamma renewal process, and a doubly stochastic one that is bursty on scales.

The bursty process is Poisson at a rate that is drawn anew from time to time: periods last exponentially long,
``memory_s`` in the mean; in each, the rate is ``rate_per_s`` times a factor G of mean 1 and variance ``variance`` that
is 0 with probability ``silent`` and Gamma distributed otherwise. Its closed forms (R = rate, v = variance, m = memory):

- dispersion of counts in windows T:  1 + 2 R v m (1 - m/T (1 - exp(-T/m))), from the covariance v exp(-t/m) of rates;
- squared CV of gaps:  2 R A / (1 - A/m) - 1, with A the mean of 1/(1/m + R G): the mean wait for the next arrival
  renews with each period.

Two dispersions set v and m, the CV sets ``silent`` as far as it can.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from workloads.errors import InputError
from workloads.traces.statistics import ArrivalStatistics

__all__ = ["Arrivals", "BurstyArrivals", "GammaArrivals", "fit_bursty", "fit_gamma"]

_LONGEST_MEMORY_S = 600.0
_SHORTEST_MEMORY_S = 0.1
"""Where the two dispersions leave the memory open: the trace's windows of 1 and 60 s say nothing beyond."""

_MOST_PERIODS = 2e7
"""More periods than that are not drawn: they take gigabytes."""

Rate = Annotated[float, Field(gt=0, le=1e9)]


class GammaArrivals(BaseModel):
    """Independent gaps, Gamma distributed, of mean 1 / ``rate_per_s`` and deviation ``gap_cv`` times the mean."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["gamma"] = "gamma"
    rate_per_s: Rate
    gap_cv: float = Field(ge=0, le=1e3)

    def draw(self, requests: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Arrivals in s, the first at 0."""
        if self.gap_cv == 0:
            return np.arange(requests) / self.rate_per_s
        shape = self.gap_cv**-2
        gaps_s = rng.gamma(shape, 1 / (shape * self.rate_per_s), requests)
        gaps_s[0] = 0.0
        return np.cumsum(gaps_s)


class BurstyArrivals(BaseModel):
    """The doubly stochastic process of this module."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["bursty"] = "bursty"
    rate_per_s: Rate
    variance: float = Field(ge=0, le=1e6)
    memory_s: float = Field(gt=0, le=1e6)
    silent: float = Field(0.0, ge=0, lt=1)

    def dispersion(self, window_s: float) -> float:
        """Variance over mean of the counts in windows, by the closed form."""
        return 1 + 2 * self.rate_per_s * self.variance * self.memory_s * _growth(window_s / self.memory_s)

    def gap_cv(self) -> float:
        """Deviation over mean of the gaps, by the closed form."""
        if self.variance == 0:
            return 1.0
        # The mean of 1 / (1 + m R G) over the Gamma distribution of scale s and shape k is the integral from 0 of
        # exp(-x) (1 + m R s x)^-k; with x = exp(u) it falls off fast at both ends, where sums are as good as integrals.
        shape, scale = self._gamma()
        slope = self.memory_s * self.rate_per_s * scale
        u = np.arange(-40 - max(math.log(slope), 0.0), 5, 0.05)
        inverse = float(np.sum(np.exp(u - np.exp(u) - shape * np.log1p(slope * np.exp(u)))) * 0.05)
        waited = self.silent + (1 - self.silent) * inverse  # A/m of the module's formula
        return math.sqrt(max(2 * self.rate_per_s * self.memory_s * waited / (1 - waited) - 1, 0.0))

    def draw(self, requests: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Arrivals in s, the first at 0. Raises `InputError` where most of too many periods would have none."""
        most = requests / (_MOST_PERIODS * self.memory_s)
        if self.rate_per_s < most:
            problem = f"{requests} requests at {self.rate_per_s:g}/s in bursts of {self.memory_s:g} s"
            raise InputError(problem, f"a rate of at least {most:.2g} requests/s, or Gamma arrivals", "rate")
        parts: list[NDArray[np.float64]] = []
        start_s, found = 0.0, 0
        while found < requests:
            expected = (requests - found) / (self.rate_per_s * self.memory_s)
            periods = int(1.2 * expected + 4 * math.sqrt(expected * (1 + self.variance))) + 16
            lengths_s = rng.exponential(self.memory_s, periods)
            starts_s = start_s + np.cumsum(lengths_s) - lengths_s
            counts = rng.poisson(self.rate_per_s * self._factors(periods, rng) * lengths_s)
            at_s = np.repeat(starts_s, counts) + np.repeat(lengths_s, counts) * rng.random(int(counts.sum()))
            parts.append(np.sort(at_s))
            start_s, found = float(starts_s[-1] + lengths_s[-1]), found + len(at_s)
        arrivals_s = np.concatenate(parts)[:requests]
        since_s: NDArray[np.float64] = arrivals_s - arrivals_s[0]
        return since_s

    def _factors(self, periods: int, rng: np.random.Generator) -> NDArray[np.float64]:
        if self.variance == 0:
            return np.ones(periods)
        shape, scale = self._gamma()
        return np.where(rng.random(periods) < self.silent, 0.0, rng.gamma(shape, scale, periods))

    def _gamma(self) -> tuple[float, float]:
        """Shape and scale of the factor where it is not 0: mean 1 / (1 - p), mean square (1 + v) / (1 - p)."""
        mean = 1 / (1 - self.silent)
        variance = (1 + self.variance) * mean - mean**2
        return mean**2 / variance, variance / mean


Arrivals = Annotated[GammaArrivals | BurstyArrivals, Field(discriminator="kind")]


def fit_gamma(found: ArrivalStatistics) -> GammaArrivals:
    """The renewal process of the trace's rate and CV of gaps; its dispersion is CV squared in long windows."""
    return GammaArrivals(rate_per_s=_short(found.rate_per_s), gap_cv=_short(found.gap_cv))


def fit_bursty(found: ArrivalStatistics) -> BurstyArrivals:
    """The bursty process of the trace's rate, of its dispersions in 1 s and 60 s, and as near as it gets to its CV.

    One memory reaches ratios of the two dispersions' excess over 1 between 1 and 60; beyond, the memory is the shortest
    or longest that such windows tell (0.1 or 600 s) and the dispersion of 60 s is kept. Raises `InputError` for a
    trace shorter than two minutes.
    """
    short, long = found.dispersion_1_s - 1, found.dispersion_60_s - 1
    if math.isnan(long):
        raise InputError("arrivals of less than two minutes", "at least two windows of 60 s, or Gamma arrivals")
    if long <= 0:
        return BurstyArrivals(rate_per_s=_short(found.rate_per_s), variance=0.0, memory_s=1.0)
    memory_s = _memory_s(long / short if short > 0 else math.inf)
    variance = long / (2 * found.rate_per_s * memory_s * _growth(60 / memory_s))
    plain = BurstyArrivals(rate_per_s=_short(found.rate_per_s), variance=_short(variance), memory_s=_short(memory_s))
    return _with_silence(plain, found.gap_cv)


def _memory_s(ratio: float) -> float:
    """The memory at which excess dispersions of 60 s and 1 s have this ratio; it grows with the memory."""
    low, high = _SHORTEST_MEMORY_S, _LONGEST_MEMORY_S
    for _ in range(80):
        middle = math.sqrt(low * high)
        if _growth(60 / middle) / _growth(1 / middle) < ratio:
            low = middle
        else:
            high = middle
    return low if low == _LONGEST_MEMORY_S else high


def _with_silence(plain: BurstyArrivals, gap_cv: float) -> BurstyArrivals:
    """``plain`` with the share of silent periods that brings its CV of gaps nearest to ``gap_cv``."""
    most = 0.999 * plain.variance / (1 + plain.variance)  # all of the variance from silence
    shares = np.linspace(0, most, 65).tolist()
    made = [plain.model_copy(update={"silent": _short(share)}) for share in shares]
    return min(made, key=lambda process: abs(process.gap_cv() - gap_cv))


def _short(value: float) -> float:
    """Six digits: no trace says more, and the written model stays legible."""
    return float(f"{value:.6g}")


def _growth(windows: float) -> float:
    """1 - (1 - exp(-x)) / x: how much of the rate's variance a window of x memories sees, in units of 2 m / T."""
    return windows / 2 if windows < 1e-6 else 1 + math.expm1(-windows) / windows
