"""Synthetic routing streams: shapes, seeds and the statistics they are asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workloads.errors import InputError
from workloads.traces import RoutingStream, synthetic_routing


def test_a_token_picks_different_experts() -> None:
    stream = synthetic_routing(steps=50, layers=3, batch=4, experts=8, top_k=3, skew=1.0, repeat=0.5, seed=1)
    assert stream.picks.shape == (50, 3, 4, 3)
    assert (np.diff(np.sort(stream.picks, axis=-1), axis=-1) > 0).all()


def test_the_same_seed_gives_the_same_stream() -> None:
    first, second, other = (
        synthetic_routing(steps=9, layers=2, batch=2, experts=16, top_k=2, seed=seed) for seed in (3, 3, 4)
    )
    assert (first.picks == second.picks).all()
    assert (first.picks != other.picks).any()


def test_without_skew_all_experts_are_picked_alike() -> None:
    stream = synthetic_routing(steps=4000, layers=1, batch=1, experts=8, top_k=2, seed=0)
    counts = np.bincount(stream.picks.ravel(), minlength=8)
    # 8000 picks, 1000 expected each, standard deviation sqrt(4000 * 1/4 * 3/4) = 27.
    assert np.abs(counts - 1000).max() < 5 * 27


def test_the_chance_to_keep_an_expert_is_what_was_asked_for() -> None:
    stream = synthetic_routing(steps=4000, layers=1, batch=1, experts=64, top_k=1, repeat=0.6, seed=0)
    picks = stream.picks[:, 0, 0, 0]
    kept = (picks[1:] == picks[:-1]).mean()
    # Kept with 0.6, drawn again by chance with 0.4 / 64; standard deviation sqrt(0.24 / 4000) = 0.008.
    assert kept == pytest.approx(0.6 + 0.4 / 64, abs=5 * 0.008)


def test_skewed_popularity_follows_zipf() -> None:
    stream = synthetic_routing(steps=20000, layers=1, batch=1, experts=8, top_k=1, skew=1.0, seed=0)
    counts = np.sort(np.bincount(stream.picks.ravel(), minlength=8))[::-1] / 20000
    weights = 1 / np.arange(1, 9)
    assert counts == pytest.approx(weights / weights.sum(), abs=0.02)


def test_distinct_experts_keep_the_order_of_first_use() -> None:
    picks = np.array([[[[5, 1], [1, 7]]]])
    assert RoutingStream(picks, 8).distinct(0, 0).tolist() == [5, 1, 7]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"top_k": 9}, "top_k"),
        ({"steps": 0}, "steps"),
        ({"skew": -1.0}, "skew"),
        ({"skew": math.nan}, "skew"),
        ({"skew": math.inf}, "skew"),
        ({"repeat": 2.0}, "repeat"),
        ({"repeat": math.nan}, "repeat"),
        ({"seed": -1}, "seed"),
        ({"steps": 10**9}, "batch"),
        ({"batch": 10**12}, "batch"),
        ({"experts": 10**10}, "batch"),
    ],
)
def test_impossible_streams_are_refused(change: dict[str, float], field: str) -> None:
    asked = {"steps": 2, "layers": 1, "batch": 1, "experts": 8, "top_k": 2} | change
    with pytest.raises(InputError) as caught:
        synthetic_routing(**asked)  # type: ignore[arg-type]
    assert caught.value.field == field
