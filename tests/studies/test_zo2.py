"""ZO2 against its table, its parts by hand, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from studies.zo2 import MODELS
from tests.studies.checks import check_honest, errors_of

NAME = "zo2"
MIB = 2**20


def found(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(("metric", "count", "tolerance"), [("memory", 2, 0.02), ("memory_elsewhere", 4, 0.20)])
def test_published_rows(metric: str, count: int, tolerance: float) -> None:
    errors = errors_of(NAME, metric)
    assert len(errors) == count
    assert max(map(abs, errors)) <= tolerance


def test_constants_come_from_the_rows_that_say_so() -> None:
    assert found(model="OPT-1.3B")["memory"] == 3750 * MIB
    assert found(model="OPT-125M")["memory_elsewhere"] == 2464 * MIB


def test_a_block_by_hand() -> None:
    # OPT-175B: 12 h^2 weights, biases of 4 + 4 + 1 h, two norms of 2 h; in 16 bits, in two slots.
    h = 12288
    assert found()["slots"] == 2 * 2 * (12 * h * h + 13 * h)


def test_scores_of_a_small_model_by_hand() -> None:
    # With 16 tokens nothing counts but weights: all of OPT-13B's pool is what renewing the largest one, the table or
    # the feed-forward's 4 h x h, takes: four tensors of its size.
    largest = max(50272, 4 * 5120) * 5120
    parts = found(model="OPT-13B", tokens=16)
    stay = 2 * (2 * 50272 * 5120 + 18 * 5120 + 2 * 5120)
    pool = parts["reserved"] - parts["slots"] - stay
    assert pool == pytest.approx(4 * 2 * largest, rel=0.05)


def test_larger_models_take_more_and_offloading_less() -> None:
    memories = [found(model=name)["memory"] for name in MODELS]
    assert memories == sorted(memories)
    for name in ("OPT-1.3B", "OPT-30B"):
        assert found(model=name)["memory"] < found(model=name, method="mezo")["memory"]
        assert found(model=name, attention="fused")["memory"] <= found(model=name)["memory"]


def test_two_passes_hide_the_link_and_few_tokens_do_not() -> None:
    assert 1 <= found()["slowdown"] < 1.1
    # With few tokens a block's products are nothing, and its way in, 2 bytes a weight over the host's link, is all.
    short = found(tokens=16)["slowdown"]
    assert short > 1.5
    assert found(method="mezo")["slowdown"] == 1.0
