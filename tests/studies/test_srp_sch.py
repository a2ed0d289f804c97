"""SRP and SCH against their publication, and in their limits."""

from __future__ import annotations

from math import comb

import pytest

from studies.frame.catalogue import load_study
from studies.published.srp_sch import HIT_RATES
from tests.reference_data import reference_file
from tests.studies.checks import check_honest, errors_of, rows

NAME = "srp-sch"


def ask(metric: str, **keys: str | int | float) -> float:
    """One metric where the other keys are at their defaults."""
    study = load_study(NAME)
    return study.simulate(study.config(keys))[metric]


def test_it_is_honest() -> None:
    check_honest(NAME)


def test_published_rates_are_those_of_the_reference() -> None:
    text = reference_file("moe_cache_hit_rates.csv").read_text(encoding="utf-8").splitlines()
    assert len(text) - 1 == sum(len(curves) for curves in HIT_RATES.values())
    assert "mchr,PowerMoE,LRU,0.452,0.69,0.861,polyline" in text
    assert HIT_RATES["powermoe-3b"][0] == (0.452, 0.69, 0.861)


def test_predictions_are_near() -> None:
    # Nothing of LRU, LFU, Belady or SRP was fitted; in points of a hundred, as the publication counts.
    for row in rows(NAME):
        if row.metric in ("srp", "hit_rate") and not row.calibrates and row.published is not None:
            assert abs(row.simulated - row.published) < 0.055, row
    assert max(map(abs, errors_of(NAME, "srp"))) < 0.15


def test_correlation_with_what_looks_back_rises_with_the_segment() -> None:
    for policy in ("lru", "lfu", "fixed"):
        found = [ask("correlation", model="all", policy=policy, tokens=m) for m in (4, 16)]
        assert found == sorted(found)
        assert found[-1] > 0.9


@pytest.mark.parametrize(("experts", "active"), [(8, 2), (64, 8)])
def test_routers_without_preference_have_the_floor_of_chance(experts: int, active: int) -> None:
    """Uses of an expert in m tokens are binomial, so the best F1 is a finite maximum."""
    m, p = 16, active / experts
    chance = [comb(m, f) * p**f * (1 - p) ** (m - f) for f in range(m + 1)]
    scores = []
    for least in range(m + 1):
        matches = sum(f * chance[f] for f in range(least, m + 1))
        scores.append(2 * matches / (m * sum(chance[least:]) + m * p))
    assert ask("srp", model="uniform", experts=experts, active=active) == pytest.approx(max(scores), rel=0.01)
    for rho in (1.0, 2.0):
        rate = ask("hit_rate", model="uniform", experts=experts, active=active, rho=rho)
        assert rate == pytest.approx(rho * p, rel=0.05)


def test_more_room_hits_more_and_all_of_it_always() -> None:
    for policy in ("lru", "lfu", "belady", "sch", "fixed"):
        rates = [ask("hit_rate", policy=policy, rho=rho) for rho in (0.5, 1.0, 2.0, 4.0, 8.0)]
        assert rates == sorted(rates)
        assert rates[-1] == pytest.approx(1.0)


def test_nothing_beats_belady_with_room_for_a_token() -> None:
    for model in ("mixtral-8x7b", "olmoe-1b-7b"):
        best = ask("hit_rate", model=model, policy="belady")
        assert all(ask("hit_rate", model=model, policy=policy) <= best for policy in ("lru", "lfu", "sch"))


def test_a_segment_of_one_token_is_known_wholly() -> None:
    # Kept for one token exactly when used in it.
    assert ask("srp", tokens=1) == 1.0
    assert ask("kept", tokens=1) == 1.0


def test_more_active_of_as_many_experts_than_there_are_is_all() -> None:
    assert ask("srp", model="uniform", experts=4, active=64) == 1.0
