"""Policies on MEMO's machine: bytes by hand, which fit, the published utilisation, and never worse than the rule."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from mappers.planner.swap import PlannedStep, plan_step, setting_of
from mappers.planner.swap.gpt_models import gpt_model
from mappers.planner.swap.setting import STATE_BYTES
from tests.mappers.planner.swap.machines import a800
from workloads.errors import InputError
from workloads.models.catalogue import model as catalogue_model
from workloads.models.counts import parameters

GIB = 2**30
MILLION = 1 << 20


@cache
def planned(policy: str, context: int = MILLION, kernels: str = "attained", name: str = "gpt-7b") -> PlannedStep:
    return plan_step(setting_of(gpt_model(name), a800(kernels), context), policy)


def test_bytes_by_hand_at_a_million_tokens() -> None:
    # 16 GiB of skeletal activations a layer and device (32 h bytes, 4096, 8 devices). Transients: 20 GiB in a layer's
    # backward pass (two gathered sequences of 8 GiB, one of 4 GiB) and two gradients of 1 GiB.
    states = STATE_BYTES * parameters(gpt_model("gpt-7b")).total // 8
    arena = 22 * GIB
    keep, again, memo = planned("keep"), planned("recompute"), planned("memo")
    assert keep.device_bytes == pytest.approx(states + 32 * 16 * GIB + arena, abs=1)
    assert again.device_bytes == pytest.approx(states + 32 * GIB + 15 * GIB + arena, abs=1)
    assert memo.device_bytes == pytest.approx(states + 2 * 16 * GIB + arena, abs=1)
    assert planned("swap").tier_bytes == {"ddr": 30 * 16 * GIB, "nvme": 0}


def test_what_fits_at_a_million_tokens() -> None:
    # The paper trains it on 8 GPUs of 80 GB with 2 TB of host memory by swapping a part: neither end does.
    assert planned("keep").status == "infeasible"
    full = planned("recompute")
    assert full.status == "infeasible"
    assert full.missing == {"hbm": full.device_bytes - 80e9}
    assert full.extra == full.missing
    swap = planned("swap")
    assert (swap.status, list(swap.missing)) == ("infeasible", ["ddr"])
    memo = planned("memo")
    assert (memo.status, memo.missing) == ("optimal", {})
    assert memo.alpha is not None
    assert memo.alpha.alpha == pytest.approx(0.412, abs=1e-3)
    assert memo.alpha.bound == "host memory"


def test_published_utilisation_lies_between_the_kernels() -> None:
    # MEMO's abstract: 52.30 % for 7B at a million tokens on 8 A800. Nothing here was fitted to it: with kernels as
    # measured in frameworks ours is below, with kernels at their published best above.
    assert planned("memo", kernels="attained").mfu < 0.5230 < planned("memo", kernels="best").mfu


@pytest.mark.parametrize("kernels", ["attained", "best"])
def test_swapping_beats_recomputation_less_and_less(kernels: str) -> None:
    # Full recomputation adds a forward pass, a third of forward and backward products; of attention, which takes over
    # at length, 2 of 7. So the ratio falls towards 9 / 7 for attention alone with equal kernels, and no further.
    ratios = []
    for context in (1 << 16, 1 << 18, 1 << 19):
        memo, full = planned("memo", context, kernels), planned("recompute", context, kernels)
        assert memo.fits
        assert full.fits
        ratios.append(full.times.step_s / memo.times.step_s)
    assert ratios == sorted(ratios, reverse=True)
    assert min(ratios) > 1.2


@pytest.mark.parametrize(
    ("context", "kernels"), [(1 << 12, "best"), (1 << 14, "attained"), (1 << 18, "best"), (MILLION, "attained")]
)
def test_best_is_never_worse_than_alpha(context: int, kernels: str) -> None:
    best = planned("best", context, kernels)
    assert best.status == "optimal"
    assert best.device_bytes <= 80e9
    for policy in ("memo", "swap", "recompute", "keep"):
        other = planned(policy, context, kernels)
        if other.fits:
            assert best.times.step_s <= other.times.step_s * (1 + 1e-6)


def test_alpha_is_held_back_by_the_link_then_by_the_host() -> None:
    bounds = [(planned("memo", context).alpha) for context in (1 << 12, 1 << 17, 1 << 20)]
    assert [alpha.bound for alpha in bounds if alpha] == ["time", "nothing", "host memory"]


def test_whole_tensors_cannot_beat_parts() -> None:
    setting = setting_of(gpt_model("gpt-7b"), a800(drives=False), MILLION)
    whole, parts, free = (plan_step(setting, "best", parts=count) for count in (1, 4, None))
    assert whole.status == parts.status == free.status == "optimal"
    assert whole.times.step_s >= parts.times.step_s * (1 - 1e-9) >= free.times.step_s * (1 - 1e-6)
    assert whole.shares is not None
    for share in whole.shares.values():
        assert all(part in (0, 1) for part in (share.keep, share.recompute, *share.swap.values()))


def test_no_plan_says_what_each_memory_would_need() -> None:
    # Twice the context: two rounding buffers of 32 GiB, 44 GiB of transients, the states, and 80 GB to put them in;
    # with one buffer and no swapping 31 layer inputs of 2 GiB beside one of 32 instead.
    setting = setting_of(gpt_model("gpt-7b"), a800(drives=False), 2 * MILLION)
    plan = plan_step(setting, "best")
    assert (plan.status, plan.shares, plan.missing) == ("infeasible", None, {})
    two = setting.state_bytes + 64 * GIB + 44 * GIB - 80e9
    assert plan.extra == {"hbm": pytest.approx(two, rel=1e-5)}
    larger = replace(setting, machine=replace(setting.machine, memory_bytes=80e9 + plan.extra["hbm"] + 1e6))
    assert plan_step(larger, "best").status == "optimal"
    smaller = replace(setting, machine=replace(setting.machine, memory_bytes=80e9 + plan.extra["hbm"] - 1e6))
    assert plan_step(smaller, "best").status == "infeasible"


def test_a_machine_without_a_host() -> None:
    machine = replace(a800(), tiers=(), link_bytes_per_s=0.0)
    setting = setting_of(gpt_model("gpt-7b"), machine, 1 << 18)
    with pytest.raises(InputError) as error:
        plan_step(setting, "memo")
    assert str(error.value) == "policy: a100-80gb-sxm has no host memory behind its devices; expected keep, recompute"
    best = plan_step(setting, "best")
    assert best.status == "optimal"
    assert best.times.step_s <= plan_step(setting, "recompute").times.step_s


def test_states_on_the_host_make_room() -> None:
    # 12 of 18 bytes a parameter leave the device; the host holds them and a gradient, 16 in all.
    setting = setting_of(gpt_model("gpt-7b"), a800(), MILLION, states_on_host=True)
    own = parameters(gpt_model("gpt-7b")).total / 8
    assert setting.state_bytes == pytest.approx(6 * own, abs=1)
    assert setting.host_state_bytes == pytest.approx(16 * own, abs=1)
    # So full recomputation fits, and MEMO has less of the host's memory for activations.
    full, memo = plan_step(setting, "recompute"), plan_step(setting, "memo")
    assert full.fits
    assert memo.alpha is not None
    assert memo.alpha.alpha == pytest.approx(((250e9 - 16 * own) / 30 / GIB - 2) / 14)
    assert memo.tier_bytes["ddr"] == pytest.approx(250e9)
    assert setting.update is not None
    assert setting.update.bound_s <= setting.update_s <= setting.update.all_host_s


def test_gated_models_too() -> None:
    plan = plan_step(setting_of(catalogue_model("Llama-3-8B"), a800(), 1 << 18), "memo")
    assert plan.status == "optimal"
    assert plan.mfu > plan_step(plan.setting, "recompute").mfu


def test_an_unknown_policy() -> None:
    with pytest.raises(InputError, match="did you mean 'recompute'"):
        planned("recomputed", 1 << 14)
