"""What frameworks move more, counted by hand for each element."""

from __future__ import annotations

import pytest

from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Train
from workloads.transforms.training.sparsity import top_k_channels
from workloads.transforms.training.unfused import unfused
from workloads.workload import Workload

TOKENS = 256
STEP = lower(model("Llama-2-7B"), Train(1, TOKENS))


def moved(workload: Workload, layer_name: str, prefix: str) -> float:
    layer = next(layer for layer, _ in workload.layers() if layer.name == layer_name)
    return sum(op.bytes("read") + op.bytes("write") for op in layer.ops if op.name.startswith(prefix))


@pytest.mark.parametrize(
    ("layer", "prefix", "more", "elements"),
    [
        # fp32 in, squared, averaged, scaled, out, gain: 6 + 8 + 4 + 8 + 6 + 2 bytes.
        ("layer", "ffn_norm", 34, 4096),
        # Twice 20 values of 2 bytes for each query and key, less the fused kernel's six.
        ("layer", "cache_append", 28, 4096),
        ("layer", "ffn_activated", 4, 11_008),
        ("layer_backward", "ffn_activated_grad", 8, 11_008),
        # 90 bytes of 14 kernels, of which the fused one moves 8.
        ("layer_backward", "ffn_norm_grad", 82, 4096),
        ("layer_backward", "cache_append_grad", 48, 4096),
    ],
)
def test_bytes_by_hand(layer: str, prefix: str, more: int, elements: int) -> None:
    assert moved(unfused(STEP), layer, prefix) - moved(STEP, layer, prefix) == TOKENS * more * elements


def test_a_selection_reads_ten_times() -> None:
    step = top_k_channels(STEP, 0.25)
    assert moved(unfused(step), "layer", "ffn_activated") - moved(step, "layer", "ffn_activated") == (
        TOKENS * 20 * 11_008
    )
    only = unfused(step, ("rotary-append",))
    assert moved(only, "layer", "ffn_activated") == moved(step, "layer", "ffn_activated")


def test_work_and_room_stay() -> None:
    made = unfused(STEP)
    assert made.total_work().contraction == STEP.total_work().contraction
    for role in ("activations", "gradients", "optimizer"):
        assert made.stored_bytes(role) == STEP.stored_bytes(role)
