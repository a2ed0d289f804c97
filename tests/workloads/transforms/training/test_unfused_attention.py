"""Attention in separate kernels against the bytes of Korthikanti et al. (arXiv 2205.05198, section 4)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.lower import lower
from workloads.phases import Checkpoint, Prefill, Train
from workloads.transforms.training.sequence_parallel import sequence_parallel
from workloads.transforms.training.sums_apart import sums_apart
from workloads.transforms.training.unfused_attention import unfused_attention
from workloads.workload import Layer, Op, Workload

HEADS, HIDDEN = 8, 64


def gpt(kv_heads: int = HEADS) -> Model:
    attention = Attention(HEADS, kv_heads, HIDDEN // HEADS, qkv_bias=True, output_bias=True, rotary=False)
    block = Block(attention, FeedForward(4 * HIDDEN, gated=False, activation="gelu", bias=True), "layer")
    return Model("gpt", "gpt", HIDDEN, 96, (block,), (0, 0), tied_embeddings=False)


def step(phase: Train, devices: int = 1, *, sequence: bool = False, dropout: bool = True) -> Workload:
    workload = lower(gpt(), phase, devices=devices)
    if sequence:
        workload = sequence_parallel(workload)
    return sums_apart(unfused_attention(workload, dropout=dropout), dropout=dropout)


def layer_of(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


def kept(workload: Workload) -> float:
    """Kept bytes of a layer, statistics of norms (fp32) aside."""
    stored = layer_of(workload, "layer").stored
    return sum(t.bytes for t in stored if t.role == "activations" and not t.name.endswith(("_mu", "_is")))


def op(workload: Workload, layer: str, name: str) -> Op:
    return next(each for each in layer_of(workload, layer).ops if each.name == name)


@given(devices=st.sampled_from([1, 2, 4, 8]), batch=st.integers(1, 3), context=st.sampled_from([8, 16, 40]))
@settings(max_examples=20, deadline=None)
def test_bytes_kept_are_the_papers(devices: int, batch: int, context: int) -> None:
    """Equations 1, 2, 4, and those of table 2: all of it, of it per tensor device, tokens divided too, scores again."""
    s, b, h, a, t = context, batch, HIDDEN, HEADS, devices
    scores = 5 * a * s / h
    assert kept(step(Train(b, s), t)) == pytest.approx(s * b * h * (10 + 24 / t + scores / t))
    assert kept(step(Train(b, s, "selective"), t)) == pytest.approx(s * b * h * (10 + 24 / t))
    assert kept(step(Train(b, s, "full"), t)) == pytest.approx(2 * s * b * h)
    if t > 1:
        assert kept(step(Train(b, s), t, sequence=True)) == pytest.approx(s * b * h / t * (34 + scores))
        assert kept(step(Train(b, s, "selective"), t, sequence=True)) == pytest.approx(34 * s * b * h / t)


@pytest.mark.parametrize("checkpoint", ["none", "selective", "full"])
def test_products_do_the_work_of_the_whole_square(checkpoint: Checkpoint) -> None:
    """4 b s^2 h operations forward and 8 backward; what runs again adds 4."""
    batch, context = 2, 16
    found = step(Train(batch, context, checkpoint))
    square = 2 * batch * context**2 * HIDDEN

    def products(name: str) -> float:
        ops = layer_of(found, name).ops
        return sum(op.work.contraction for op in ops if op.cascade.name == "batched-gemm")

    assert products("layer") == pytest.approx(2 * square, rel=0.15)
    again = 0 if checkpoint == "none" else 2
    assert products("layer_backward") == pytest.approx((4 + again) * square, rel=0.15)


def test_bytes_of_each_kernel_by_hand() -> None:
    """Of a score: softmax reads the lower triangle and writes all, dropout adds a byte of mask."""
    batch, context = 2, 16
    found = step(Train(batch, context))
    pairs = batch * HEADS * context**2
    half = (context + 1) / (2 * context)

    def moved(layer: str, name: str) -> tuple[float, float]:
        each = op(found, layer, name)
        return each.bytes("read") / pairs, each.bytes("write") / pairs

    assert moved("layer", "attention_softmax") == pytest.approx((2 * half, 2))
    assert moved("layer", "attention_dropout") == pytest.approx((2, 3))
    assert moved("layer_backward", "attention_grad_dropout") == pytest.approx((3, 2))
    assert moved("layer_backward", "attention_grad_softmax") == pytest.approx((4 * half, 2))
    vectors = batch * context * HIDDEN
    scores = op(found, "layer", "attention_scores")
    assert scores.bytes("read") == 2 * 2 * vectors
    assert scores.bytes("write") == 2 * pairs


@pytest.mark.parametrize("checkpoint", ["none", "selective", "full"])
def test_backward_reads_what_was_kept_or_made_again(checkpoint: Checkpoint) -> None:
    found = step(Train(1, 16, checkpoint))
    backward = layer_of(found, "layer_backward")
    shared = {tensor.shared_with for tensor in backward.stored if tensor.role == "activations"}
    owned = {f"layer.{tensor.name}" for tensor in layer_of(found, "layer").stored if tensor.role == "activations"}
    assert shared == owned
    made = {o.activation for each in backward.ops for o in each.operands if o.access == "write"}
    read = {
        o.activation for each in backward.ops for o in each.operands if o.access == "read" and o.activation is not None
    }
    # With full recomputation the mask of the layer's own input is made by the layer before.
    other = {"attention_norm_dropout_mask"} if checkpoint == "full" else set()
    assert read - made == {"incoming_gradient"} | other


def test_without_dropout_no_mask_and_no_copy_is_kept() -> None:
    s, h, a = 16, HIDDEN, HEADS
    assert kept(step(Train(1, s), dropout=False)) == pytest.approx(s * h * (32 + 2 * a * s / h))


def test_shared_keys_are_read_once_a_group() -> None:
    workload = unfused_attention(lower(gpt(kv_heads=2), Train(1, 16)))
    scores = op(workload, "layer", "attention_scores")
    read = {operand.symbol: operand.elements for operand in scores.operands}
    assert read["A"] == 4 * read["W"]
    assert dict(scores.sizes)["h"] == HEADS


def test_only_training() -> None:
    with pytest.raises(InputError, match="prefill"):
        unfused_attention(lower(gpt(), Prefill(1, 16)))
