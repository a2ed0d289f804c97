"""SmallThinker and EdgeMoE against model cards, and in their limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of, rows
from workloads.errors import InputError

NAME = "smallthinker-edgemoe"


def ask(metric: str, **keys: str | int | float) -> float:
    """One metric where the other keys are at their defaults."""
    study = load_study(NAME)
    return study.simulate(study.config(keys))[metric]


def test_it_is_honest() -> None:
    check_honest(NAME)


def test_sizes_are_those_published() -> None:
    # Files have some tensors in wider formats.
    assert max(map(abs, errors_of(NAME, "model_bytes"))) < 0.06
    assert max(map(abs, errors_of(NAME, "expert_bytes"))) < 0.005


def test_models_in_memory_on_the_phone() -> None:
    found = [row for row in rows(NAME) if row.metric == "tokens" and row.config["device"] == "phone"]
    assert all(row.free_of_fits for row in found)
    small = [row.error for row in found if str(row.config["model"]).startswith("smallthinker")]
    assert max(abs(error or 0.0) for error in small) < 0.05


@pytest.mark.parametrize("model", ["smallthinker-4b", "smallthinker-21b"])
def test_earlier_is_no_slower(model: str) -> None:
    memory = 1.0 if model == "smallthinker-4b" else 4.0
    late, early = (
        ask("latency", model=model, memory=memory, policy=policy) for policy in ("on-demand", "router-first")
    )
    assert early <= late
    assert 1 / ask("tokens", model=model, policy="in-memory") <= early


def test_a_window_of_attention_hides_what_it_takes() -> None:
    """What travels beside attention: at most the time from a block's router to its experts."""
    saved = {}
    for context in (128, 4096):
        late, early = (ask("latency", memory=0.6, context=context, policy=p) for p in ("on-demand", "router-first"))
        saved[context] = late - early
    # Longer contexts attend longer and hide more.
    assert 0 < saved[128] < saved[4096]
    assert saved[4096] <= ask("io", memory=0.6, context=4096) * 1.01


def test_a_router_behind_attention_has_nothing_to_hide_behind() -> None:
    late, early = (
        ask("latency", model="qwen3-30b-a3b", memory=6.0, policy=policy) for policy in ("on-demand", "router-first")
    )
    assert early == pytest.approx(late, rel=1e-3)


def test_more_memory_is_faster_up_to_all_experts() -> None:
    found = [ask("tokens_limited", memory=memory) for memory in (0.5, 1.0, 1.5, 0.0)]
    assert found == sorted(found)
    assert ask("tokens_limited", router="uniform", memory=1.0) < found[1]


def test_a_predictor_is_between_its_limits() -> None:
    """EdgeMoE: T = p max(c, io) + (1 - p)(c + io). Switch-Base of 128, next to nothing cached."""
    at: dict[str, str | int | float] = {"model": "switch-base-128", "memory": 0.15, "policy": "predicted"}
    times = [ask("latency", accuracy=p, **at) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
    compute = 1 / ask("tokens", model="switch-base-128", policy="in-memory")
    io = ask("io", **at)
    assert times == sorted(times, reverse=True)
    # Nothing named: one after the other, but for the start of each transfer.
    assert times[0] == pytest.approx(compute + io, rel=0.10)
    # All named: no sooner than the longer of the two, and the first of six blocks is never named.
    assert max(compute, io) <= times[-1] < times[0]
    # In between, in proportion; 48 draws of experts that may be named or not.
    for p, time in zip((0.25, 0.5, 0.75), times[1:4], strict=True):
        assert time == pytest.approx(p * times[-1] + (1 - p) * times[0], abs=0.2 * (times[0] - times[-1]))


def test_a_memory_too_small_for_the_rest_is_refused() -> None:
    with pytest.raises(InputError, match=r"memory of 0\.1 GiB"):
        ask("latency", memory=0.1)
