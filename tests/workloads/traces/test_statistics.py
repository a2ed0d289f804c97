"""Statistics by hand, against slow twins, and of the public traces against published counts of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference_data import reference_file
from workloads.errors import InputError
from workloads.traces.readers import read_requests
from workloads.traces.requests import RequestTrace
from workloads.traces.statistics import (
    arrival_statistics,
    dispersion,
    infinite_cache_hits,
    length_statistics,
    pearson,
    prefix_statistics,
    spearman,
    spread_bins,
    trace_statistics,
)

CODE = "traces/AzureLLMInferenceTrace_code.csv"
CONVERSATION = "traces/AzureLLMInferenceTrace_conv.csv"
MOONCAKE = "traces/mooncake_conversation_trace.jsonl.gz"


def trace_of(arrivals: list[float], tokens: list[int] | None = None) -> RequestTrace:
    lengths = np.array(tokens or [1] * len(arrivals))
    return RequestTrace("made", np.array(arrivals, np.float64), lengths, lengths)


def test_arrivals_by_hand() -> None:
    """Gaps 1, 1, 2, 4: mean 2, variance 1.5; counts in 1 s 1, 1, 1, 0, 1, 0, 0, 0 of mean and variance 1/2, 1/4."""
    found = arrival_statistics(np.array([3.0, 4, 5, 7, 11]))
    assert found.rate_per_s == 0.5
    assert found.gap_cv == pytest.approx(math.sqrt(1.5) / 2)
    assert found.dispersion_1_s == pytest.approx(0.5)
    assert math.isnan(found.dispersion_60_s)
    assert (found.longest_gap_s, found.most_in_1_s) == (4.0, 1)


def test_a_window_that_is_not_filled_does_not_count() -> None:
    """Windows of 2 s hold 2, 4 and, for half of its time, 1: mean 3 and variance 1 of the first two."""
    arrivals = np.array([0, 1, 2, 2.5, 3, 3.5, 4, 5.0])
    assert dispersion(arrivals[:-1], 2.0) == pytest.approx(1 / 3)
    assert dispersion(arrivals[:-1], 2.0, whole=False) == pytest.approx(np.var([2, 4, 1]) / np.mean([2, 4, 1]))


def test_a_metronome_has_no_dispersion() -> None:
    found = arrival_statistics(np.arange(1000) / 4)
    assert (found.gap_cv, found.dispersion_1_s, found.dispersion_60_s) == pytest.approx((0, 0, 0))


def test_lengths_by_hand() -> None:
    found = length_statistics(np.array([1, 10, 100, 1000]))
    assert (found.mean, found.p50, found.largest) == (277.75, 55, 1000)
    assert (found.ln_mean, found.ln_sd) == pytest.approx((1.5 * math.log(10), math.sqrt(1.25) * math.log(10)))


def test_correlations_by_hand() -> None:
    """Ranks of (1, 2, 2, 4) are 0, 1.5, 1.5, 3; against 0..3 their products' mean is 17/4 - 9/4 over sd."""
    first, second = np.array([1, 2, 2, 100]), np.array([1, 2, 3, 4])
    ranks = np.array([0, 1.5, 1.5, 3])
    expected = np.corrcoef(ranks, np.arange(4))[0, 1]
    assert spearman(first, second) == pytest.approx(expected)
    assert pearson(first, second) == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert pearson(np.ones(4), second) == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=20))
def test_ranks_do_not_care_for_scale(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    assert spearman(first, second) == pytest.approx(spearman(first**3, 7 * second + 1), abs=1e-9)
    assert -1 - 1e-9 <= spearman(first, second) <= 1 + 1e-9


def test_hits_by_hand() -> None:
    """The third shares two blocks; the fourth begins anew, so that block 1, though known, is behind a miss."""
    blocks = [[0, 1, 2], [3], [0, 1, 4], [5, 1], [0, 1, 2]]
    assert infinite_cache_hits(blocks).tolist() == [0, 0, 2, 0, 3]
    found = prefix_statistics(blocks)
    assert (found.blocks, found.distinct) == (12, 6)
    assert found.hit_rate == pytest.approx(5 / 12)


def test_prompts_without_blocks() -> None:
    with pytest.raises(InputError, match="prompts without blocks"):
        prefix_statistics([[], []])


def test_no_arrivals_no_rate() -> None:
    found = trace_statistics(trace_of([0, 0, 0], [5, 6, 7]))
    assert found.arrivals is None
    assert found.prefixes is None


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.integers(0, 5))
def test_spreading_keeps_bins_and_order(ticks: list[int], seed: int) -> None:
    ticks = sorted(ticks)
    before = trace_of([3.0 * (tick - ticks[0]) for tick in ticks], list(range(1, len(ticks) + 1)))
    after = spread_bins(before, seed)
    assert after.prompt_tokens.tolist() == before.prompt_tokens.tolist()
    assert after.arrival_s[0] == 0
    if len(set(ticks)) in (1, len(ticks)):
        assert after is before
        return
    # Differences between requests of bins a and b lie within one bin's width of those between the bins.
    widths = np.diff(np.unique(before.arrival_s))
    assert np.all(np.abs(after.arrival_s - before.arrival_s) <= max(widths))
    assert spread_bins(before, seed).arrival_s.tolist() == after.arrival_s.tolist()


