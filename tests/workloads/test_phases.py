"""Phases, and prompts read in pieces: pieces together do the work of the whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Prefill, Train
from workloads.workload import Workload


def test_query_tokens() -> None:
    assert Prefill(3, 100).query_tokens == 100
    assert Prefill(3, 100, 60).query_tokens == 40
    assert Prefill(3, 100, 60).tokens == 120
    assert Decode(3, 100).query_tokens == 1


@pytest.mark.parametrize("past", [-1, 100, 101, True, 0.5])
def test_a_past_that_leaves_nothing_or_is_no_count(past: int) -> None:
    with pytest.raises(InputError) as caught:
        Prefill(1, 100, past)
    assert caught.value.field == "past"


def test_an_encoder_reads_all_at_once() -> None:
    with pytest.raises(InputError) as caught:
        lower(model("T5-11B"), Prefill(1, 100, 60))
    assert caught.value.field == "past"


def attention_work(workload: Workload) -> float:
    return sum(op.work.contraction * n for layer, n in workload.layers() for op in layer.ops if op.kind == "attention")


@given(context=st.integers(2, 3000), cuts=st.lists(st.integers(1, 2999), max_size=4), batch=st.integers(1, 3))
def test_pieces_conserve_work(context: int, cuts: list[int], batch: int) -> None:
    """Scores and values of a causal prompt: 4 batch heads head_dim n (n + 1) / 2 a layer, in however many pieces."""
    found = model("Llama-3.1-8B")
    bounds = sorted({0, context, *(cut for cut in cuts if cut < context)})
    pieces = [Prefill(batch, end, start) for start, end in pairwise(bounds)]
    total = sum(attention_work(lower(found, piece)) for piece in pieces)
    assert total == pytest.approx(32 * 4 * batch * 32 * 128 * context * (context + 1) / 2, rel=1e-9)
    products = [
        sum(op.work.total * n for layer, n in lower(found, piece).layers() for op in layer.ops if op.kind == "gemm")
        for piece in (*pieces, Prefill(batch, context))
    ]
    heads = 2 * batch * 4096 * 128256
    assert sum(products[:-1]) - (len(pieces) - 1) * heads == pytest.approx(products[-1], rel=1e-9)


def test_pieces_read_the_past_and_make_the_rest() -> None:
    """1,000 tokens of which 600 are there: 131,072 B of each past token come from storage, of the others none."""
    workload = lower(model("Llama-3.1-8B"), Prefill(2, 1000, 600))
    layer, count = next(pair for pair in workload.layers() if pair[0].name == "layer")
    attention = next(op for op in layer.ops if op.name == "attention")
    stored = [operand.bytes for operand in layer.from_storage(attention)]
    assert count * sum(stored) == pytest.approx(2 * 600 * 131072)
    append = next(op for op in layer.ops if op.name == "cache_append")
    written = sum(o.bytes for o in append.operands if o.stored == "kv_cache" and o.access == "write")
    assert count * written == 2 * 400 * 131072


def test_without_a_past_nothing_comes_from_storage() -> None:
    layer = next(layer for layer, _ in lower(model("Llama-3.1-8B"), Prefill(2, 1000)).layers() if layer.name == "layer")
    attention = next(op for op in layer.ops if op.name == "attention")
    assert layer.from_storage(attention) == ()


def test_a_windowed_piece_sees_its_window() -> None:
    """gpt-oss's window of 128: each of 100 queries behind 9,900 tokens sees 128 keys, all together 227."""
    workload = lower(model("gpt-oss-20b"), Prefill(1, 10_000, 9_900))
    found = [op for layer, _ in workload.layers() for op in layer.ops if op.kind == "attention"]
    windowed, whole = sorted(found, key=lambda op: op.work.contraction)
    assert windowed.work.contraction == pytest.approx(4 * 64 * 64 * 100 * 128, rel=1e-9)
    assert whole.work.contraction == pytest.approx(4 * 64 * 64 * (100 * 9_900 + 100 * 101 / 2), rel=1e-9)
    assert dict(windowed.sizes)["m"] == 227


def test_train() -> None:
    phase = Train(2, 8)
    assert (phase.name, phase.query_tokens, phase.tokens) == ("train", 8, 16)
    with pytest.raises(InputError, match="'fully'") as caught:
        Train(2, 8, "fully")  # type: ignore[arg-type]
    assert caught.value.field == "checkpoint"
    for wrong in ({"loss": "sliced"}, {"every": 0}, {"state_format": "fp33"}):
        with pytest.raises(InputError):
            Train(2, 8, **wrong)
