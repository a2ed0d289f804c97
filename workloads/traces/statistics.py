"""What a request trace is like: rates, burstiness, lengths, correlation, prefixes that are shared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError
from workloads.traces.requests import RequestTrace

__all__ = [
    "ArrivalStatistics",
    "LengthStatistics",
    "PrefixStatistics",
    "TraceStatistics",
    "arrival_statistics",
    "dispersion",
    "infinite_cache_hits",
    "length_statistics",
    "pearson",
    "prefix_statistics",
    "spearman",
    "spread_bins",
    "trace_statistics",
]


@dataclass(frozen=True)
class ArrivalStatistics:
    """Arrivals: ``rate_per_s`` is gaps over the time they take; ``gap_cv`` the deviation of gaps over their mean.

    ``dispersion_1_s`` and ``dispersion_60_s`` are the variance over the mean of counts in windows of that length: 1
    for a Poisson process. NaN where the trace is too short for two whole windows.
    """

    rate_per_s: float
    gap_cv: float
    dispersion_1_s: float
    dispersion_60_s: float
    longest_gap_s: float
    most_in_1_s: int


@dataclass(frozen=True)
class LengthStatistics:
    """Tokens of prompts or of answers; percentiles interpolate between neighbours. ``ln_mean``, ``ln_sd``: of logs."""

    mean: float
    p50: float
    p90: float
    p99: float
    largest: int
    ln_mean: float
    ln_sd: float


@dataclass(frozen=True)
class PrefixStatistics:
    """Blocks of all prompts, how many differ, and the part that a cache without bounds has when a request arrives."""

    blocks: int
    distinct: int
    hit_rate: float


@dataclass(frozen=True)
class TraceStatistics:
    """All of a trace. ``arrivals`` is None without arrivals, ``prefixes`` without known blocks."""

    requests: int
    arrivals: ArrivalStatistics | None
    prompt: LengthStatistics
    output: LengthStatistics
    length_pearson: float
    length_spearman: float
    prefixes: PrefixStatistics | None


def trace_statistics(trace: RequestTrace) -> TraceStatistics:
    """The statistics of ``trace``."""
    return TraceStatistics(
        requests=len(trace),
        arrivals=arrival_statistics(trace.arrival_s) if trace.arrival_s[-1] > trace.arrival_s[0] else None,
        prompt=length_statistics(trace.prompt_tokens),
        output=length_statistics(trace.output_tokens),
        length_pearson=pearson(trace.prompt_tokens, trace.output_tokens),
        length_spearman=spearman(trace.prompt_tokens, trace.output_tokens),
        prefixes=None if trace.blocks is None else prefix_statistics(trace.blocks),
    )


def arrival_statistics(arrival_s: NDArray[np.float64]) -> ArrivalStatistics:
    """Of arrivals that do not fall and do not all coincide."""
    gaps_s = np.diff(arrival_s)
    counts, _ = _window_counts(arrival_s, 1.0)
    return ArrivalStatistics(
        rate_per_s=float(len(gaps_s) / gaps_s.sum()),
        gap_cv=float(gaps_s.std() / gaps_s.mean()),
        dispersion_1_s=dispersion(arrival_s, 1.0),
        dispersion_60_s=dispersion(arrival_s, 60.0),
        longest_gap_s=float(gaps_s.max()),
        most_in_1_s=int(counts.max()) if len(counts) else len(arrival_s),
    )


def dispersion(arrival_s: NDArray[np.float64], window_s: float, *, whole: bool = True) -> float:
    """Variance over mean of the arrivals in windows from the first on; NaN with fewer than two of them.

    The last window, which the trace does not fill, is left out: it looks like a lull. Some published counts have it
    (``whole`` false).
    """
    counts, windows = _window_counts(arrival_s, window_s, whole=whole)
    if windows < 2 or not len(counts):
        return float("nan")
    mean = float(counts.sum()) / windows
    squares = float(((counts - mean) ** 2).sum()) + (windows - len(counts)) * mean**2
    return squares / windows / mean


def _window_counts(
    arrival_s: NDArray[np.float64], window_s: float, *, whole: bool = True
) -> tuple[NDArray[np.int64], int]:
    """Arrivals in the windows that have any, and how many windows there are: all but a few may be empty."""
    since_s = arrival_s - arrival_s[0]
    windows = int(since_s[-1] // window_s) + (not whole)
    inside = (since_s[since_s < windows * window_s] / window_s).astype(np.int64)
    _, counts = np.unique(inside[inside < windows], return_counts=True)
    return counts.astype(np.int64), windows


def length_statistics(tokens: NDArray[np.int64]) -> LengthStatistics:
    """Of one column of token counts, 1 at least each."""
    p50, p90, p99 = np.percentile(tokens, [50, 90, 99]).tolist()
    logs = np.log(tokens)
    return LengthStatistics(
        float(tokens.mean()), p50, p90, p99, int(tokens.max()), float(logs.mean()), float(logs.std())
    )


def pearson(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Linear correlation; 0 where a column does not vary."""
    x, y = (np.asarray(column, np.float64) for column in (first, second))
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / scale) if scale > 0 else 0.0


def spearman(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Correlation of ranks, equal values sharing the mean of their ranks."""
    return pearson(_ranks(first), _ranks(second))


def _ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: NDArray[np.float64] = (2 * last - counts - 1) / 2
    return means[inverse]


def infinite_cache_hits(blocks: Iterable[Sequence[int]]) -> NDArray[np.int64]:
    """For each prompt, how many of its leading blocks were in prompts before it."""
    seen: set[int] = set()
    hits = []
    for ids in blocks:
        hits.append(next((index for index, block in enumerate(ids) if block not in seen), len(ids)))
        seen.update(ids)
    return np.array(hits, np.int64)


def prefix_statistics(blocks: Sequence[Sequence[int]]) -> PrefixStatistics:
    """Of the prompts' blocks. Raises `InputError` where no prompt has any."""
    total = sum(map(len, blocks))
    if not total:
        raise InputError("prompts without blocks", "at least one block", "blocks")
    distinct = len({block for ids in blocks for block in ids})
    return PrefixStatistics(total, distinct, float(infinite_cache_hits(blocks).sum() / total))


def spread_bins(trace: RequestTrace, seed: int) -> RequestTrace:
    """``trace`` with arrivals that coincide spread evenly at random up to the next later arrival.

    For traces whose clock has coarse ticks. The bin of the last arrival is as wide as the median of the others; the
    order within a bin stays that of the file. The first arrival becomes 0 again. A trace that arrives all at once, or
    whose arrivals all differ, stays as it is.
    """
    ticks_s, bins = np.unique(trace.arrival_s, return_inverse=True)
    if len(ticks_s) in (1, len(trace)):
        return trace
    widths_s = np.diff(ticks_s)
    widths_s = np.append(widths_s, np.median(widths_s))
    at_s = ticks_s[bins] + widths_s[bins] * np.random.default_rng(seed).random(len(trace))
    at_s.sort()  # bins do not overlap: each keeps its requests
    return replace(trace, arrival_s=at_s - at_s[0])