# Counts of the public files: requests, rate, CV, dispersion at 1 s and at 60 s, the last with the windows not filled,
# then mean, p50, p90, p99 and the largest of prompts and of answers, to the digits given.
PUBLISHED = [
    (CODE, 8819, 2.57, 13.15, 13.2, 160.5, (2048, 1469, 5188, 7436, 7437), (28, 13, 55, 251, 1899)),
    (CONVERSATION, 19_366, 5.53, 1.09, 1.4, 20.55, (1155, 1020, 2734, 4142, 14_050), (211, 129, 424, 601, 1000)),
    (MOONCAKE, 12_031, 3.40, 3.03, 7.9, 2.85, (12_035, 6909, 27_367, 85_400, 126_195), (343, 350, 597, 1119, 2000)),
]


@pytest.mark.parametrize("row", PUBLISHED, ids=["code", "conversation", "mooncake"])
def test_the_public_traces(row: tuple[str, int, float, float, float, float, tuple[int, ...], tuple[int, ...]]) -> None:
    name, requests, rate, cv, short, long, prompts, answers = row
    trace = read_requests(reference_file(name))
    found = trace_statistics(trace)
    assert found.requests == requests
    assert found.arrivals is not None
    assert found.arrivals.rate_per_s == pytest.approx(rate, abs=0.005)
    assert found.arrivals.gap_cv == pytest.approx(cv, abs=0.006)
    assert found.arrivals.dispersion_1_s == pytest.approx(short, abs=0.05)
    assert dispersion(trace.arrival_s, 60.0, whole=False) == pytest.approx(long, abs=0.06)
    for lengths, expected in ((found.prompt, prompts), (found.output, answers)):
        values = (lengths.mean, lengths.p50, lengths.p90, lengths.p99, lengths.largest)
        assert values == pytest.approx(expected, abs=0.51)


def test_moments_and_correlations_of_azure() -> None:
    code, conversation = (trace_statistics(read_requests(reference_file(name))) for name in (CODE, CONVERSATION))
    logs = [(each.ln_mean, each.ln_sd) for found in (code, conversation) for each in (found.prompt, found.output)]
    assert np.ravel(logs) == pytest.approx([7.00, 1.36, 2.79, 0.85, 6.63, 0.99, 5.02, 0.86], abs=0.006)
    assert code.length_pearson == pytest.approx(0.00, abs=0.005)
    assert conversation.length_pearson == pytest.approx(-0.11, abs=0.005)
    assert conversation.length_spearman == pytest.approx(0.07, abs=0.005)
    assert code.arrivals is not None
    assert (round(code.arrivals.longest_gap_s), code.arrivals.most_in_1_s) == (217, 67)


def test_prefixes_of_mooncake() -> None:
    """288,500 blocks, 182,790 distinct, .3664 of them there before: to the last digit."""
    found = trace_statistics(read_requests(reference_file(MOONCAKE))).prefixes
    assert found is not None
    assert (found.blocks, found.distinct) == (288_500, 182_790)
    assert found.hit_rate == pytest.approx(0.3664, abs=5e-5)


def test_spread_mooncake_is_nearly_poisson_at_a_second() -> None:
    """Ten requests a tick of 3 s hide what lies between: spread, gaps and seconds are as of a Poisson process."""
    spread = spread_bins(read_requests(reference_file(MOONCAKE)), seed=1)
    found = arrival_statistics(spread.arrival_s)
    assert found.gap_cv == pytest.approx(1, abs=0.05)
    assert found.dispersion_1_s == pytest.approx(1, abs=0.12)
    assert found.dispersion_60_s == pytest.approx(2.9, abs=0.1)
