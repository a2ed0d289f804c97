"""Whole models brought in and run one after another, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override_values
from simulator.collections.replacement import Replacement
from simulator.collections.whole_models import WholeModels, run_models
from workloads.errors import InputError

SYSTEM = override_values(
    load_system("h100-sxm"),
    {"links.host-pcie.bandwidth": 1e10, "links.host-pcie.latency": 0.0, "links.host-pcie.message_cost": 0.0},
)
# One second over the link, and the first access of the host's memory.
SECOND = 1 + SYSTEM.tiers["ddr"].latency_s


def held(slots: int, *, ahead: bool = False, rule: str = "lru") -> WholeModels:
    return WholeModels(1e10, "ddr", "hbm", slots, Replacement(rule), ahead=ahead)


def test_misses_wait_and_hits_do_not() -> None:
    found = run_models(SYSTEM, held(2), [0, 1, 0, 2, 1], 0.5, before_s=0.25)
    # 1 is the one unused for longest when 2 comes, so that it has to come again.
    assert found.switches == (True, True, False, True, True)
    assert found.latency_s == pytest.approx(0.25 + 5 * 0.5 + 4 * SECOND)
    assert run_models(SYSTEM, held(2), [0, 1, 0], 0.5, warmup=2).latency_s == pytest.approx(0.5)


def test_ahead_the_longer_of_the_two_counts() -> None:
    for seconds in (0.5, 3.0):
        found = run_models(SYSTEM, held(2, ahead=True), [0, 1, 2, 3], seconds)
        assert found.latency_s == pytest.approx(SECOND + 3 * max(SECOND, seconds) + seconds, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(2, 6), st.floats(0.0, 3.0))
def test_the_sum_is_what_was_brought_in_and_run(picks: list[int], slots: int, seconds: float) -> None:
    plain = run_models(SYSTEM, held(slots), picks, seconds)
    assert plain.latency_s == pytest.approx(len(picks) * seconds + sum(plain.switches) * SECOND)
    ahead = run_models(SYSTEM, held(slots, ahead=True), picks, seconds)
    assert len(picks) * seconds <= ahead.latency_s * (1 + 1e-9)
    assert ahead.latency_s <= plain.latency_s * (1 + 1e-9)
    assert sum(run_models(SYSTEM, held(6), picks, seconds).switches) == len(set(picks))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="room for 1 models"):
        held(1, ahead=True)
    with pytest.raises(InputError, match="3 of 3 prompts"):
        run_models(SYSTEM, held(1), [0, 1, 2], 1.0, warmup=3)
