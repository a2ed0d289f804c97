"""Hecate against its paper, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "hecate"


def ask(**some: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config({"model": "gpt-s", **some})))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(("metric", "tolerance"), [("parameters", 0.001), ("memory", 0.06), ("given_back", 0.06)])
def test_published_bytes(metric: str, tolerance: float) -> None:
    """Parameters follow from the shapes; memory from what is held and 16 bytes of each parameter."""
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_speeds_over_expert_parallelism() -> None:
    """One exponent from cluster A with 16 devices: ranges over models there with 32, and on cluster B, within 40 %;
    shards alone within 25 %."""
    for metric in ("speedup_least", "speedup_most"):
        errors = errors_of(NAME, metric)
        assert len(errors) == 3
        assert max(map(abs, errors)) <= 0.4


def test_even_loads_leave_nothing_to_gain() -> None:
    found = ask(skew=0, drift=0, devices=16)
    assert found["speedup"] == pytest.approx(1.0, abs=0.2)
    assert ask(system="ep")["speedup"] == 1.0
    assert ask(system="smartmoe", skew=0, drift=0)["speedup"] == pytest.approx(1.0)


def test_more_skew_is_more_to_gain() -> None:
    found = [ask(skew=skew)["speedup"] for skew in (0.3, 0.6, 0.9, 1.2)]
    assert found == sorted(found)


def test_what_may_be_held_and_what_it_brings() -> None:
    """Parameters of a budget at most; none held beside the shards is sharding."""
    for held in (1.0, 2.0, 5.73):
        assert ask(held=held)["held_parameters"] <= held * 1.05
    assert ask(held=1.0)["speedup"] == pytest.approx(ask(system="sharding")["speedup"])
    speeds = [ask(held=held)["speedup"] for held in (1.0, 2.0, 4.0, 8.0)]
    assert speeds == sorted(speeds)


def test_memory_by_hand() -> None:
    """Two bytes of the sixteen are the parameter: held 5.73 times, all is 1 + 4.73 / 8 at most. Held for two of twelve
    layers, a sixth of that."""
    assert ask()["memory"] <= 1 + (5.73 - 1) / 8 * 1.05
    assert ask(system="hecate-rm")["memory"] <= 1 + (5.73 - 1) / 8 / 6 * 1.05
    assert ask(system="flexmoe", replica_slots=4)["memory"] == 4.0


def test_bringing_twice_costs_time() -> None:
    found = ask(system="hecate-rm")
    assert found["price_least"] >= 0
    assert found["memory"] < ask()["memory"]
