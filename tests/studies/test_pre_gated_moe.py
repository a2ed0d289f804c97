"""Pre-gated MoE against its authors' measurements, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from studies.pre_gated_moe import CONSTANTS, switch
from studies.published.pre_gated_moe import POLICIES
from tests.studies.checks import check_honest, errors_of, rows
from workloads.models.counts import parameters

NAME = "pre-gated-moe"
EXPERT_BYTES = 2 * 768 * 3072 * 2


def ask(metric: str, **keys: str | int) -> float:
    """One metric where the other keys are at their defaults."""
    study = load_study(NAME)
    return study.simulate(study.config(keys))[metric]


def test_it_is_honest() -> None:
    check_honest(NAME)


def test_models_have_their_published_sizes() -> None:
    # Fedus et al., table 9: Switch-Base of 128 experts has 7 billion parameters, Switch-Large 26 billion.
    assert parameters(switch("base", 128)).total == pytest.approx(7.4e9, rel=0.05)
    assert parameters(switch("large", 128)).total == pytest.approx(26.3e9, rel=0.05)


def test_blocks_of_one_token_are_within_a_tenth() -> None:
    """Two times of an operation and the link are each taken from a row that is not predicted; all else is stated."""
    found = [row for row in rows(NAME) if row.metric == "block" and "active" not in row.config]
    assert len(found) == 24
    assert sum(row.calibrates for row in found) == 2
    assert max(abs(row.error or 0.0) for row in found) <= 0.10


def test_blocks_of_set_experts_are_near() -> None:
    found = [row for row in rows(NAME) if row.metric == "block" and "active" in row.config]
    assert len(found) == 36
    # Beyond: a run of two experts that another published run contradicts, and all of sixteen.
    assert sum(abs(row.error or 0.0) > 0.10 for row in found) <= 4


def test_tokens_and_bytes_are_near() -> None:
    assert max(map(abs, errors_of(NAME, "tokens"))) <= 0.25
    found = [row for row in rows(NAME) if row.metric == "peak" and row.config["policy"] != "prefetch-all"]
    assert max(abs(row.error or 0.0) for row in found) <= 0.10


@pytest.mark.parametrize("experts", [8, 64, 256])
def test_what_a_block_takes_at_least(experts: int) -> None:
    """On paper: alone c; on demand c and one expert; all fetched, all experts, dense blocks behind them; pre-gated
    between alone and on demand."""
    alone, pre, late, everything = (ask("block", experts=experts, policy=policy) for policy in POLICIES)
    fetch = EXPERT_BYTES / CONSTANTS["host_link"].value
    assert alone < pre < late
    assert late == pytest.approx(alone + fetch, rel=0.01)
    assert everything == pytest.approx(experts * fetch, rel=0.03)
    # The first of six blocks has no gate before it; the others hide their expert.
    assert pre == pytest.approx(alone + fetch / 6, rel=0.01)


def test_more_experts_take_longer_and_more_room() -> None:
    times = [ask("block", experts=16, batch=16, active=n) for n in (1, 2, 4, 8, 16)]
    assert times == sorted(times)
    for policy in POLICIES:
        room = [ask("peak", experts=experts, policy=policy) for experts in (8, 32, 128)]
        assert room == sorted(room)


def test_one_expert_is_dense() -> None:
    # Nothing to choose: fetching all is fetching the one, a block ahead.
    assert ask("block", experts=1, policy="prefetch-all") == pytest.approx(ask("block", experts=1), rel=0.15)


def test_gates_further_ahead_leave_more_blocks_on_demand() -> None:
    near, far = (ask("block", ahead=ahead) for ahead in (1, 3))
    alone, late = (ask("block", policy=policy) for policy in ("gpu-only", "on-demand"))
    # Three of six blocks have no gate before them, not one.
    assert (far - alone) / (late - alone) == pytest.approx(3 / 6, rel=0.05)
    assert (near - alone) / (late - alone) == pytest.approx(1 / 6, rel=0.05)


def test_what_does_not_fit_says_so() -> None:
    study = load_study(NAME)
    large: dict[str, str | int] = {"model": "large", "experts": 256, "policy": "gpu-only"}
    # 24 blocks of 256 experts of 16.8 MB are 103 GB.
    assert study.simulate(study.config(large)) == {"fits": 0.0}
    assert ask("fits", **{**large, "policy": "pre-gated"}) == 1.0
