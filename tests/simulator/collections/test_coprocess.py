"""Experts on two engines at once: tokens are counted, and the longer side is never longer than one engine alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system
from simulator.collections.coprocess import share_experts, uniform_loads
from simulator.collections.elsewhere import ELSEWHERE
from workloads.models import model
from workloads.models.lower import lower
from workloads.phases import Decode
from workloads.workload import Workload

DUPLEX = load_system("duplex")


@given(st.integers(1, 3), st.integers(1, 40), st.sampled_from([1, 2, 4]))
@settings(max_examples=20, deadline=None)
def test_tokens_are_not_lost(top_k: int, tokens: int, ways: int) -> None:
    """The fullest of ``ways`` devices has at least the mean; one device has all."""
    loads = uniform_loads(8, top_k, tokens, ways=ways, draws=16)
    assert len(loads.tokens) == 8 // ways
    assert list(loads.tokens) == sorted(loads.tokens, reverse=True)
    assert sum(loads.tokens) == pytest.approx(loads.imbalance * tokens * top_k / ways)
    assert loads.imbalance >= 1 - 1e-12
    assert ways > 1 or loads.imbalance == pytest.approx(1)


def test_one_token_reaches_its_experts_only() -> None:
    loads = uniform_loads(8, 2, 1)
    assert loads.tokens == (1, 1, 0, 0, 0, 0, 0, 0)
    assert loads.touched == loads.tokens


def step(batch: int) -> Workload:
    return lower(model("Mixtral-8x7B"), Decode(batch, 512))


def moved(batch: int) -> float:
    """Tokens of experts that the memory's engine takes, of all."""
    made = share_experts(step(batch), DUPLEX, uniform_loads(8, 2, batch, draws=64), "tensor", "logic-pim")
    layer = next(layer for layer, _ in made.layers() if layer.name.startswith("layer"))
    rows = {op.name: dict(op.sizes)["m"] for op in layer.ops if op.name.startswith("experts_up")}
    return rows.get(f"experts_up{ELSEWHERE}", 0) / sum(rows.values())


def test_few_tokens_stay_in_memory_and_many_leave_it() -> None:
    """Batch 1: an expert read inside takes a quarter of what it takes outside, both experts less than one outside.
    Batch 4,096: the GPU has nine times the arithmetic, so that one of eight experts takes longer in memory than all of
    them take there."""
    assert moved(1) == 1
    assert moved(4096) == 0
    assert moved(32) > moved(128) > moved(1024)


def test_layers_without_experts_stay() -> None:
    dense = lower(model("Llama-3-8B"), Decode(4, 512))
    assert share_experts(dense, DUPLEX, uniform_loads(8, 2, 4), "tensor", "logic-pim") == dense
