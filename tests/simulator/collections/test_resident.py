"""Pieces that are there from the start, beside a cache or without one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.collections import CachedCollection, run_cache
from workloads.errors import InputError
from workloads.traces.neurons import NeuronStream, most_active, neuron_stream, skewed_neurons


def stream(steps: list[list[int]], neurons: int) -> NeuronStream:
    return NeuronStream(tuple((np.array(step, dtype=np.int64),) for step in steps), neurons)


def test_residents_never_miss_and_never_leave() -> None:
    steps = stream([[0, 1, 2], [2, 3], [0, 3]], 4)
    found = run_cache(CachedCollection(steps, "ssd", 0, resident=(np.array([0, 3]),)))
    assert [need[0].late for need in found.needs] == [(1, 2), (2,), ()]
    assert [need[0].touched for need in found.needs] == [(0, 1, 2), (2, 3), (0, 3)]


def test_the_cache_is_for_the_others() -> None:
    # One slot: 1, then 2, then 2 again; 0 needs none.
    steps = stream([[0, 1], [0, 2], [0, 2]], 3)
    found = run_cache(CachedCollection(steps, "ssd", 1, resident=(np.array([0]),)))
    assert [need[0].late for need in found.needs] == [(1,), (2,), ()]


def test_every_layer_has_its_own() -> None:
    with pytest.raises(InputError, match="residents of 2 layers"):
        CachedCollection(stream([[0]], 2), "ssd", 0, resident=(np.array([0]), np.array([1])))
    with pytest.raises(InputError, match="residents among pieces in formats of their own"):
        CachedCollection(stream([[0]], 2), "ssd", 0, resident=(np.array([0]),), formats=[["int4", "int4"]])


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, unique=True), min_size=1, max_size=6), st.sets(st.integers(0, 9))
)
def test_what_misses_is_what_is_touched_and_not_there(steps: list[list[int]], there: set[int]) -> None:
    kept = np.array(sorted(there), dtype=np.int64)
    found = run_cache(CachedCollection(stream(steps, 10), "ssd", 0, resident=(kept,)))
    for need, step in zip(found.needs, steps, strict=True):
        assert set(need[0].late) == set(step) - there


@pytest.mark.parametrize(("active", "resident", "missed"), [(0.03, 0.5, 0.035), (0.15, 0.5, 0.2), (0.1, 0.2, 0.8)])
def test_a_skew_leaves_the_share_asked_for(active: float, resident: float, missed: float) -> None:
    router = skewed_neurons(active, resident, missed)
    assert router.share_active() == pytest.approx(active, rel=1e-3)
    assert router.share_missed(resident) == pytest.approx(missed, rel=1e-2)
    # Residents drawn with the stream's seed are its most popular ones.
    neurons, layers = 4000, 2
    drawn = neuron_stream(router, neurons=neurons, layers=layers, steps=20, seed=4)
    kept = most_active(neurons=neurons, layers=layers, count=round(resident * neurons), seed=4)
    lost = sum(np.isin(step[at], kept[at], invert=True).sum() for step in drawn.active for at in range(layers))
    total = sum(step[at].size for step in drawn.active for at in range(layers))
    assert lost / total == pytest.approx(missed, rel=0.1)


def test_equal_neurons_miss_what_is_not_there_and_none_miss_more() -> None:
    assert skewed_neurons(0.1, 0.3, 0.7).exponent == pytest.approx(0.0, abs=1e-3)
    with pytest.raises(InputError, match=r"shares 0.1, 0.3 and 0.8"):
        skewed_neurons(0.1, 0.3, 0.8)
