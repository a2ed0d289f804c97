"""Fitted routers: a fit finds what made the rates, and predicts what published caches hit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dse.validation.expert_caches import PREDICTED, compare_routers, published_rates
from simulator.collections.calibration import fit_router, rates
from studies.published.srp_sch import SRP_16
from tests.reference_data import reference_file
from workloads.errors import InputError
from workloads.traces.routing_fitted import fitted_router, fitted_router_names, published_name
from workloads.traces.routing_statistics import segment_routing
from workloads.traces.routing_sticky import StickyRouter, sticky_routing

SEGMENTS = ("sch-4", "sch-16", "sch-64", "sch-256")


def test_a_fit_finds_rates_that_a_router_made() -> None:
    hidden = StickyRouter(2, 16, 2, spread=1.2, drift=0.6, repeat=0.8)
    made = rates(hidden, SEGMENTS, batch=2, seed=1)
    fitted = fit_router(
        replace(hidden, spread=0, drift=0, repeat=0), dict(zip(SEGMENTS, made, strict=True)), batch=2, evaluations=30
    )
    assert fitted.rms < 0.01
    # The amplitudes trade against each other; what they give for other rules is the hidden router's.
    for rule in ("lru", "lfu", "belady"):
        theirs = rates(hidden, [rule], batch=8, seed=5)
        assert rates(fitted.router, [rule], batch=8, seed=5) == pytest.approx(theirs, abs=0.03)


def test_targets_must_be_there() -> None:
    with pytest.raises(InputError, match="targets for 0 rules"):
        fit_router(StickyRouter(1, 4, 1), {})


def test_every_fitted_router_is_that_of_a_published_model() -> None:
    published = published_rates(reference_file("moe_cache_hit_rates.csv"))
    assert {published_name(name) for name in fitted_router_names()} == set(published)
    with pytest.raises(InputError, match="did you mean 'mixtral-8x7b'"):
        fitted_router("mixtral")


@pytest.mark.parametrize("name", ["minicpm-moe", "grin-moe", "jamba-mini"])
def test_consistency_that_was_not_fitted_is_near(name: str) -> None:
    _consistency_is_near(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SRP_16)
def test_consistency_of_all(name: str) -> None:
    _consistency_is_near(name)


def _consistency_is_near(name: str) -> None:
    stream = sticky_routing(fitted_router(name, layers=4), steps=512, batch=8, seed=2)
    assert segment_routing(stream, 16).srp == pytest.approx(SRP_16[name], abs=0.045)


@pytest.mark.parametrize("name", ["phi-3.5-moe", "mixtral-8x7b", "jetmoe", "llama-moe-v1", "openmoe", "jamba-mini"])
def test_caches_that_were_not_fitted_are_predicted(name: str) -> None:
    theirs = published_rates(reference_file("moe_cache_hit_rates.csv"))[published_name(name)]
    ours = rates(fitted_router(name, layers=4), [rule.lower() for rule in PREDICTED], batch=12, seed=3)
    for found, rule in zip(ours, PREDICTED, strict=True):
        assert found[1] == pytest.approx(theirs[rule][1], abs=0.05 if rule == "LRU" else 0.04)


@pytest.mark.slow
def test_all_models_meet_lru_at_twice_the_active_experts() -> None:
    rows = compare_routers(reference_file("moe_cache_hit_rates.csv"))
    assert len(rows) == 20
    for row in rows:
        assert abs(row.misses("LRU")[1]) < 3.5
        assert np.abs(row.misses("Belady")).max() < 4.0
        assert np.abs(row.misses("LFU")).max() < 5.0
