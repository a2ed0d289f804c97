"""The SN40L against its switches, capacities and rates, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of, rows

NAME = "sn40l"


def ask(**some: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(some)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"), [("switch_speed_up", 0.05), ("hbm_experts", 0.10), ("nodes", 0.0), ("most_experts", 0.16)]
)
def test_switches_and_capacities(metric: str, tolerance: float) -> None:
    """Stated rates and capacities alone; 850 experts a node is what was held, 978 what there is room for."""
    assert all(row.free_of_fits for row in rows(NAME) if row.metric == metric)
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_a_switch_by_hand() -> None:
    """13.48 GB over 1 TB/s, and over 32 and 64 GB/s."""
    assert ask()["switch_s"] == pytest.approx(13.477e9 / 1e12, rel=0.005)
    assert ask(platform="dgx-a100")["switch_s"] == pytest.approx(13.477e9 / 32e9, rel=0.005)
    assert ask(platform="dgx-h100")["switch_s"] == pytest.approx(13.477e9 / 64e9, rel=0.005)


def test_experts_that_lie_in_hbm_are_not_brought_in() -> None:
    few, many = ask(platform="dgx-h100", experts=40), ask(platform="dgx-h100", experts=148)
    assert (few["misses"], many["misses"]) == (0.0, 1.0)
    assert many["seconds"] - few["seconds"] == pytest.approx(8 * many["switch_s"], rel=1e-6)
    # Drawn at random, as many are found as have room.
    drawn = ask(platform="dgx-h100", experts=148, routing="random")
    assert drawn["misses"] == pytest.approx(1 - drawn["hbm_experts"] / 148, abs=0.1)


def test_longer_answers_approach_the_ratio_of_the_experts() -> None:
    ratios = [ask(platform="dgx-h100", tokens=n)["speed_up"] for n in (20, 200, 2000)]
    assert ratios == sorted(ratios, reverse=True)
    long = ask(platform="dgx-h100", tokens=2000)
    assert long["speed_up"] == pytest.approx(long["execution_speed_up"], rel=0.1)


def test_the_rate_keeps_below_that_of_the_memory() -> None:
    """16.06 GB at 85 % of 16 x 1.8 TB/s are 1,524 tokens a second at most; embedding rows are not read whole."""
    assert ask(model="Llama-3.1-8B", sockets=16)["token_rate"] < 1524
    assert errors_of(NAME, "token_rate")[0] == pytest.approx(0.0, abs=0.10)


def test_bringing_in_ahead_hides_a_switch_behind_the_expert_before() -> None:
    plain, ahead = ask(), ask(ahead=True)
    # The first one cannot be hidden; the SN40L's switches are shorter than an expert's run.
    assert plain["seconds"] - ahead["seconds"] == pytest.approx(7 * plain["switch_s"], rel=1e-6)
