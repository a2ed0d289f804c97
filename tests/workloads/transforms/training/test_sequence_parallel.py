"""Sequence parallelism against the closed forms of Korthikanti et al. (arXiv 2205.05198, section 4.2)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Checkpoint, Loss, Prefill, Train
from workloads.transforms.training.sequence_parallel import sequence_parallel
from workloads.workload import Collective, Layer, Op, Workload

HEADS, HIDDEN = 8, 64


def gpt(layers: int, *, parallel: bool = False) -> Model:
    attention = Attention(HEADS, HEADS, HIDDEN // HEADS, qkv_bias=True, output_bias=True)
    block = Block(attention, FeedForward(4 * HIDDEN, gated=False, activation="gelu", bias=True), "layer")
    if parallel:
        block = replace(block, parallel=True, norms=1)
    return Model("gpt", "gpt", HIDDEN, 96, (block,), (0,) * layers, tied_embeddings=False)


def layer_of(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


def step_of(layer: Layer, name: str) -> Op | Collective:
    return next(step for step in layer.steps if step.name == name)


def wire(workload: Workload) -> float:
    """Elements that a device sends, in whole values of (t - 1) / t: a sum is a scattering and a gathering."""
    sent = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0}
    return sum(
        count * sent[step.kind] * step.elements
        for layer, count in workload.layers()
        for step in layer.steps
        if isinstance(step, Collective) and step.name != "loss_reduce"
    )


def kinds(workload: Workload, kind: str) -> float:
    return sum(count * op.work.total for layer, count in workload.layers() for op in layer.ops if op.kind == kind)


@given(devices=st.sampled_from([2, 4, 8]), batch=st.integers(1, 3), context=st.sampled_from([8, 16, 40]))
@settings(max_examples=15, deadline=None)
def test_bytes_kept(devices: int, batch: int, context: int) -> None:
    """34 s b h / t without the two masks of one byte (equation 4), statistics of norms and of rows of scores aside."""
    found = sequence_parallel(lower(gpt(2), Train(batch, context), devices=devices))
    kept = sum(t.bytes for t in layer_of(found, "layer").stored if t.role == "activations")
    tokens = batch * context
    assert kept == 32 * tokens * HIDDEN / devices + 4 * tokens * (4 + HEADS) / devices


@given(
    devices=st.sampled_from([2, 4, 8]),
    layers=st.integers(1, 3),
    checkpoint=st.sampled_from(["none", "selective", "full"]),
    loss=st.sampled_from(["logits", "cut"]),
)
@settings(max_examples=20, deadline=None)
def test_bytes_sent(devices: int, layers: int, checkpoint: Checkpoint, loss: Loss) -> None:
    """As much as the sums it replaces, and one gathering more of each norm's output, which is kept by tokens.

    Forward and backward two sums a layer, so 4 gatherings and 4 scatterings; full checkpoints have the forward pass
    once more. The embedding is scattered, its gradient gathered: as much as its one sum. The head's gradient was one
    sum where its input was whole: that is now gathered, and again for its weights' gradient unless the loss is cut,
    whose one kernel makes both.
    """
    before = lower(gpt(layers), Train(2, 16, checkpoint, loss), devices=devices)
    whole = 2 * 16 * HIDDEN
    passes = 3 if checkpoint == "full" else 2
    assert wire(before) == 2 * whole * (2 * passes * layers + 2)
    more = whole * (2 * layers + (1 if loss == "logits" else 0))
    assert wire(sequence_parallel(before)) == wire(before) + more


@given(
    devices=st.sampled_from([2, 4, 8]),
    checkpoint=st.sampled_from(["none", "selective", "full"]),
    parallel=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_work(devices: int, checkpoint: Checkpoint, parallel: bool) -> None:
    """Norms are done once over all devices instead of by each; products and attention are what they were."""
    phase = Train(2, 16, checkpoint)
    before = lower(gpt(2, parallel=parallel), phase, devices=devices)
    after = sequence_parallel(before)
    assert devices * kinds(after, "norm") == kinds(lower(gpt(2, parallel=parallel), phase), "norm")
    for kind in ("gemm", "attention", "softmax", "gather", "optimizer"):
        assert kinds(after, kind) == kinds(before, kind)
    assert after.stored_bytes("gradients") == before.stored_bytes("gradients")
    assert after.stored_bytes("optimizer") == before.stored_bytes("optimizer")
    assert [run.mirrored for run in after.runs] == [run.mirrored for run in before.runs]


def test_where_exchanges_stand() -> None:
    """Figure 5 of the paper, and its last paragraph: the gathering for the weights' gradients hides behind dgrad."""
    found = sequence_parallel(lower(gpt(2), Train(1, 16), devices=4))
    forward, backward = layer_of(found, "layer"), layer_of(found, "layer_backward")
    assert step_of(forward, "qkv").after == ("attention_norm_gather",)
    assert step_of(forward, "attention_norm_gather").after == ("attention_norm",)
    reduce = step_of(forward, "attention_reduce")
    assert isinstance(reduce, Collective)
    assert reduce.kind == "reduce_scatter"
    assert reduce.after == ("output",)
    assert step_of(forward, "ffn_norm").after == ("attention_reduce",)
    assert step_of(backward, "incoming_gradient_gather").after == ()
    assert step_of(backward, "ffn_down_dgrad").after == ("incoming_gradient_gather",)
    again = step_of(backward, "ffn_norm_gather")
    assert again.after == step_of(backward, "ffn_up_dgrad").after
    assert set(step_of(backward, "ffn_up_wgrad").after) == {"ffn_up_dgrad", "ffn_norm_gather"}
    assert "ffn_norm_gather" not in step_of(backward, "ffn_up_dgrad").after
    scatter = step_of(backward, "ffn_norm_grad_reduce")
    assert isinstance(scatter, Collective)
    assert scatter.kind == "reduce_scatter"
    assert set(step_of(backward, "ffn_norm_grad").after) >= {"ffn_norm_grad_reduce"}
    embedding, head = layer_of(found, "embedding"), layer_of(found, "head")
    scatter = step_of(embedding, "embed_reduce")
    assert isinstance(scatter, Collective)
    assert scatter.kind == "reduce_scatter"
    assert step_of(head, "logits").after == ("final_norm_gather",)
    loss = step_of(head, "loss_reduce")
    assert isinstance(loss, Collective)
    assert loss.kind == "all_reduce"


