"""Lamina against its abstract and its formula for the network, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "lamina"


def at(**changes: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(changes)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [("network", 1e-9), ("mean_batch_ratio", 0.15), ("least_gain", 0.25), ("most_gain", 0.25)],
)
def test_published_rows(metric: str, tolerance: float) -> None:
    """(2 + 2 / G) e d B L bytes exactly. Batches are of requests at their mean length; gains rest on rooflines of both
    machines, theirs on measurements."""
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_what_it_costs_is_what_is_stated() -> None:
    assert at(model="LLaMA-33B")["price"] == pytest.approx(20.32)
    assert at(model="LLaMA-65B")["price"] == pytest.approx(2 * 20.32)


def test_memory_behind_the_network_is_twice_as_much_room() -> None:
    """192 GB of two H20 against the 2 x 80 GB of two H100 less 65 GB of weights: 192 / 95 = 2.02."""
    assert at(model="LLaMA-33B", vllm_memory=1.0)["batch_ratio"] == pytest.approx(2.02, rel=0.05)


def test_longer_requests_are_fewer() -> None:
    found = [at(prompt=prompt, output=200)["batch"] for prompt in (1000, 4000, 16000)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(4100 / 1100 * found[1], rel=0.1)
