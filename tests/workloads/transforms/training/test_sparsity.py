"""Channels, tokens and adapters of a training step, by hand and in their limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system
from mappers.roofline import roofline_workload
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Prefill, Train
from workloads.transforms.training.sparsity import keeping_also, kept_tokens, low_rank_adapters, top_k_channels
from workloads.workload import Workload

TOKENS, LAYERS, HIDDEN, INNER = 2048, 32, 4096, 11008
STEP = lower(model("Llama-2-7B"), Train(1, TOKENS))
SMALL = lower(model("Llama-3.2-1B"), Train(1, 256))
H100 = load_system("h100-sxm")
FORWARD = LAYERS * 2 * TOKENS * (HIDDEN * (12288 + HIDDEN + 2 * INNER) + INNER * HIDDEN)


def kept(workload: Workload) -> float:
    return workload.stored_bytes("activations")


def seconds(workload: Workload) -> float:
    mapped = roofline_workload(workload, H100)
    return sum(count * op.time_s for layer, count in workload.layers() for op in mapped.layers[layer.name].ops.values())


def products(workload: Workload, of: str = "layer") -> float:
    return sum(
        count * op.work.contraction
        for layer, count in workload.layers()
        for op in layer.ops
        if op.kind == "gemm" and layer.name.startswith(of)
    )


@pytest.mark.parametrize(("again", "each"), [(False, 2 * 3 + 2), (True, 2 * 2 + 2)])
def test_channels_kept_by_hand(again: bool, each: int) -> None:
    """Of k channels gate, input and place, 2 bytes each, and the result unless it is made again; before, 6 of each."""
    made = top_k_channels(STEP, 0.2, again=again)
    channels = 2202  # a fifth of 11,008, rounded up
    assert kept(STEP) - kept(made) == LAYERS * TOKENS * (6 * INNER - each * channels)
    assert made.total_work().contraction == STEP.total_work().contraction
    for role in ("gradients", "optimizer", "feed_forward"):
        assert made.stored_bytes(role) == STEP.stored_bytes(role)


def test_all_tokens_is_no_change() -> None:
    assert kept_tokens(STEP, 1.0) == STEP


def test_half_the_tokens_take_half_the_products_and_a_quarter_of_the_scores() -> None:
    made = kept_tokens(STEP, 0.5)
    assert products(made) == products(STEP) / 2
    scores = [
        sum(op.work.contraction for layer, _ in w.layers() for op in layer.ops if op.kind == "attention")
        for w in (STEP, made)
    ]
    assert scores[1] / scores[0] == pytest.approx(0.25, rel=1e-3)  # causal: n (n + 1) / 2 pairs
    # Sums and their scales are of all tokens; norms, queries, keys, values, results, log-sums and halves of half.
    always = 2 * 2 * HIDDEN + 2 * 4
    assert kept(made) == LAYERS * TOKENS * always + (kept(STEP) - LAYERS * TOKENS * always) / 2


def test_only_attention_may_leave_tokens_out() -> None:
    made = kept_tokens(STEP, 0.25, ("attention",))
    of_attention = LAYERS * TOKENS * (2 * 5 * HIDDEN + 4 * 32)  # norm, queries, keys, values, result; log-sums
    assert kept(STEP) - kept(made) == 0.75 * of_attention


def test_adapters_leave_two_thirds_of_the_products() -> None:
    """Forward and the inputs' gradients are whole; adapters of rank r add 2 T r (in + out) for each of six products."""
    made = low_rank_adapters(STEP, 8)
    sides = HIDDEN + 12288 + 2 * HIDDEN
    # Once down and once up forward; backward down again, and two gradients of each.
    adapters = LAYERS * 2 * TOKENS * 8 * (sides + (2 * HIDDEN) + 2 * sides)
    assert products(made) == 2 * FORWARD + adapters
    learnt = LAYERS * 8 * sides
    assert made.stored_bytes("optimizer") == 12 * learnt
    assert made.stored_bytes("gradients") == 2 * learnt
    # Inputs of frozen products are not kept: the feed-forward's norm and the product of its halves.
    assert kept(STEP) - kept(made) == LAYERS * TOKENS * 2 * (HIDDEN + INNER)


def test_adapters_tokens_and_channels_go_together() -> None:
    made = top_k_channels(kept_tokens(low_rank_adapters(STEP, 8), 0.5, ("attention",)), 0.2)
    # Results of channels are not kept where no weight behind them learns.
    each = 6 * 2202 + 2 * 2 * HIDDEN + 2 * 4 + (2 * 5 * HIDDEN + 4 * 32) / 2
    assert kept(made) == LAYERS * TOKENS * each


def test_frameworks_keep_more() -> None:
    made = keeping_also(STEP, [("gates_activated", "ffn_activated", 1, "bf16")])
    assert kept(made) - kept(STEP) == LAYERS * TOKENS * 2 * INNER


@settings(max_examples=15, deadline=None)
@given(shares=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)), attention_only=st.booleans())
def test_fewer_tokens_are_never_more(shares: tuple[float, float], attention_only: bool) -> None:
    parts = ("attention",) if attention_only else ("attention", "feed_forward")
    few, many = (kept_tokens(SMALL, share, parts) for share in sorted(shares))
    assert kept(few) <= kept(many) <= kept(SMALL)
    assert seconds(few) <= seconds(many) * (1 + 1e-12)
    assert few.total_work().contraction <= many.total_work().contraction


@settings(max_examples=15, deadline=None)
@given(shares=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)), again=st.booleans())
def test_fewer_channels_are_never_more(shares: tuple[float, float], again: bool) -> None:
    few, many = (top_k_channels(SMALL, share, again=again) for share in sorted(shares))
    assert kept(few) <= kept(many)


def test_what_cannot_be_is_refused() -> None:
    prompt = lower(model("Llama-2-7B"), Prefill(1, 128))
    with pytest.raises(InputError, match="train"):
        top_k_channels(prompt, 0.5)
    with pytest.raises(InputError, match="train"):
        kept_tokens(prompt, 0.5)
    with pytest.raises(InputError, match="train"):
        low_rank_adapters(prompt, 8)
    with pytest.raises(InputError, match="SwiGLU"):
        top_k_channels(lower(model("GPT-2"), Train(1, 128)), 0.5)
    with pytest.raises(InputError, match="SwiGLU"):
        top_k_channels(lower(model("Llama-2-7B"), Train(1, 128, checkpoint="full")), 0.5)
    with pytest.raises(InputError, match="share"):
        kept_tokens(STEP, 0)
    with pytest.raises(InputError, match="parts"):
        kept_tokens(STEP, 0.5, ("head",))
    with pytest.raises(InputError, match="at least 1"):
        low_rank_adapters(STEP, 0)
    with pytest.raises(InputError, match="products"):
        low_rank_adapters(STEP, 8, ("q_proj",))
