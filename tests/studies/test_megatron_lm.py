"""Megatron-LM against its two papers, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from studies.published.megatron_lm import LAYOUTS
from tests.studies.checks import check_honest, errors_of
from workloads.errors import InputError

NAME = "megatron-lm"


def ask(**some: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(some)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [
        ("iteration", 0.115),
        ("iteration_alone", 0.15),
        ("mfu", 0.145),
        ("rate", 0.165),
        ("layer_forward", 0.05),
        ("layer_backward", 0.05),
        ("speed_up", 0.04),
        ("activations", 0.001),
        ("activation_share", 0.015),
        ("states", 0.03),
    ],
)
def test_published_rows(metric: str, tolerance: float) -> None:
    errors = errors_of(NAME, metric)
    assert len(errors) >= 4
    assert max(map(abs, errors)) <= tolerance


def test_activations_are_equations_of_the_paper() -> None:
    """s b h (34 + 5 a s / h) / t a layer and two norms' statistics, 8 bytes a row each; 30 layers on a device."""
    found = ask(model="3.6b", tp=2, recompute="none", global_batch=2, micro_batch=2)
    s, b, h, a, t = 2048, 2, 3072, 32, 2
    layer = s * b * h * (34 + 5 * a * s / h) / t + 2 * 8 * s * b / t
    assert found["activations"] == pytest.approx(30 * layer, rel=0.01)


def test_recomputation_is_a_forward_pass_more() -> None:
    """A layer's overhead is 39 % with everything again, 7 % with attention's scores (table 4)."""
    layout = {**LAYOUTS["22b"], "sequence": False}
    none, some, full = (ask(**layout, recompute=kind) for kind in ("none", "selective", "full"))

    def layer(found: dict[str, float]) -> float:
        return found["layer_forward"] + found["layer_backward"]

    assert full["layer_forward"] == none["layer_forward"] == some["layer_forward"]
    assert layer(full) / layer(none) == pytest.approx(1.39, abs=0.03)
    assert layer(some) / layer(none) == pytest.approx(1.07, abs=0.03)


def test_more_pieces_of_a_stage_wait_less_and_keep_more() -> None:
    layout = LAYOUTS["175b"]
    plain, pieces = ask(**{**layout, "chunks": 1}), ask(**layout)
    assert pieces["iteration"] < plain["iteration"]
    # 1 + (p - 1) / (p m) times as much on the first stage (section 4.2.3).
    assert pieces["activations"] / plain["activations"] == pytest.approx(1 + 7 / 24, rel=1e-6)


def test_kernels_alone_are_never_slower() -> None:
    for layout in LAYOUTS.values():
        found = ask(**layout)
        assert found["iteration_alone"] <= found["iteration"]


def test_one_kernel_of_attention_moves_less_and_keeps_no_scores() -> None:
    apart, fused = ask(recompute="none"), ask(recompute="none", attention="fused")
    assert fused["iteration"] < apart["iteration"]
    assert fused["activations"] < apart["activations"] / 2


def test_replicas_share_the_batch() -> None:
    alone, many = ask(model="7.5b", tp=4, global_batch=4), ask(model="7.5b", tp=4, dp=8, global_batch=32)
    assert many["mfu"] < alone["mfu"]
    assert many["activations"] == alone["activations"]


def test_layouts_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError):
        ask(model="530b", pp=16)
