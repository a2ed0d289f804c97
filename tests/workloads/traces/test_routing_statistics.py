"""Segment routing performance and statistics: by hand, by brute force, and the floor of a uniform router."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.traces import RoutingStream, synthetic_routing
from workloads.traces.routing_statistics import routing_statistics, segment_routing, zipf_exponent


def one_sequence(picks: list[list[int]], experts: int) -> RoutingStream:
    return RoutingStream(np.array(picks)[:, None, None, :], experts)


def test_segments_on_paper() -> None:
    # Two experts, tokens 0 0 1 0, windows of two: expert 0 has counts 2 1 1, expert 1 has 0 1 1. Activations 6.
    # Keep from 1 use: matches 6, predictions 2 x 5 = 10, F1 = 12/16. From 2: matches 2, predictions 2, F1 = 4/8.
    # Keep always: predictions 12, F1 = 12/18.
    found = segment_routing(one_sequence([[0], [0], [1], [0]], 2), 2)
    assert (found.srp, found.threshold, found.best_m) == pytest.approx((12 / 16, 1, 10 / 6))


def test_a_router_that_never_changes_is_served_in_full() -> None:
    found = segment_routing(one_sequence([[3, 5]] * 20, 8), 16)
    assert (found.srp, found.best_m) == (1.0, 1.0)


def test_a_uniform_router_has_the_binomial_floor() -> None:
    # Uses in a window of m are binomial(m, k / E): matches, predictions and activations follow for each threshold.
    tokens, experts, top_k = 16, 8, 2
    share = top_k / experts
    chances = [math.comb(tokens, c) * share**c * (1 - share) ** (tokens - c) for c in range(tokens + 1)]
    floor = max(
        2 * sum(c * chances[c] for c in range(p, tokens + 1)) / (tokens * sum(chances[p:]) + tokens * share)
        for p in range(tokens + 1)
    )
    stream = synthetic_routing(steps=3000, layers=2, batch=2, experts=experts, top_k=top_k, seed=1)
    assert segment_routing(stream, tokens).srp == pytest.approx(floor, abs=0.006)


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(2, 6), st.integers(1, 2))
@settings(max_examples=60)
def test_pooling_is_over_layers_sequences_and_experts(seed: int, tokens: int, experts: int, top_k: int) -> None:
    stream = synthetic_routing(steps=12, layers=2, batch=2, experts=experts, top_k=top_k, repeat=0.5, seed=seed)
    counts = [
        sum(expert in stream.picks[start + t, layer, sequence] for t in range(tokens))
        for layer in range(2)
        for sequence in range(2)
        for expert in range(experts)
        for start in range(12 - tokens + 1)
    ]
    best = 0.0
    for p in range(tokens + 1):
        kept = [c for c in counts if c >= p]
        best = max(best, 2 * sum(kept) / (tokens * len(kept) + sum(counts)))
    assert segment_routing(stream, tokens).srp == pytest.approx(best)


def test_statistics_on_paper() -> None:
    found = routing_statistics(one_sequence([[0, 1], [1, 2], [0, 3]], 4))
    assert found.popularity.tolist() == [[2 / 6, 2 / 6, 1 / 6, 1 / 6]]
    # Of the second token's two one was there before, of the third's none.
    assert found.repeat_share == pytest.approx(1 / 4)
    # Shares of tokens 2/3 2/3 1/3 1/3: deviation 1/6.
    assert found.frequency_deviation == pytest.approx(1 / 6)
    assert routing_statistics(one_sequence([[0, 1]], 4)).repeat_share is None


def test_the_exponent_of_a_zipf_stream_is_found() -> None:
    stream = synthetic_routing(steps=20000, layers=1, batch=1, experts=8, top_k=1, skew=0.65, seed=0)
    assert routing_statistics(stream).zipf == pytest.approx(0.65, abs=0.05)
    assert zipf_exponent(np.array([0.0, 1.0])) == 0.0
    assert zipf_exponent(np.full(8, 1 / 8)) == pytest.approx(0.0, abs=1e-9)


def test_segments_longer_than_the_stream_are_refused() -> None:
    with pytest.raises(InputError, match="segments of 5 tokens in a stream of 4 steps; expected 1 to 4"):
        segment_routing(one_sequence([[0], [0], [1], [0]], 2), 5)
