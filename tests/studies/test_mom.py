"""MOM's two context lengths, and their limits by hand."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "mom"
WEIGHTS, KV_TOKEN = 16.06e9, 131_072


def ask(**some: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(some)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize("metric", ["max_context", "over_standard", "peak_saving"])
def test_published_rows(metric: str) -> None:
    """The limits follow from 80 GB and the shapes alone: 10 %."""
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= 0.10


def test_limits_by_hand() -> None:
    """Whole: a token takes its keys and values, its scores (2 x 128,256 B) and the head's input and residual."""
    found = ask(minis=1, offload=False)
    assert found["prefill_context"] == pytest.approx(
        (80e9 - WEIGHTS) / (KV_TOKEN + 2 * 128_256 + 2 * 4096 * 2), rel=0.02
    )
    assert found["decode_context"] == pytest.approx((80e9 - WEIGHTS) / KV_TOKEN, rel=0.002)
    # Mini-sequences with the cache offloaded leave decoding as what limits.
    found = ask()
    assert found["max_context"] == found["decode_context"] < found["prefill_context"]


def test_more_parts_and_more_memory_never_shorten_a_context() -> None:
    by_parts = [ask(minis=m, offload=False)["prefill_context"] for m in (1, 2, 4, 16, 64)]
    assert by_parts == sorted(by_parts)
    by_memory = [ask(memory=gb)["max_context"] for gb in (24.0, 40.0, 80.0, 141.0)]
    assert by_memory == sorted(by_memory)


def test_parts_cost_hardly_any_time() -> None:
    """Each part reads the weights once more: nothing against a prompt of 100,000 tokens."""
    whole, cut = ask(minis=1, context=50_000), ask(minis=16, context=50_000)
    assert whole["prefill_s"] <= cut["prefill_s"] <= 1.05 * whole["prefill_s"]
