"""Passes and activations of a lowered training step, by hand."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system, override_values
from mappers.map_workload import map_workload
from simulator.road import simulate
from simulator.training.offload.activation_offload import ActivationLink, run_offload
from simulator.training.offload.activation_step import ActivationStep, StepPass, activation_step, with_dropout
from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.lower import lower
from workloads.models.stored_formats import phase_formats
from workloads.phases import Checkpoint, Decode, Phase, Train

H, HEADS, S, B, LAYERS, V = 512, 4, 256, 2, 3, 1024


def made(checkpoint: Checkpoint = "none", devices: int = 1, phase: Phase | None = None) -> ActivationStep:
    block = Block(Attention(HEADS, HEADS, 128, rotary=False), FeedForward(4 * H, False, "gelu"), "layer")
    model = Model("gpt", "gpt", H, V, (block,), (0,) * LAYERS, False, positions=S)
    system = override_values(load_system("a100-80gb-sxm"), {"devices": devices})
    phase = phase or Train(B, S, checkpoint=checkpoint)
    workload = lower(model, phase, phase_formats(model, phase), devices=devices)
    return activation_step(workload, map_workload(workload, system, fidelity="roofline"), system)


@pytest.mark.parametrize("devices", [1, 2])
def test_kept_bytes_by_hand(devices: int) -> None:
    """34 s b h of arXiv 2205.05198 less two masks, 24 of them divided; two means and scales and the scores' sums in
    fp32."""
    layer = (8 + 24 / devices) * S * B * H + 2 * 2 * 4 * S * B + 4 * S * B * HEADS / devices
    step = made(devices=devices)
    assert step.kept_bytes == LAYERS * layer
    # Two norms with sum, result, mean and scale; projections, attention, its sums; the wide layer before and after.
    assert len(step.kept) == (2 * 4 + 3 + 2) * LAYERS


def test_dropout_by_hand() -> None:
    """34 s b h less nothing: two masks of a byte in each layer; nothing where layers run again."""
    plain = made()
    step = with_dropout(plain)
    assert step.kept_bytes - plain.kept_bytes == LAYERS * 2 * S * B * H
    assert step.compute_s == plain.compute_s
    for name in step.kept:
        first = step.first_backward(name)
        assert first is not None
        assert step.passes[first].module == step.module_of[name]
    assert [step.made_at(name) for name in step.kept] == sorted(step.made_at(name) for name in step.kept)
    assert with_dropout(made("full")).kept_bytes == made("full").kept_bytes


def test_checkpoints_by_hand() -> None:
    step, plain = made("full"), made()
    assert step.kept_bytes == LAYERS * 2 * S * B * H
    assert step.forward_s == pytest.approx(plain.forward_s)
    # Every layer once more, the embedding and the head not.
    again = sum(each.seconds for each in step.passes if each.backward and "_again" in each.name)
    assert step.compute_s == pytest.approx(plain.compute_s + again)


def test_a_backward_pass_is_of_its_forward_pass() -> None:
    step = made()
    for name in step.kept:
        first = step.first_backward(name)
        assert first is not None
        assert step.passes[first].module == step.module_of[name]
    order = [each.module for each in step.passes if each.backward]
    assert order == sorted(order, reverse=True)
    assert len({each.name for each in step.passes}) == len(step.passes)


def test_what_is_handed_on_lives_until_it_is_read() -> None:
    """The last feed-forward's output is read by the head's norm, each layer's gradient by the next layer down, until
    its own residual stream is done."""
    step = made()
    last = next(name for name in step.bytes_of if name.startswith(f"ffn_down~{LAYERS}"))
    readers = [step.passes[at].name for at in step.read_at(last)]
    assert readers == [f"final_norm@{LAYERS + 1}"]
    gradient = next(name for name in step.bytes_of if name.startswith(f"d_branch~{LAYERS + 1}"))
    assert [step.passes[at].name.partition("@")[0] for at in step.read_at(gradient)] == [
        "ffn_down_dgrad", "ffn_down_wgrad", "ffn_norm_grad",
    ]  # fmt: skip


def test_the_peak_of_keeping_by_hand() -> None:
    """At the loss: what layers keep, and in the head its sum, its norm, logits and their gradient, statistics, and
    before the logits' gradient nothing else."""
    step = made()
    rows = S * B
    head = 2 * 2 * rows * H + 2 * 2 * rows * V + (2 + 1) * 4 * rows
    assert run_offload(step, (), ActivationLink(1.0, 1.0)).peak_bytes == step.kept_bytes + head


def test_the_road_takes_as_long() -> None:
    """What `simulate` finds of the same step, but for the update."""
    block = Block(Attention(HEADS, HEADS, 128, rotary=False), FeedForward(4 * H, False, "gelu"), "layer")
    model = Model("gpt", "gpt", H, V, (block,), (0,) * LAYERS, False, positions=S)
    result = simulate(model, Train(B, S), load_system("a100-80gb-sxm"))
    update = sum(row.total_s for row in result.ops if row.op == "update")
    assert made().compute_s == pytest.approx(result.latency_s - update, rel=1e-9)


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(InputError, match="of a training step"):
        made(phase=Decode(1, 16))
    with pytest.raises(InputError, match="reads a before"):
        ActivationStep((StepPass("F", 0, False, 1.0, (), ("a",)),), {"a": 1.0}, (), {})
    with pytest.raises(InputError, match="no pass makes b"):
        ActivationStep((StepPass("F", 0, False, 1.0, ("a",)),), {"a": 1.0}, ("b",), {})
