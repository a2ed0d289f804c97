"""A training step as eager frameworks run it: the bytes of its elementwise kernels counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.lower import lower
from workloads.phases import Train
from workloads.transforms.training.checkpoints import needed_again, saved_products
from workloads.transforms.training.eager import eager
from workloads.transforms.training.products_apart import products_apart
from workloads.transforms.training.sharded_copies import sharded_copies
from workloads.workload import Layer, Op, Workload

T, H, F, HEADS, KV, WIDTH, V = 32, 64, 96, 4, 2, 16, 100
BLOCK = Block(Attention(HEADS, KV, WIDTH), FeedForward(F, True, "silu"), "rms")
SMALL = Model("small", "llama", H, V, (BLOCK,), (0, 0, 0), False)


def lowered(checkpoint: str = "none", every: int = 1) -> Workload:
    return products_apart(lower(SMALL, Train(1, T, checkpoint, "logits", every, "fp32")))  # type: ignore[arg-type]


def layer(workload: Workload, name: str) -> Layer:
    return next(each for each, _ in workload.layers() if each.name == name)


def moved(layer: Layer, start: str) -> float:
    """Bytes read and written by elementwise kernels whose names begin so."""
    ops = [op for op in layer.ops if op.name.startswith(start) and op.kind not in ("gemm", "attention")]
    return sum(op.bytes("read") + op.bytes("write") for op in ops)


def test_a_norm_is_seven_kernels_and_its_gradient_fourteen() -> None:
    """Of T rows of H: sum 2+2+2 bytes, cast 2+4, square 4+4, mean 4, scale 4+4, cast 4+2, gain 2+2; backward gain 2+2,
    product 2+2+2 and its sum 2, cast 2+4, scale 4+4, product 4+4+4 and its sum 4, mean 4, power 4+4, twice 4+4,
    product 4+4+4, sum 4+4+4, cast 4+2, residual 2+2+2. Rows' scales and gains come to it."""
    found = eager(lowered())
    forward, backward = layer(found, "layer"), layer(found, "layer_backward")
    gain, row = 2 * H, 4 * T
    assert moved(forward, "ffn_norm") == (6 + 6 + 8 + 4 + 8 + 6 + 4) * T * H + gain + 2 * row
    assert len([op for op in forward.ops if op.name.startswith("ffn_norm")]) == 7
    each = 4 + 6 + 2 + 6 + 8 + 12 + 4 + 4 + 8 + 8 + 12 + 12 + 6 + 6
    assert moved(backward, "ffn_norm_grad") == each * T * H + gain + 4 * H + 3 * row
    assert len([op for op in backward.ops if op.name.startswith("ffn_norm_grad")]) == 14


def test_fused_norms_leave_the_sum_apart() -> None:
    found = layer(eager(lowered(), norms=False), "layer")
    assert moved(found, "ffn_norm") == (2 + 2 + 2) * T * H + (2 + 2) * T * H + 2 * H + 4 * T


def test_a_gate_is_two_kernels_and_its_gradient_three() -> None:
    found = eager(lowered())
    assert moved(layer(found, "layer"), "ffn_activated") == 2 * (2 + 3) * T * F
    assert moved(layer(found, "layer_backward"), "ffn_activated_grad") == 2 * (3 + 3 + 3) * T * F


def test_turns_are_in_32_bits_and_keys_are_written_for_each_query_head() -> None:
    """Queries and keys: casts 2+4 and 4+2, turn 4+4; keys and values: 2 read, 2 written for each of two query heads."""
    found = layer(eager(lowered()), "layer")
    queries, keys = T * HEADS * WIDTH, T * KV * WIDTH
    assert moved(found, "cache_append") == 20 * (queries + keys) + 2 * (2 + 2 * 2) * keys


def test_the_loss_is_in_32_bits_outside_what_is_compiled() -> None:
    """Cast 2+4, log-softmax 4+4; zeros 4, gradient 4+4+4, cast 4+2, and a log-sum for each row."""
    compiled = eager(lowered(), blocks=False)
    head = layer(compiled, "head")
    assert moved(head, "loss") == (6 + 8 + 4 + 12 + 6) * T * V + 4 * T
    assert layer(compiled, "layer") == layer(lowered(), "layer")


def test_products_and_attention_stay_as_they_were() -> None:
    before, after = lowered("full"), eager(lowered("full"))
    for name in ("layer", "layer_backward", "head"):
        kept = [op for op in layer(before, name).ops if op.kind in ("gemm", "attention")]
        assert sum(op.work.total for op in kept) == sum(
            op.work.total for op in layer(after, name).ops if op.kind in ("gemm", "attention")
        )


def test_gradients_of_one_value_are_added_one_by_one() -> None:
    """Queries, keys and values make three gradients of one input, gate and up two: three sums in all."""
    found = layer(eager(lowered()), "layer_backward")
    sums = [op for op in found.ops if op.name.endswith("_dgrad_sum")]
    assert [op.bytes("read") + op.bytes("write") for op in sums] == [6 * T * H] * 3


def test_what_eager_steps_keep() -> None:
    """A norm's input in 32 bits and its scaled input in 16 instead of the sum; the gate's activation beside."""
    before, after = (layer(each, "layer") for each in (lowered(), eager(lowered())))
    kept = [sum(t.bytes for t in each.stored if t.role == "activations") for each in (before, after)]
    assert kept[1] - kept[0] == 2 * (4 + 2 - 2) * T * H + 2 * T * F


def written_before_read(layer: Layer) -> None:
    """What the layer makes is made before it is read, and kept tensors that it reads are declared."""
    made: set[str] = set()
    names = {tensor.name for tensor in layer.stored}
    all_made = {o.activation for op in layer.ops for o in op.operands if o.access == "write"}
    for op in layer.ops:
        for operand in op.operands:
            if operand.stored is not None:
                assert operand.stored in names
            elif operand.access == "read" and operand.activation in all_made:
                assert operand.activation in made, (layer.name, op.name, operand.activation)
        made |= {o.activation or "" for o in op.operands if o.access == "write"}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["none", "full"]), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_every_value_is_made_before_it_is_read(
    checkpoint: str, every: int, blocks: bool, norms: bool, saved: bool, copies: bool
) -> None:
    found = needed_again(lowered(checkpoint, every))
    found = saved_products(found) if saved else found
    found = eager(found, blocks=blocks, norms=norms)
    found = sharded_copies(found) if copies else found
    for each, _ in found.layers():
        written_before_read(each)


@pytest.mark.parametrize("every", [1, 2])
def test_time_only_grows(every: int) -> None:
    """Apart, steps move at least what they move together."""

    def total(workload: Workload) -> float:
        return sum(
            count * (op.bytes("read") + op.bytes("write"))
            for each, count in workload.layers()
            for op in each.ops
            if isinstance(op, Op)
        )

    before = lowered("full", every)
    assert total(eager(before)) > total(eager(before, norms=False)) > total(eager(before, blocks=False)) > total(before)
