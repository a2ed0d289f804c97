"""Products apart, what is computed again and what is saved all the same: work and bytes by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Train
from workloads.transforms.training.checkpoints import needed_again, saved_products
from workloads.transforms.training.products_apart import products_apart
from workloads.workload import Layer, Workload

T, H, F, HEADS, KV, WIDTH = 32, 64, 96, 4, 2, 16
BLOCK = Block(Attention(HEADS, KV, WIDTH), FeedForward(F, True, "silu"), "rms")
SMALL = Model("small", "llama", H, 100, (BLOCK,), (0, 0, 0), False)


def lowered(checkpoint: str = "full", devices: int = 1) -> Workload:
    return lower(SMALL, Train(1, T, checkpoint, "logits", 1, "fp32"), devices=devices)  # type: ignore[arg-type]


def layer(workload: Workload, name: str) -> Layer:
    return next(each for each, _ in workload.layers() if each.name == name)


def work(layer: Layer, kind: str = "gemm", end: str = "") -> float:
    return sum(op.work.total for op in layer.ops if op.kind == kind and op.name.endswith(end))


def kept(layer: Layer) -> float:
    return sum(tensor.bytes for tensor in layer.stored if tensor.role == "activations")


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("checkpoint", ["none", "selective", "full"])
def test_products_apart_do_the_same_work_and_read_their_input_for_each_part(checkpoint: str, devices: int) -> None:
    before = lowered(checkpoint, devices)
    after = products_apart(before)
    for name in ("layer", "layer_backward"):
        assert work(layer(after, name)) == work(layer(before, name))
        assert kept(layer(after, name)) == kept(layer(before, name))
    names = [op.name for op in layer(after, "layer").ops if op.kind == "gemm"]
    assert names == ["qkv_q", "qkv_k", "qkv_v", "output", "ffn_up_gate", "ffn_up_up", "ffn_down"]
    extra = sum(op.bytes("read") for op in layer(after, "layer").ops) - sum(
        op.bytes("read") for op in layer(before, "layer").ops
    )
    assert extra == (2 + 1) * 2 * T * H


def test_without_such_products_nothing_changes() -> None:
    """A feed-forward without a gate has one product up; queries, keys and values come apart all the same."""
    apart = products_apart(lower(model("GPT-2"), Train(1, 64, "full")))
    names = [op.name for op in layer(apart, "layer").ops if op.kind == "gemm"]
    assert "ffn_up" in names
    assert "qkv" not in names


def test_the_last_product_of_a_layer_is_not_needed_again() -> None:
    """Its result goes to the next layer, which kept its own input: the whole forward pass but that product runs."""
    before, after = lowered(), needed_again(lowered())
    forward = work(layer(before, "layer"))
    assert work(layer(before, "layer_backward"), end="_again") == forward
    assert work(layer(after, "layer_backward"), end="_again") == forward - 2 * T * F * H
    assert needed_again(after) == after
    assert needed_again(lowered("none")) == lowered("none")


def test_the_last_exchange_is_not_needed_again_either() -> None:
    """Over two devices the last product's sum goes with it, the other one stays."""
    before, after = (layer(each, "layer_backward") for each in (lowered("full", 2), needed_again(lowered("full", 2))))
    again = [
        [s.name for s in each.steps if "reduce" in s.name and s.name.endswith("_again")] for each in (before, after)
    ]
    assert len(again[0]) == 2
    assert again[1] == again[0][:1]


def test_every_second_product_is_saved() -> None:
    """Of q, k, v, output, gate, up, down: q, v, gate and down; and attention's result with its statistics. Then k,
    output and up run again."""
    after = saved_products(needed_again(products_apart(lowered())))
    h, kv = 2 * T * H, 2 * T * KV * WIDTH
    assert kept(layer(after, "layer")) == h + h + kv + (h + 4 * T * HEADS) + 2 * T * F + h
    again = work(layer(after, "layer_backward"), end="_again")
    assert again == 2 * T * H * (KV * WIDTH + H + F)
    assert work(layer(after, "layer_backward"), "attention", "_again") == 0


def test_a_token_of_llama_3_8b_keeps_63616_bytes_a_layer() -> None:
    """4 x 4,096 of width and 1,024 of values in 16 bits, 14,336 of the gate, and 32 sums of 32 bits."""
    workload = saved_products(needed_again(products_apart(lower(model("llama-3-8b"), Train(1, 1024, "full")))))
    assert kept(layer(workload, "layer")) / 1024 == 2 * (4 * 4096 + 1024 + 14336) + 4 * 32


def test_what_is_not_checkpointed_stays() -> None:
    assert saved_products(lowered("none")) == lowered("none")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8))
def test_what_is_saved_is_not_computed_again(every: int) -> None:
    """Every layer's products are saved or run again, none is both; fewer saved, more work."""
    base = needed_again(products_apart(lowered()))
    backward = layer(saved_products(base, every), "layer_backward")
    stored = {tensor.name for tensor in backward.stored}
    for op in backward.ops:
        if op.kind == "gemm" and op.name.endswith("_again"):
            assert not {o.stored for o in op.operands if o.access == "write"} & stored
    more = layer(saved_products(base, every + 1), "layer_backward")
    assert (every > 1) <= (work(more, end="_again") <= work(layer(base, "layer_backward"), end="_again"))
