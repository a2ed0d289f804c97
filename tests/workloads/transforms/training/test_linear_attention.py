"""Linear attention in the place of softmax attention: work, states and what devices exchange, by closed forms."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.lower import lower
from workloads.phases import Prefill, Train
from workloads.transforms.training.linear_attention import linear_attention
from workloads.workload import Collective, Layer, Workload

HEADS, SIZE, CHUNK = 4, 16, 8


def llama(kv_heads: int = HEADS) -> Model:
    block = Block(Attention(HEADS, kv_heads, SIZE), FeedForward(96, gated=True, activation="silu"), "rms")
    return Model("llama", "llama", HEADS * SIZE, 96, (block,), (0,) * 2, tied_embeddings=False)


def layer_of(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


def products(layer: Layer, *ends: str) -> float:
    return sum(op.work.contraction for op in layer.ops if op.kind == "linear_attention" and op.name.endswith(ends))


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 2), chunks=st.integers(1, 5), kv_heads=st.sampled_from([1, 2, 4]), devices=st.integers(2, 9)
)
def test_work(batch: int, chunks: int, kv_heads: int, devices: int) -> None:
    """Of c tokens with chunks of 8, for each head and sequence: scores and their values are two products over the 36
    pairs a chunk, the state one of c d d and its use another; backward five over pairs and five of c d d. Over devices
    one more makes the state or its gradient, and one (backward three) uses what came in."""
    tokens = chunks * CHUNK
    before = lower(llama(kv_heads), Train(batch, tokens))
    found = linear_attention(before, devices=devices, chunk=CHUNK)
    per = 2.0 * batch * HEADS * SIZE
    pairs, states = per * chunks * CHUNK * (CHUNK + 1) / 2, per * tokens * SIZE
    forward, backward = layer_of(found, "layer"), layer_of(found, "layer_backward")
    assert products(forward, "_chunks") == 2 * pairs + 2 * states
    assert products(backward, "_chunks") == 5 * pairs + 5 * states
    assert products(forward, "_state") == products(backward, "_state") == states
    assert products(forward, "_inter") == states
    assert products(backward, "_inter") == 3 * states
    for layer, own in zip(before.layers(), found.layers(), strict=True):
        others = [op for op in own[0].ops if not op.name.startswith("attention_") or op.kind in ("norm", "gemm")]
        assert [op.name for op in others] == [op.name for op in layer[0].ops if op.kind != "attention"]


def test_states_are_gathered_beside_the_chunks() -> None:
    found = linear_attention(lower(llama(), Train(2, 16)), devices=8, stride=2, chunk=CHUNK)
    elements = 2 * HEADS * SIZE * SIZE
    for name in ("layer", "layer_backward"):
        layer = layer_of(found, name)
        (gather,) = (step for step in layer.steps if isinstance(step, Collective))
        assert (gather.kind, gather.elements, gather.devices, gather.stride) == ("all_gather", 8 * elements, 8, 2)
        steps = {step.name.removeprefix("attention_").removeprefix("grad_"): step for step in layer.steps}
        assert steps["chunks"].after == steps["state"].after
        assert not set(steps["chunks"].after) & {gather.name}
        assert set(steps["inter"].after) == {steps["chunks"].name, steps["sum"].name}
    kept = {t.name: t for t in layer_of(found, "layer").stored if t.role == "activations"}
    assert kept["attention_state"].elements == elements
    assert "attention_lse" not in kept
    assert next(t for t in layer_of(found, "layer_backward").stored if t.name == "attention_state").bytes == 0


def test_a_relay_sends_nothing_here_and_adds_two_states() -> None:
    found = linear_attention(lower(llama(), Train(1, 16)), devices=8, exchange="lasp-1", chunk=CHUNK)
    layer = layer_of(found, "layer")
    assert not [step for step in layer.steps if isinstance(step, Collective)]
    total = next(op for op in layer.ops if op.name == "attention_sum")
    assert dict(total.sizes)["w"] == 2


def test_one_device_has_chunks_alone() -> None:
    found = linear_attention(lower(llama(), Train(1, 16)), chunk=CHUNK)
    assert [op.name for op in layer_of(found, "layer").ops if op.kind == "linear_attention"] == ["attention"]
    assert layer_of(found, "layer_backward").steps[-1].name == "attention_norm_grad"


def test_errors() -> None:
    with pytest.raises(InputError, match="chunks of 64"):
        linear_attention(lower(llama(), Train(1, 100)))
    with pytest.raises(InputError, match="checkpoint"):
        linear_attention(lower(llama(), Train(1, 64, "full")))
    with pytest.raises(InputError, match="prefill"):
        linear_attention(lower(llama(), Prefill(1, 64)))
    with pytest.raises(InputError, match="lasp-2"):
        linear_attention(lower(llama(), Train(1, 64)), exchange="lasp-3")  # type: ignore[arg-type]
