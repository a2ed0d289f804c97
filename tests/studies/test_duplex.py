"""Duplex against its paper, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "duplex"


def at(**changes: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(changes)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [
        ("most_gain", 0.15),
        ("gain", 0.25),
        ("most_over_duplex", 0.10),
        ("mean_over_duplex", 0.15),
        ("most_over_bank_pim", 0.15),
        ("mean_over_bank_pim", 0.15),
        ("requests_per_s", 0.25),
        ("use_moe", 0.10),
        ("use_attention", 0.10),
        ("energy", 0.15),
    ],
)
def test_published_rows(metric: str, tolerance: float) -> None:
    """Rooflines beside a simulator of memory commands; ratios and means of cells that are not published each."""
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_experts_at_eight_tokens_are_read_four_times_as_fast() -> None:
    """Batch 32 gives each of 8 experts 8 tokens, where arithmetic takes as long as reading at four times the rate: no
    gain is beyond 4, and with short contexts and few prompts (one in 16 steps) most of it is there."""
    assert 2.5 < at(batch=32, lin=64, lout=512)["gain"] < 4


def test_more_tokens_leave_less_to_gain() -> None:
    found = [at(batch=batch, lin=256, lout=4096, pe=0, et=0)["gain"] for batch in (16, 32, 64, 128)]
    assert found == sorted(found, reverse=True)
    assert found[-1] >= 1


@pytest.mark.parametrize("batch", [32, 64, 128])
def test_both_engines_are_no_slower_than_one(batch: int) -> None:
    assert at(batch=batch, et=0)["over_duplex"] >= 1 - 1e-9
    assert at(batch=batch)["over_duplex"] >= at(batch=batch, pe=0)["over_duplex"] - 1e-9


def test_a_gpu_is_a_gpu() -> None:
    found = at(system="gpu", pe=0, et=0)
    assert found["gain"] == 1
    # Two matrices and a gate's at 2 operations an element of 2 bytes: Op/B is a batch's 2 x 64 / 8 tokens an expert,
    # of the 295 that an H100 needs.
    assert found["use_moe"] == pytest.approx(16 / 295, rel=0.02)


def test_a_model_without_experts_has_attention_to_gain() -> None:
    """Keys and values of OPT-66B's 72 heads are read once for each query: most of what a step reads."""
    found = at(model="OPT-66B", batch=32, lin=1024, lout=512)
    assert 1 < found["gain"] < 4
    assert "use_moe" not in found


def test_heads_that_cannot_be_shared_have_no_time() -> None:
    """Grok-1's 48 heads over 32 devices."""
    assert at(model="Grok-1", system="2xgpu") == {"fits": 0.0}


def test_units_at_banks_suit_no_reuse_and_those_on_logic_dies_much() -> None:
    products = {op_b: {s: at(system=s, op_b=op_b)["energy_delay"] for s in ("bank-pim", "duplex")} for op_b in (1, 32)}
    assert products[1]["bank-pim"] < products[1]["duplex"]
    assert products[32]["duplex"] < products[32]["bank-pim"] == 1
