"""Crossovers against closed forms: a machine on which products alone take time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.planner.swap import KERNELS, machine_of, plan_step, setting_of
from mappers.planner.swap.gpt_models import gpt_model
from simulator.training.offload.crossovers import (
    HidePoint,
    batch_curve,
    context_curve,
    context_where_offload_hides,
    from_which_on,
    hide_point,
    width_curve,
    width_where_offload_hides,
)
from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.transforms.training.sequence_parallel import sequence_parallel

RATE = 300e12


def gpt(hidden: int, layers: int = 2) -> Model:
    heads = hidden // 128
    block = Block(Attention(heads, heads, 128, rotary=False), FeedForward(4 * hidden, False, "gelu"), "layer")
    return Model("gpt", "gpt", hidden, 1024, (block,), (0,) * layers, False, positions=0)


def products_only() -> System:
    """Memory and launches are free."""
    changes: dict[str, float] = {"tiers.hbm.bandwidth": 1e21, "tiers.hbm.capacity": 1e18}
    system = load_system("a100-80gb-sxm")
    for name, engine in system.engines.items():
        changes[f"engines.{name}.launch_overhead"] = 0.0
        for form in engine.throughput_ops_per_s:
            # Just below, so that products stay where they belong: all else is few operations.
            changes[f"engines.{name}.throughput.{form}"] = RATE if name == "tensor" else 0.999 * RATE
    return override_values(system, changes)


SYSTEM = products_only()


def kept(hidden: int, tokens: int) -> float:
    """32 bytes a token and channel; means and scales of two norms and sums of the scores in fp32."""
    return tokens * (32.0 * hidden + 16 + 4 * hidden / 128)


def forward_s(hidden: int, tokens: int) -> float:
    """24 s h^2 of the weights, 4 s^2 h of scores of which a causal mask leaves (s + 1) / 2s."""
    return (24.0 * tokens * hidden**2 + 2.0 * tokens * (tokens + 1) * hidden) / RATE


@pytest.mark.parametrize(("hidden", "tokens"), [(1024, 2048), (4096, 8192), (512, 65536)])
def test_a_point_by_hand(hidden: int, tokens: int) -> None:
    point = hide_point(gpt(hidden), SYSTEM, tokens)
    assert point.kept_bytes == 2 * kept(hidden, tokens)
    assert point.forward_s == pytest.approx(2 * forward_s(hidden, tokens), rel=0.01)
    k = kept(hidden, tokens) / 20e9 / forward_s(hidden, tokens)
    assert point.ratio(20e9, "forward") == pytest.approx(k, rel=0.01)
    assert point.margin(20e9, "forward") == pytest.approx(1 - k, rel=0.02, abs=0.005)
    # Backward twice the weights' work, and five products of scores for two.
    back = (48.0 * tokens * hidden**2 + 2.5 * 2.0 * tokens * (tokens + 1) * hidden) / RATE
    assert point.backward_s == pytest.approx(2 * back, rel=0.01)
    k = 2 * kept(hidden, tokens) / 20e9 / (forward_s(hidden, tokens) + back)
    assert point.ratio(20e9) == pytest.approx(k, rel=0.01)


@pytest.mark.parametrize("link", [10e9, 20e9, 40e9])
def test_the_context_by_hand(link: float) -> None:
    """32 h + 16 + a/32 bytes a token over B equal 24 h^2 + 2 (s + 1) h over the rate: s from there."""
    hidden = 2048
    by_hand = ((32 * hidden + 16 + 4 * hidden / 128) * RATE / link - 24 * hidden**2) / (2 * hidden) - 1
    found = context_where_offload_hides(gpt(hidden), SYSTEM, link, rule="forward", step=1, low=256)
    assert found is not None
    assert found == pytest.approx(by_hand, rel=0.01, abs=2)


def test_where_it_never_hides_and_where_it_always_does() -> None:
    assert context_where_offload_hides(gpt(1024), SYSTEM, 1e6) is None
    assert context_where_offload_hides(gpt(1024), SYSTEM, 1e15) == 1024


def test_the_width_by_hand() -> None:
    """32 h s / B = 24 s h^2 / rate where attention is little: h = 4/3 rate / B."""
    found = width_where_offload_hides(
        lambda hidden: gpt(hidden, 1), SYSTEM, 60e9, context=256, rule="forward", step=128, high=16384
    )
    by_hand = 4 / 3 * RATE / 60e9 - 2 * 257 / 24
    assert found == pytest.approx(by_hand, abs=128)


def test_curves() -> None:
    """What must be moved a second falls with context and width, and does not depend on the batch while products take
    all of the time; more tokens at once then need the link no less."""
    contexts = context_curve(gpt(1024), SYSTEM, (2048, 8192, 32768))
    needed = [point.needed_bytes_per_s() for point in contexts]
    assert needed == sorted(needed, reverse=True)
    widths = width_curve(lambda hidden: gpt(hidden), SYSTEM, (512, 2048, 8192), context=1024)
    needed = [point.needed_bytes_per_s() for point in widths]
    assert needed == sorted(needed, reverse=True)
    batches = batch_curve(gpt(1024), SYSTEM, (1, 4, 16), context=1024)
    needed = [point.needed_bytes_per_s() for point in batches]
    assert needed == pytest.approx([needed[0]] * 3, rel=1e-6)


def test_on_a_machine_small_batches_need_less() -> None:
    """Weights are read however few tokens there are: the link has time."""
    points = batch_curve(gpt(4096), load_system("a100-80gb-sxm"), (1, 4, 16), context=64)
    needed = [point.needed_bytes_per_s() for point in points]
    assert needed == sorted(needed)
    assert needed[0] < 0.7 * needed[-1]


@pytest.mark.parametrize(("name", "devices"), [("gpt-7b", 8), ("gpt-13b", 1)])
def test_memo_swaps_all_from_about_there(name: str, devices: int) -> None:
    """MEMO's planner has times and activations of its own: from a quarter beyond our crossing on it swaps all tokens,
    and a quarter before it does not."""
    best = KERNELS["best"]
    changes: dict[str, float] = {"devices": devices, "tiers.hbm.capacity": 1e15, "tiers.ddr.capacity": 1e16}
    system = override_values(load_system("a100-80gb-sxm"), changes | {"fabric.bandwidth": 200e9})
    machine, model = machine_of(system, best, drives=False), gpt_model(name)
    changes = {"engines.tensor.throughput.bf16": 312e12 * best.gemm}
    changes |= {f"engines.{engine}.launch_overhead": 0.0 for engine in system.engines}
    found = context_where_offload_hides(
        model, override_values(system, changes), machine.link_bytes_per_s, rule="forward", transform=sequence_parallel
    )
    assert found is not None

    def alpha(tokens: float) -> float | None:
        plan = plan_step(setting_of(model, machine, round(tokens / 1024) * 1024), "memo")
        assert plan.alpha is not None
        return plan.alpha.alpha

    before, beyond = alpha(0.75 * found), alpha(1.25 * found)
    assert beyond == 1
    assert before is not None
    assert before < 1


def test_drives() -> None:
    point = HidePoint("m", 1, 1, 1, 1.0, 2.0, 30e9)
    assert point.needed_bytes_per_s() == 20e9
    assert point.needed_bytes_per_s("forward") == 30e9
    assert [point.drives(rate) for rate in (30e9, 20e9, 7e9, 6.2e9)] == [1, 1, 3, 4]


@settings(max_examples=100, deadline=None)
@given(crossing=st.integers(1, 5000), low=st.integers(1, 300), span=st.integers(0, 4000), step=st.integers(1, 50))
def test_bisection_finds_what_a_walk_finds(crossing: int, low: int, span: int, step: int) -> None:
    high = low + span
    walk = [value for value in range(low, high + 1) if value % step == 0]
    if not walk:
        with pytest.raises(InputError, match="no multiple"):
            from_which_on(lambda value: value - crossing, low, high, step)
        return
    expected = next((value for value in walk if value >= crossing), None)
    assert from_which_on(lambda value: value - crossing, low, high, step) == expected


def test_what_hides_below_is_not_taken() -> None:
    """A margin that is good below 10 and from 700 on: 700 is the crossing."""
    assert from_which_on(lambda value: 1.0 if value < 10 or value >= 700 else -1.0, 1, 4096) == 700


def test_what_is_wrong_is_named() -> None:
    point = HidePoint("m", 1, 1, 1, 1.0, 2.0, 3.0)
    with pytest.raises(InputError) as error:
        point.needed_bytes_per_s("steps")  # type: ignore[arg-type]
    assert error.value.nearest == "step"
    with pytest.raises(InputError, match="above 0"):
        point.ratio(0.0)
