"""The sticky router: what its amplitudes do, and that a requested consistency is reached."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from workloads.errors import InfeasibleError, InputError
from workloads.traces.routing_statistics import routing_statistics, segment_routing
from workloads.traces.routing_sticky import StickyRouter, calibrated_router, sticky_routing

PLAIN = StickyRouter(layers=2, experts=16, top_k=2)


def test_without_amplitudes_every_pick_is_fair_and_forgets() -> None:
    stream = sticky_routing(PLAIN, steps=4000, seed=1)
    counts = np.bincount(stream.picks.ravel(), minlength=16)
    # 16,000 picks, 1000 an expert, standard deviation sqrt(8000 * 1/8 * 7/8) = 30.
    assert np.abs(counts - 1000).max() < 5 * 30
    # Two of sixteen were there before: 1/8 by chance, standard deviation below 0.004.
    assert routing_statistics(stream).repeat_share == pytest.approx(1 / 8, abs=0.02)


def test_a_token_picks_different_experts_and_seeds_repeat() -> None:
    router = replace(PLAIN, drift=1.0, spread=0.5, repeat=1.0, top_k=5)
    first, second = (sticky_routing(router, steps=30, batch=3, seed=4) for _ in range(2))
    assert (np.diff(first.picks, axis=-1) > 0).all()
    assert (first.picks == second.picks).all()
    assert first.picks.shape == (30, 2, 3, 5)


def test_one_of_two_with_a_bonus_is_logistic() -> None:
    # One of two: the noise's difference is logistic, so the one before is kept with 1 / (1 + exp(-bonus)).
    for bonus in (-1.0, 0.7):
        stream = sticky_routing(StickyRouter(1, 2, 1, repeat=bonus), steps=6000, seed=3)
        kept = float((stream.picks[1:] == stream.picks[:-1]).mean())
        assert kept == pytest.approx(1 / (1 + math.exp(-bonus)), abs=5 * 0.0064)


def test_skew_is_zipf_for_one_of_many() -> None:
    stream = sticky_routing(StickyRouter(1, 8, 1, skew=1.0), steps=20000, seed=0)
    counts = np.sort(np.bincount(stream.picks.ravel(), minlength=8))[::-1] / 20000
    weights = 1 / np.arange(1, 9)
    assert counts == pytest.approx(weights / weights.sum(), abs=0.02)


def test_spread_lasts_for_a_sequence_and_drift_for_a_passage() -> None:
    def agreement(router: StickyRouter, gap: int) -> float:
        picks = sticky_routing(router, steps=600, batch=100, seed=2).picks[..., 0]
        return float((picks[gap:] == picks[:-gap]).mean())

    lasting = StickyRouter(1, 16, 1, spread=1.5)
    passing = StickyRouter(1, 16, 1, drift=1.5, memory_tokens=50)
    assert agreement(lasting, 1) == pytest.approx(agreement(lasting, 500), abs=0.02)
    # After one token 0.98 of the passage's preference is left.
    assert agreement(passing, 1) == pytest.approx(agreement(lasting, 1), abs=0.03)
    # exp(-500 / 50) is left of it: chance.
    assert agreement(passing, 500) == pytest.approx(1 / 16, abs=0.01)


@pytest.mark.parametrize(
    ("experts", "top_k", "srp"),
    # Published at m = 16 (arXiv 2505.16056): Phi-3.5-MoE, GRIN-MoE, Jamba-Mini, DeepSeekMoE, PowerMoE.
    [(16, 2, 0.5198), (16, 2, 0.5039), (16, 2, 0.3808), (64, 6, 0.3694), (40, 8, 0.5517)],
)
@pytest.mark.parametrize("skew", [0.0, 0.3])
def test_a_requested_consistency_is_reached_on_other_seeds_too(
    experts: int, top_k: int, srp: float, skew: float
) -> None:
    router = calibrated_router(StickyRouter(4, experts, top_k, skew=skew), srp, 16)
    for seed in (0, 11):
        reached = segment_routing(sticky_routing(router, steps=512, batch=6, seed=seed), 16).srp
        assert reached == pytest.approx(srp, abs=0.01)


def test_a_consistency_out_of_reach_says_by_how_much() -> None:
    with pytest.raises(InfeasibleError, match="never below that without drift"):
        calibrated_router(StickyRouter(1, 4, 2), 0.3, 16, batch=1)
    with pytest.raises(InfeasibleError, match="memory of 1 tokens"):
        calibrated_router(StickyRouter(1, 16, 2, memory_tokens=1.0), 0.95, 64, batch=1)
    with pytest.raises(InputError, match="above 0 and at most 1"):
        calibrated_router(PLAIN, 1.5, 16)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"top_k": 17}, "top_k"),
        ({"experts": 0}, "experts"),
        ({"drift": -1.0}, "drift"),
        ({"spread": math.nan}, "spread"),
        ({"repeat": math.inf}, "repeat"),
        ({"memory_tokens": 0.0}, "memory_tokens"),
    ],
)
def test_impossible_routers_are_refused(change: dict[str, float], field: str) -> None:
    with pytest.raises(InputError) as caught:
        replace(PLAIN, **change)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize("change", [{"steps": 0}, {"batch": 0}, {"seed": -1}, {"steps": 10**9}, {"batch": 10**9}])
def test_impossible_streams_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(InputError):
        sticky_routing(PLAIN, **({"steps": 2} | change))  # type: ignore[arg-type]
