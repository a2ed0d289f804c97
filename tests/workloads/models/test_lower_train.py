"""A training step against closed forms: FLOPs, bytes of states, bytes kept by a layer; and published counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.formats import storage_format
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model
from workloads.models.counts import parameters
from workloads.models.flops import forward_flops, model_flops
from workloads.models.lower import lower
from workloads.phases import Prefill, Train
from workloads.workload import Collective, Layer, Workload


def gpt(layers: int = 2, hidden: int = 64, heads: int = 4, vocabulary: int = 96, *, tied: bool = False) -> Model:
    """A GPT of MEMO's kind: four hidden widths of feed-forward, plain gelu, layer norms, biases."""
    attention = Attention(heads, heads, hidden // heads, qkv_bias=True, output_bias=True)
    feed_forward = FeedForward(4 * hidden, gated=False, activation="gelu", bias=True)
    block = Block(attention, feed_forward, "layer")
    return Model("gpt", "gpt", hidden, vocabulary, (block,), (0,) * layers, tied_embeddings=tied)


def llama(layers: int, hidden: int, kv_heads: int, wide: int, *, tied: bool = False) -> Model:
    attention = Attention(4, kv_heads, hidden // 4)
    block = Block(attention, FeedForward(wide, gated=True, activation="silu"), "rms")
    return Model("llama", "llama", hidden, 96, (block,), (0,) * layers, tied_embeddings=tied)


def layer_of(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


def flops(workload: Workload, kind: str, name: str = "") -> float:
    """Contractions of operations of a kind in layers whose name begins so."""
    return sum(
        count * op.work.contraction
        for layer, count in workload.layers()
        for op in layer.ops
        if op.kind == kind and layer.name.startswith(name)
    )


STATISTICS = ("_ir", "_is", "_mu", "_lse", "_r")


def kept(workload: Workload) -> dict[str, float]:
    """Elements that a block's forward pass keeps, by name, but for the statistics of rows."""
    return {
        tensor.name: tensor.elements
        for tensor in layer_of(workload, "layer").stored
        if tensor.role == "activations" and not tensor.name.endswith(STATISTICS)
    }


@settings(max_examples=15, deadline=None)
@given(
    layers=st.integers(1, 3),
    kv_heads=st.sampled_from([1, 2, 4]),
    batch=st.integers(1, 3),
    context=st.integers(2, 33),
    checkpoint=st.sampled_from(["none", "selective", "full"]),
    loss=st.sampled_from(["logits", "cut"]),
    tied=st.booleans(),
)
def test_flops(layers: int, kv_heads: int, batch: int, context: int, checkpoint: str, loss: str, tied: bool) -> None:
    """Products of n, k and m take 2 n k m forward and twice that backward, and once more where they run again.

    Attention takes two products over its pairs of tokens forward, five backward (its scores are made again from what
    is kept). The head never runs again, but a cut loss makes its logits again.
    """
    hidden, wide = 64, 160
    found = lower(llama(layers, hidden, kv_heads, wide, tied=tied), Train(batch, context, checkpoint, loss))  # type: ignore[arg-type]
    tokens, size = batch * context, hidden // 4
    matrices = hidden * (4 + 2 * kv_heads) * size + hidden * hidden + 3 * hidden * wide
    passes = 4 if checkpoint == "full" else 3
    head = 2 * tokens * hidden * 96
    products = passes * layers * 2 * tokens * matrices
    if loss == "logits":
        assert flops(found, "gemm") == products + 3 * head
    else:
        assert flops(found, "gemm") == products
        # The label's logit is a product of its own.
        assert flops(found, "loss") == 4 * head + 2 * tokens * hidden
    pairs = batch * 4 * context * (context + 1) / 2
    forward = 2 if checkpoint == "none" else 4
    assert flops(found, "attention") == pytest.approx(layers * 2 * pairs * size * (forward + 5))


@pytest.mark.parametrize(("checkpoint", "times"), [("none", 3), ("full", 4)])
def test_blocks_take_three_or_four_forward_passes(checkpoint: str, times: int) -> None:
    """Against what prefill lowers to: all matrices of the blocks, the head apart."""
    llama_8b = model("llama-3-8b")
    prefill = lower(llama_8b, Prefill(1, 4096))
    train = lower(llama_8b, Train(1, 4096, checkpoint))  # type: ignore[arg-type]
    assert flops(train, "gemm", "layer") == times * flops(prefill, "gemm", "layer")


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("name", ["llama-2-7b", "llama-3-8b", "llama-2-13b", "llama-3-70b"])
def test_state_bytes(name: str, devices: int) -> None:
    """2 bytes of weight, 2 of gradient, 4 + 4 + 4 of master weight and moments; norms are whole on every device.

    Every device holds as many rows of embedding and head as the fullest one.
    """
    llama_model = model(name)
    found = lower(llama_model, Train(1, 16), devices=devices)
    hidden = llama_model.hidden
    norms = (2 * len(llama_model.order) + 1) * hidden
    vocabulary = 2 * llama_model.vocabulary * hidden
    divided = parameters(llama_model).total - norms - vocabulary
    held = divided / devices + norms + 2 * -(-llama_model.vocabulary // devices) * hidden
    states = found.stored_bytes() - found.stored_bytes("activations")
    assert states == 16 * held
    assert found.stored_bytes("gradients") == 2 * held
    assert found.stored_bytes("optimizer") == 12 * held


def test_state_bytes_of_a_tied_model_count_the_table_once() -> None:
    tied = gpt(tied=True)
    found = lower(tied, Train(2, 8))
    assert found.stored_bytes() - found.stored_bytes("activations") == 16 * parameters(tied).total


def test_other_formats_of_states() -> None:
    found = lower(gpt(), Train(1, 8, gradient_format="fp32", state_format="bf16"))
    count = parameters(gpt()).total
    assert found.stored_bytes("gradients") == 4 * count
    assert found.stored_bytes("optimizer") == 6 * count


@settings(max_examples=10, deadline=None)
@given(batch=st.integers(1, 3), context=st.integers(1, 40), heads=st.sampled_from([2, 4, 8]))
def test_kept_by_a_layer(batch: int, context: int, heads: int) -> None:
    """MEMO's list (arXiv 2407.12117, figure 4): eight tensors of b s h and two of 4 b s h.

    That is 32 s b h bytes in bf16: the 34 s b h of Korthikanti et al. (arXiv 2205.05198, section 4.1) that are left
    without scores, less the two dropout masks of a byte each, which no dropout writes.
    """
    hidden = 64
    elements = kept(lower(gpt(hidden=hidden, heads=heads), Train(batch, context)))
    one = batch * context * hidden
    queries_keys_values = elements.pop("q") + elements.pop("keys_values")
    assert queries_keys_values == 3 * one
    assert sorted(elements.values()) == [one] * 5 + [4 * one] * 2
    total = queries_keys_values + sum(elements.values())
    assert total * storage_format("bf16").bits_per_element / 8 == (34 - 2) * context * batch * hidden


def test_kept_by_a_layer_split_over_devices() -> None:
    """Tensor parallelism divides all but the inputs of norms and of what follows them: (10 + 24 / t) s b h bytes, less
    the mask of a byte on what is whole and the other one, which lies behind the reduction too (section 4.2.1)."""
    hidden, tokens = 64, 16
    for devices in (2, 4):
        elements = kept(lower(gpt(hidden=hidden), Train(1, tokens), devices=devices))
        assert 2 * sum(elements.values()) == (10 - 2 + 24 / devices) * tokens * hidden


def test_what_checkpoints_keep() -> None:
    tokens, hidden = 3 * 8, 64
    whole = lower(gpt(hidden=hidden), Train(3, 8))
    selective = lower(gpt(hidden=hidden), Train(3, 8, "selective"))
    full = lower(gpt(hidden=hidden), Train(3, 8, "full"))
    # Without scores to drop, the log-sum-exps are all that checkpointing attention alone saves: 4 bytes a row and head.
    assert whole.stored_bytes("activations") - selective.stored_bytes("activations") == 2 * 4 * 4 * tokens
    assert kept(full) == {"residual_of_attention_norm": tokens * hidden}
    assert full.stored_bytes("activations") == 2 * 2 * tokens * hidden
    # A log-sum-exp for each row and head, and mean and scale of both norms, in fp32.
    statistics = whole.stored_bytes("activations") - 2 * 2 * sum(kept(whole).values())
    assert statistics == 2 * 4 * tokens * (4 + 2 * 2)


def test_every_other_layer_is_checkpointed() -> None:
    found = lower(gpt(layers=6), Train(1, 8, "full", every=2))
    counts = {layer.name: count for layer, count in found.layers()}
    assert counts["layer_checkpointed"] == counts["layer"] == 3
    all_kept = lower(gpt(layers=3), Train(1, 8)).stored_bytes("activations")
    inputs = lower(gpt(layers=3), Train(1, 8, "full")).stored_bytes("activations")
    assert found.stored_bytes("activations") == all_kept + inputs
    # Backward goes through the pattern from its end.
    patterns = [[layer.name for layer in run.pattern] for run in found.runs if run.mirrored]
    assert patterns[0] == ["layer_backward", "layer_checkpointed_backward"]


def test_backward_layers_meet_what_their_forward_layers_kept() -> None:
    """The first backward pass is the last layer's; updates go in the order of the model."""
    found = lower(gpt(layers=3), Train(1, 8))
    at = {layer.name: number for number, run in enumerate(found.runs) for layer in run.pattern}
    origins = found.origins()
    for repetition in range(3):
        mine = (at["layer_backward"], repetition, 0, "ffn_activated")
        assert origins[mine] == (at["layer"], 2 - repetition, 0, "ffn_activated")
        mine = (at["layer_update"], repetition, 0, "gradients")
        assert origins[mine] == (at["layer_backward"], 2 - repetition, 0, "gradients")
        mine = (at["layer_update"], repetition, 0, "qkv_weight")
        assert origins[mine] == (at["layer"], repetition, 0, "qkv_weight")


def test_every_gradient_is_written_once_and_every_weight_is_updated() -> None:
    for tied in (False, True):
        found = lower(gpt(layers=2, tied=tied), Train(2, 8))
        for layer, _ in found.layers():
            written: dict[str, float] = {}
            for op in layer.ops:
                for operand in op.operands:
                    if operand.access == "write" and operand.stored is not None:
                        written[operand.stored] = written.get(operand.stored, 0.0) + operand.elements
            for tensor in layer.stored:
                own = tensor.role == "gradients" and tensor.shared_with is None
                # A position table has no operation here, and a tied table's gradient is made in the head.
                if own and layer.name in ("layer_backward", "head"):
                    assert written[tensor.name] == tensor.elements
        updated = sum(
            count * operand.elements
            for layer, count in found.layers()
            for op in layer.ops
            if op.kind == "optimizer"
            for operand in op.operands
            if operand.symbol == "W"
        )
        assert updated == pytest.approx(parameters(gpt(layers=2, tied=tied)).total)


def test_an_update_moves_28_bytes_of_each_parameter() -> None:
    """Read: gradient, master weight and two moments; written: these three and the weight. 2 + 12 + 12 + 2."""
    found = lower(gpt(), Train(1, 8))
    moved = sum(c * (op.bytes("read") + op.bytes("write")) for layer, c in found.layers() for op in layer.ops
                if op.kind == "optimizer")  # fmt: skip
    assert moved == pytest.approx(28 * parameters(gpt()).total)


def test_devices_sum_what_divided_products_get_and_give() -> None:
    """Two sums forward and two backward a layer, of the residual width (Megatron-LM, arXiv 1909.08053, section 3)."""
    found = lower(gpt(layers=2), Train(2, 8), devices=2)
    sizes = {
        layer.name: [step.elements for step in layer.steps if isinstance(step, Collective)]
        for layer, _ in found.layers()
    }
    assert sizes["layer"] == sizes["layer_backward"] == [16 * 64, 16 * 64]
    again = lower(gpt(layers=2), Train(2, 8, "full"), devices=2)
    assert len([step for step in layer_of(again, "layer_backward").steps if isinstance(step, Collective)]) == 4
    # The loss joins three numbers a token; the head's input has a gradient from every part of the vocabulary.
    assert sizes["head"] == [3 * 16, 16 * 64]


def test_a_parallel_block_sums_two_gradients() -> None:
    block = replace(gpt().blocks[0], parallel=True, norms=1)
    found = lower(replace(gpt(), blocks=(block,)), Train(1, 8))
    names = [op.name for op in layer_of(found, "layer_backward").ops]
    assert "attention_norm_grad_sum" in names
    # With a norm for each of both, they share the sum before them, whose gradient comes from the layer above too.
    for checkpoint in ("none", "full"):
        phase = Train(1, 8, checkpoint)
        found = lower(replace(gpt(), blocks=(replace(block, norms=2),)), phase)
        names = [op.name for op in layer_of(found, "layer_backward").ops]
        assert "residual_of_attention_norm_grad_sum" in names
        assert [name for name in kept(found) if name.startswith("residual")] == ["residual_of_attention_norm"]


def test_utilisation_counts_as_published() -> None:
    """TorchTitan's table (pytorch/torchtitan, docs/performance.md at 0413364): tokens/s of a GPU and MFU of its peak.

    Context 8,192 for Llama 3 and 4,096 for Llama 2.
    """
    rows = (("llama-3-8b", 8192, 2904, 56.8), ("llama-3-8b", 8192, 2973, 58.2), ("llama-3-70b", 8192, 331, 51.7),
            ("llama-2-13b", 4096, 2162, 61.1))  # fmt: skip
    for name, context, tokens_per_s, published in rows:
        per_token = model_flops(model(name), 1, context) / context
        assert round(100 * tokens_per_s * per_token / 312e12, 1) == pytest.approx(published, abs=0.15)


def test_what_cannot_be_trained_here() -> None:
    for name in ("smallthinker-4b-a0.6b", "transformer-xl", "t5-base", "bert-base", "opt-350m"):
        with pytest.raises(InputError):
            lower(model(name), Train(1, 16))
    with pytest.raises(InputError, match="kind of checkpoint"):
        Train(1, 16, "ful")  # type: ignore[arg-type]
    with pytest.raises(InputError):
        Train(0, 16)


@pytest.mark.parametrize(
    "name", ["gpt-2", "gpt-neox-20b", "falcon-7b", "gemma-2-9b", "qwen3-8b", "mistral-7b", "bloom-7b1", "phi-2"]
)
@pytest.mark.parametrize("checkpoint", ["none", "full"])
def test_every_kind_of_dense_decoder(name: str, checkpoint: str) -> None:
    """Products take three or four times their forward FLOPs, attention 7/2 or 9/2; states 16 bytes a parameter.

    The forward FLOPs are the closed form of `workloads.models.flops`, which is not made from operations.
    """
    decoder = model(name)
    found = lower(decoder, Train(2, 64, checkpoint))  # type: ignore[arg-type]
    times = 3 if checkpoint == "none" else 4
    head = flops(found, "gemm", "head") / 3
    pairs = flops(found, "attention") / (3.5 if checkpoint == "none" else 4.5)
    assert flops(found, "gemm", "layer") / times + head + pairs == pytest.approx(forward_flops(decoder, 2, 64))
    states = found.stored_bytes() - found.stored_bytes("activations")
    assert states == 16 * parameters(decoder).total


@pytest.mark.parametrize("name", ["gpt-2", "gpt-neox-20b", "falcon-7b", "gemma-2-9b", "qwen3-8b", "mistral-7b"])
@pytest.mark.parametrize("checkpoint", ["none", "selective", "full"])
@pytest.mark.parametrize("devices", [1, 2])
def test_gradients_are_made_before_they_are_used(name: str, checkpoint: str, devices: int) -> None:
    """In a backward layer all that is read was written there, but the gradient from above and what was kept.

    And all gradients that are written are read again, but the one that goes down: none is lost at a fork.
    """
    if name == "falcon-7b" and devices == 2:
        return  # 71 heads
    found = lower(model(name), Train(1, 16, checkpoint), devices=devices)  # type: ignore[arg-type]
    for layer, _ in found.layers():
        if not layer.name.endswith("_backward") or layer.name == "embedding_backward":
            continue
        written: set[str] = set()
        unread: set[str] = set()
        for op in layer.ops:
            reads = {o.activation for o in op.operands if o.access == "read" and o.activation}
            assert reads <= written | {"incoming_gradient"}, op.name
            unread -= reads
            made = {o.activation for o in op.operands if o.access == "write" and o.activation}
            written |= made
            unread |= {value for value in made if value.startswith("d_")}
        assert unread == {"d_branch"}
