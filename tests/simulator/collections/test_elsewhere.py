"""Experts computed where they live: nothing is lost in the split, and nothing but activations travels."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.collections.elsewhere import ELSEWHERE, split_layer
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.models.stored_formats import stored_formats
from workloads.phases import Decode
from workloads.workload import Layer, Op


def moe_layer(batch: int, name: str = "Mixtral-8x7B") -> Layer:
    chosen = model(name)
    workload = lower(chosen, Decode(batch, 64), stored_formats(chosen))
    return next(layer for layer, _ in workload.layers() if any(op.name == "experts_up" for op in layer.ops))


def total(layer: Layer, stored: str) -> float:
    return sum(o.elements for op in layer.ops for o in op.operands if o.stored == stored)


@given(st.integers(1, 16), st.floats(0.0, 1.0), st.data())
@settings(max_examples=40, deadline=None)
def test_work_and_weights_are_divided_and_not_lost(batch: int, here: float, data: st.DataObject) -> None:
    layer = moe_layer(batch)
    rows = data.draw(st.integers(1, 2 * batch))
    if rows == 2 * batch:
        here = 0.0
    (tensor,) = (tensor for tensor in layer.stored if tensor.name == "experts_weight")
    split = split_layer(layer, tensor, here, rows)
    assert sum(op.work.total for op in split.ops) == pytest.approx(sum(op.work.total for op in layer.ops))
    assert total(split, "experts_weight") == pytest.approx(total(layer, "experts_weight"))
    for access in ("read", "write"):
        before = sum(o.elements for op in layer.ops for o in op.operands if o.activation and o.access == access)
        after = sum(o.elements for op in split.ops for o in op.operands if o.activation and o.access == access)
        assert after == pytest.approx(before)


def names(layer: Layer) -> set[str]:
    return {step.name for step in layer.steps}


def test_each_half_waits_for_its_own_and_the_rest_for_both() -> None:
    layer = moe_layer(2)
    (tensor,) = (tensor for tensor in layer.stored if tensor.name == "experts_weight")
    split = split_layer(layer, tensor, 0.5, 2)
    chain = {"experts_up", "experts_activated", "experts_down"}
    assert names(split) == names(layer) | {f"{name}{ELSEWHERE}" for name in chain}
    steps = {step.name: step for step in split.steps}
    assert steps[f"experts_down{ELSEWHERE}"].after == (f"experts_activated{ELSEWHERE}",)
    assert set(steps["combine"].after) >= {"experts_down", f"experts_down{ELSEWHERE}"}
    up = steps[f"experts_up{ELSEWHERE}"]
    assert isinstance(up, Op)
    assert dict(up.sizes)["m"] == 2
    # All four rows elsewhere: nothing is left here.
    assert names(split_layer(layer, tensor, 0.0, 4)) == names(layer) - chain | {f"{name}{ELSEWHERE}" for name in chain}