def test_products_read_all_tokens_and_norms_a_share() -> None:
    found = sequence_parallel(lower(model("llama-2-7b"), Train(1, 64), devices=4))
    for layer in (layer_of(found, "layer"), layer_of(found, "layer_backward")):
        for op in layer.ops:
            size = dict(op.sizes)
            if op.kind == "norm":
                assert size["t"] == 16
            if op.kind == "gemm":
                assert 64 in (size["m"], size["n0"])
                source = op.operands[0]
                assert source.elements == size["m"] * size["n0"]


def test_heads_that_are_normed_stay_divided_by_heads() -> None:
    found = sequence_parallel(lower(model("qwen3-8b"), Train(1, 64), devices=4))
    norm = step_of(layer_of(found, "layer"), "qk_norm")
    before = step_of(layer_of(lower(model("qwen3-8b"), Train(1, 64), devices=4), "layer"), "qk_norm")
    assert norm == before


def test_one_device() -> None:
    found = lower(gpt(2), Train(1, 16))
    assert sequence_parallel(found) is found


def test_errors() -> None:
    with pytest.raises(InputError, match="9 tokens cannot be divided over 2 devices"):
        sequence_parallel(lower(gpt(1), Train(1, 9), devices=2))
    with pytest.raises(InputError, match="prefill"):
        sequence_parallel(lower(gpt(1), Prefill(1, 8), devices=2))


def test_experts_see_all_tokens() -> None:
    """What the router weighs is undone of all tokens, so the gradient is gathered before; gradients of weights that
    devices make parts of stay sums."""
    found = sequence_parallel(lower(model("mixtral-8x7b"), Train(1, 64), devices=4))
    forward, backward = layer_of(found, "layer"), layer_of(found, "layer_backward")
    assert "ffn_norm_gather" in step_of(forward, "router").after
    assert "ffn_norm_gather" in step_of(forward, "experts_up").after
    undone = step_of(backward, "combine_grad")
    assert isinstance(undone, Op)
    assert undone.after == ("incoming_gradient_gather",)
    assert dict(undone.sizes)["t"] == 64
    for step in backward.steps:
        if isinstance(step, Collective) and step.name == "router_wgrad_reduce":
            assert step.kind == "all_reduce"
    assert {t.elements for t in backward.stored if t.role == "gradients"} == {
        t.elements
        for t in layer_of(lower(model("mixtral-8x7b"), Train(1, 64), devices=4), "layer_backward").stored
        if t.role == "gradients"
    }
