"""Fused layers do the same work with one launch and without the traffic between their operations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system
from mappers.roofline import roofline_workload
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Prefill
from workloads.transforms.fusion import fused_layers

LLAMA = model("Llama-2-7B")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 2000), st.floats(0, 1e9))
def test_work_and_weights_stay_and_traffic_only_falls(batch: int, context: int, room: float) -> None:
    whole = lower(LLAMA, Prefill(batch, context))
    fused = fused_layers(room)(whole)
    assert fused.total_work() == whole.total_work()
    assert fused.stored_bytes() == whole.stored_bytes()
    for access in ("read", "write"):
        assert fused.touched_bytes(access) <= whole.touched_bytes(access)


def test_traffic_of_a_fused_layer_by_hand() -> None:
    """100 tokens: a layer's weights, its keys and values written and read, and what enters and leaves it.

    In come the residual and the branch, out go both: the residual is written twice, by either norm, and read by the
    second, for it enters the layer; 4,096 values of 2 bytes each time.
    """
    layer = next(
        layer for layer, _ in fused_layers(1e9)(lower(LLAMA, Prefill(1, 100))).layers() if layer.name == "layer"
    )
    moved = sum(op.bytes("read") + op.bytes("write") for op in layer.ops)
    weights = 2 * (4 * 4096 * 4096 + 3 * 4096 * 11008 + 2 * 4096)
    row = 100 * 4096 * 2
    assert moved == pytest.approx(weights + 4 * row + 6 * row)


def test_one_launch_a_layer() -> None:
    system = load_system("sn40l-node")
    for room in (0.0, 1e9):
        mapped = roofline_workload(fused_layers(room)(lower(LLAMA, Decode(1, 64))), system)
        for layer in mapped.layers.values():
            assert sum(op.overhead_s > 0 for op in layer.ops.values()) == 1


def test_nothing_fits_no_chip() -> None:
    whole = lower(LLAMA, Decode(4, 64))
    assert fused_layers(0.0)(whole).touched_bytes("read") == whole.touched_bytes("read")
