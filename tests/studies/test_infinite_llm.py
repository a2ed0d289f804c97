"""Infinite-LLM: room by hand, and what travels."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, rows

NAME = "infinite-llm"


def ask(**some: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(some)))


def test_it_is_honest() -> None:
    check_honest(NAME)


def test_two_instances_hold_twice_as_much() -> None:
    (two,) = (row for row in rows(NAME) if row.config == {"instances": 2})
    assert two.error == pytest.approx(0.0, abs=0.01)


def test_room_by_hand() -> None:
    """Each instance has 0.9 x 80 GB less 13.48 GB of weights for 524,288 B a token, in blocks of 16."""
    found = ask(instances=32)
    assert found["max_context"] == pytest.approx(32 * (72e9 - 13.477e9) / 524_288, rel=1e-3)
    assert found["max_context"] % 16 == 0


def test_what_travels_hangs_on_no_context() -> None:
    """A layer's queries and results, 4,096 numbers each way, and a sum for each of 32 heads, whatever the context."""
    found = [ask(context=context) for context in (200_000, 1_000_000, 1_500_000)]
    assert {one["sent"] for one in found} == {32 * (2 * 4096 * 2 + 32 * 4)}
    # Fetched, all that lies with the others travels.
    assert found[1]["sent_fetching"] == pytest.approx(1_000_000 * 31 / 32 * 524_288, rel=0.01)
    # At 3,000,000 a layer's keys and values have no room beside the instance's own.
    assert "sent_fetching" not in ask(context=3_000_000)
    savings = [one["traffic_saved"] for one in found]
    assert savings == sorted(savings)


def test_others_make_a_long_sequence_faster() -> None:
    found = [ask(instances=n, context=1_000_000) for n in (16, 32, 64)]
    times = [one["token_s"] for one in found]
    assert times == sorted(times, reverse=True)
    assert all(one["token_s"] < one["token_s_fetching"] / 10 for one in found)
    assert ask(instances=2, context=1_000_000) == {
        "max_context": pytest.approx(223_248, rel=0.01),
        "context_gain": pytest.approx(2.0, rel=0.01),
        "fits": 0.0,
    }
