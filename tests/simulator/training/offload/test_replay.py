"""Planned steps executed: times and peaks are the plan's, buffers go by parity, transfers are in time or stall."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.swap import KERNELS, HostTier, Machine, PlannedStep, plan_step, setting_of
from mappers.planner.swap.gpt_models import gpt_model
from simulator.engine import occupancy
from simulator.training.offload.replay import replay_step
from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model

MACHINE = Machine(
    "machine", 8, 312e12, 2.039e12, 80e9, "hbm", 200e9, 25e9,
    (HostTier("ddr", 250e9, 50e9, 50e9), HostTier("nvme", 3.84e12, 3.8e9, 7e9, None, 2)), KERNELS["attained"], {},
)  # fmt: skip


def agrees(plan: PlannedStep) -> None:
    replayed = replay_step(plan)
    assert replayed.step_s == pytest.approx(plan.times.step_s, rel=1e-9)
    assert replayed.stall_s == pytest.approx(
        plan.times.forward_stall_s + plan.times.backward_stall_s, abs=1e-9 * plan.times.step_s
    )
    assert replayed.peak_bytes["hbm"] == plan.device_bytes
    for name, size in plan.tier_bytes.items():
        assert replayed.peak_bytes[name] == size


@pytest.mark.parametrize("policy", ["keep", "recompute", "swap", "memo", "best"])
@pytest.mark.parametrize("context", [1 << 12, 1 << 16, 1 << 20])
def test_a_published_model(policy: str, context: int) -> None:
    agrees(plan_step(setting_of(gpt_model("gpt-7b"), MACHINE, context), policy))


@pytest.mark.parametrize("policy", ["recompute", "memo", "best"])
def test_states_on_the_host(policy: str) -> None:
    agrees(plan_step(setting_of(gpt_model("gpt-7b"), MACHINE, 1 << 18, states_on_host=True), policy))


@pytest.mark.parametrize("policy", ["keep", "recompute", "best"])
def test_a_head_larger_than_any_layer(policy: str) -> None:
    # Nothing may leave, and the logits of the whole sequence stand at once: then no layer's activations should.
    machine = replace(MACHINE, tiers=(), link_bytes_per_s=0.0)
    plan = plan_step(setting_of(gpt_model("gpt-7b"), machine, 1 << 19, 1), policy)
    agrees(plan)
    if policy != "keep":
        assert plan.fits


@settings(max_examples=15, deadline=None)
@given(
    layers=st.integers(1, 7), chunks=st.sampled_from([None, 1, 3]),
    context=st.integers(8, 512), link=st.floats(0.5, 200), drive=st.floats(0.2, 60),
    host=st.floats(0.005, 1), memory=st.floats(0.2, 4), gated=st.booleans(),
    policy=st.sampled_from(["keep", "recompute", "swap", "memo", "best"]), parts=st.sampled_from([None, 1, 3]),
)  # fmt: skip
def test_any_model_and_machine(
    layers: int,
    chunks: int | None,
    context: int,
    link: float,
    drive: float,
    host: float,
    memory: float,
    gated: bool,
    policy: str,
    parts: int | None,
) -> None:
    block = Block(Attention(8, 2, 128), FeedForward(2048, gated, "gelu"), "rms")
    model = Model("small", "small", 1024, 5000, (block,), (0,) * layers, tied_embeddings=True)
    tiers = (HostTier("ddr", host * 1e9, 3e11, 2e11), HostTier("nvme", 1e12, drive * 1e9, drive * 0.7e9, None, 2))
    machine = replace(MACHINE, devices=2, link_bytes_per_s=link * 1e9, tiers=tiers, memory_bytes=memory * 1e9)
    plan = plan_step(setting_of(model, machine, 2 * context, chunks), policy, parts=parts)
    if plan.shares is not None:
        agrees(plan)
        if plan.fits and policy == "best":
            assert plan.device_bytes <= machine.memory_bytes


def test_two_buffers_at_most() -> None:
    # Swapping everything stalls at short contexts; still never more than two layers' activations are on the device.
    plan = plan_step(setting_of(gpt_model("gpt-7b"), MACHINE, 1 << 12), "swap")
    assert plan.times.forward_stall_s > 0
    replayed = replay_step(plan)
    rest = plan.setting.state_bytes + plan.arena.peak_bytes
    most = max(size for _, size in occupancy(replayed.execution)["hbm"])
    assert most <= rest + 2 * plan.setting.graph.skeletal_bytes


def test_transfers_keep_their_deadlines_or_stall_by_as_much() -> None:
    # Alpha is the largest share that hides: every offload and fetch ends in time, the offloads with nothing to spare.
    setting = setting_of(gpt_model("gpt-7b"), MACHINE, 1 << 13)
    memo = replay_step(plan_step(setting, "memo"))
    assert len(memo.transfers) == 2 * 30
    assert min(transfer.slack_s for transfer in memo.transfers) == pytest.approx(0, abs=1e-9)
    # All of it does not hide: each of 30 offloads is late by what one takes longer than a layer's pass.
    full = plan_step(setting, "swap")
    late = [t for t in replay_step(full).transfers if t.name.startswith("offload")]
    expected = full.times.offload_s - full.times.forward_s
    assert expected > 0
    assert [t.slack_s for t in late] == pytest.approx([-expected] * 30)


def test_no_plan_is_not_executed() -> None:
    machine = replace(MACHINE, tiers=(), link_bytes_per_s=0.0)
    plan = plan_step(setting_of(gpt_model("gpt-7b"), machine, 1 << 21), "best")
    with pytest.raises(InputError) as error:
        replay_step(plan)
    assert str(error.value) == "policy: the plan is infeasible; expected a plan that was found"
