"""Experts divided over devices, by hand: weights, rows, experts touched and tokens sent of one device."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system
from simulator.transport import collective_cost
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.models.lower_feed_forward import ExpertShare, expected_distinct_experts
from workloads.phases import Decode
from workloads.workload import Collective, Layer, Op, Workload

# Mixtral-8x7B: 32 layers, hidden 4,096, 8 experts of three matrices 4,096 x 14,336, 2 for each token.
MIXTRAL = model("Mixtral-8x7B")
EXPERT = 3 * 4096 * 14336


def layer_of(workload: Workload) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == "layer")


def op_of(workload: Workload, name: str) -> Op:
    return next(op for op in layer_of(workload).ops if op.name == name)


def exchanges(workload: Workload) -> list[Collective]:
    return [step for step in layer_of(workload).steps if isinstance(step, Collective) and step.kind == "all_to_all"]


def test_without_a_share_each_expert_is_cut() -> None:
    workload = lower(MIXTRAL, Decode(16, 100), devices=4)
    assert workload.stored_bytes("experts") == 2 * 32 * 8 * EXPERT / 4
    assert dict(op_of(workload, "experts_up").sizes) == {"m": 32, "n0": 4096, "n1": 2 * 14336 // 4}
    assert exchanges(workload) == []


def test_within_the_devices_of_attention_the_all_reduce_sums() -> None:
    """Four ways over four devices: two whole experts on each; of 16 tokens' 32 choices a quarter, 8, on each."""
    workload = lower(MIXTRAL, Decode(16, 100), devices=4, experts=ExpertShare(4))
    assert workload.stored_bytes("experts") == 2 * 32 * 8 * EXPERT / 4
    up = op_of(workload, "experts_up")
    assert dict(up.sizes) == {"m": 8, "n0": 4096, "n1": 2 * 14336}
    touched = next(operand.elements for operand in up.operands if operand.stored == "experts_weight")
    assert touched == pytest.approx(expected_distinct_experts(8, 2, 16) / 4 * 4096 * 2 * 14336)
    assert exchanges(workload) == []


def test_over_groups_tokens_travel_to_their_experts_and_back() -> None:
    """Eight ways over groups of two: four groups of 16 tokens, 128 choices, 16 on each device; two exchanges of eight.

    A device sends its half of its group's 32 choices, 4,096 values each: 65,536.
    """
    workload = lower(MIXTRAL, Decode(16, 100), devices=2, experts=ExpertShare(8, groups=4))
    assert workload.stored_bytes("experts") == 2 * 32 * EXPERT
    assert dict(op_of(workload, "experts_up").sizes)["m"] == 16
    dispatch, back = exchanges(workload)
    assert (dispatch.elements, back.elements) == (65536, 65536)
    assert (dispatch.devices, back.devices) == (8, 8)
    assert "experts_up" in {step.name for step in layer_of(workload).steps if "dispatch" in step.after}


def test_uneven_tokens_load_the_fullest_device() -> None:
    workload = lower(MIXTRAL, Decode(16, 100), devices=2, experts=ExpertShare(8, groups=4, imbalance=1.5))
    assert dict(op_of(workload, "experts_up").sizes)["m"] == 24
    assert exchanges(workload)[0].elements == 1.5 * 65536


def test_an_exchange_is_of_its_own_devices() -> None:
    """Of 8 devices each sends seven eighths of its payload, whatever number of devices the workload has."""
    system = load_system("h100-sxm")
    step = Collective("dispatch", "all_to_all", 8_000_000, "bf16", (), devices=8)
    assert collective_cost(system, step, 2)[0] == pytest.approx(7 / 8 * 16e6)


def test_experts_that_cannot_be_divided() -> None:
    with pytest.raises(InputError) as caught:
        lower(MIXTRAL, Decode(1, 100), devices=3, experts=ExpertShare(3))
    assert caught.value.field in ("expert", "devices")
