"""A trace at another rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from workloads.errors import InputError
from workloads.traces.requests import RequestTrace

__all__ = ["at_rate", "check_rate", "check_seed"]


def check_rate(rate_per_s: float) -> None:
    """Raises `InputError` for a rate that is not above 0, or so small or large that times of arrival lose meaning."""
    if not 1e-9 <= rate_per_s <= 1e9:
        raise InputError(f"found {rate_per_s:g}", "a rate above 0, from 1e-9 to 1e9 requests/s", "rate")


def check_seed(seed: int) -> None:
    """Raises `InputError` for a seed below 0."""
    if seed < 0:
        raise InputError(f"found {seed}", "a seed of 0 or more", "seed")


def at_rate(trace: RequestTrace, rate_per_s: float, seed: int = 0) -> RequestTrace:
    """``trace`` at ``rate_per_s`` requests per second in the mean.

    Arrivals are stretched or squeezed together, bursts and all; requests that arrive at once, as those of data sets
    without arrivals do, get the arrivals of a Poisson process by ``seed``, the first at 0. Raises `InputError` for a
    rate that is not above 0.
    """
    check_rate(rate_per_s)
    check_seed(seed)
    since_s = trace.arrival_s - trace.arrival_s[0]
    if not since_s[-1]:
        gaps_s = np.random.default_rng(seed).exponential(1 / rate_per_s, len(trace))
        gaps_s[0] = 0.0
        return replace(trace, arrival_s=np.cumsum(gaps_s))
    return replace(trace, arrival_s=since_s * ((len(trace) - 1) / float(since_s[-1]) / rate_per_s))
