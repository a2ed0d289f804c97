"""Kernels of FSDP and of a plain optimizer: bytes for each parameter, by hand."""

from __future__ import annotations

import pytest

from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.lower import lower
from workloads.phases import Train
from workloads.transforms.training.fsdp_kernels import flat_gradients, update_apart
from workloads.workload import Layer, Workload

_BLOCK = Block(Attention(8, 8, 8, rotary=False), FeedForward(256, gated=False, activation="gelu"), "layer")
MODEL = Model("gpt", "gpt", 64, 96, (_BLOCK,), (0, 0), tied_embeddings=True)
PHASE = Train(1, 16, gradient_format="fp32")


def layer_of(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


def moved(layer: Layer) -> float:
    return sum(op.bytes("read") + op.bytes("write") for op in layer.ops)


@pytest.mark.parametrize(("form", "bytes_each"), [("fp32", 4 + 6 + 8), ("bf16", 4 + 4)])
def test_gradients_are_joined_cast_and_divided(form: str, bytes_each: int) -> None:
    """Joined 2 + 2, cast 2 + 4, divided 4 + 4 (2 + 2 in 16 bits); products write 2 bytes in either case."""
    plain = lower(MODEL, Train(1, 16, gradient_format=form))
    before, after = (layer_of(each, "layer_backward") for each in (plain, flat_gradients(plain)))
    count = sum(t.elements for t in layer_of(plain, "layer").stored if t.role not in ("activations", "kv_cache"))
    narrower = sum(
        o.elements * (4 - 2)
        for op in before.ops
        for o in op.operands
        if form == "fp32" and o.access == "write" and o.stored == "gradients"
    )
    assert moved(after) - moved(before) == pytest.approx(bytes_each * count - narrower)
    assert after.stored == before.stored


def test_a_shared_table_is_joined_once() -> None:
    made = flat_gradients(lower(MODEL, PHASE))
    joins = [count for layer, count in made.layers() for op in layer.ops if op.name.endswith("_join")]
    # Two equal layers, the head's final norm, the embedding's table.
    assert sum(joins) == 4


def test_an_update_in_plain_operations_moves_100_bytes_a_parameter() -> None:
    """The norm 4, clipping 8; moments 8 + 12 each; root 8, unbiased 8, epsilon 8; decay 8, step 16."""
    plain = lower(MODEL, PHASE)
    update = layer_of(update_apart(plain), "layer_update")
    count = dict(next(op for op in layer_of(plain, "layer_update").ops).sizes)["d"]
    assert moved(update) == pytest.approx((12 + 20 + 20 + 24 + 8 + 16) * count)
    assert [op.name for op in update.ops][-1] == "update"
