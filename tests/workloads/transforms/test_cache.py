"""What edits of the cache leave of Llama-2-7B's 4096 tokens, by hand: 32 heads of 128, 8,192 numbers a token."""

from __future__ import annotations

import pytest

from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Prefill
from workloads.transforms.cache import (
    heavy_hitters,
    pages,
    pruned_key_channels,
    quantised_cache,
    retrieval_heads,
    selected_channels_and_tokens,
    sinks_and_window,
)
from workloads.workload import Layer, Op, Workload

STEP = lower(model("Llama-2-7B"), Decode(2, 4096))
HEADS, WIDTH, TOKENS, BATCH = 32, 128, 4096, 2


def block(workload: Workload) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == "layer")


def op(workload: Workload, name: str = "attention") -> Op:
    return next(op for op in block(workload).ops if op.name == name)


def cached(workload: Workload) -> dict[str, float]:
    return {tensor.name: tensor.elements for tensor in block(workload).stored if tensor.role == "kv_cache"}


def read(found: Op, stored: str = "kv_cache") -> float:
    return sum(o.elements for o in found.operands if o.stored == stored and o.access == "read")


def contraction(keys: int, heads: int = HEADS, key_width: int = WIDTH) -> float:
    """Two operations for each key and channel of the scores and of the values."""
    return 2 * BATCH * heads * keys * (key_width + WIDTH)


def test_sinks_and_a_window() -> None:
    made = sinks_and_window(STEP, 4, 1020)
    assert cached(made) == {"kv_cache": BATCH * 1024 * 8192}
    assert read(op(made)) == BATCH * 1024 * 8192
    assert op(made).work.contraction == contraction(1024)
    assert cached(sinks_and_window(STEP, 4, 9999)) == cached(STEP)


def test_heavy_hitters_keep_their_sums_beside_them() -> None:
    """A fifth of 4096 tokens is 820; a sum for each head, sequence and kept token is read and written."""
    made = heavy_hitters(STEP, 0.2)
    assert cached(made) == {"kv_cache": BATCH * 820 * 8192, "attention_sums": BATCH * HEADS * 820}
    assert op(made).work.contraction == contraction(820)
    adding = op(made, "attention_sums")
    assert adding.work.total == BATCH * HEADS * 820
    assert adding.bytes("write") == 4 * BATCH * HEADS * 820
    assert op(made, "output").after == ("attention_sums",)


def test_retrieval_heads_are_an_attention_of_their_own() -> None:
    """8 of 32 heads keep 4096 tokens, 24 keep 64 + 256."""
    made = retrieval_heads(STEP, 0.25, 64, 256)
    assert cached(made) == {"kv_cache": BATCH * 2 * WIDTH * (8 * 4096 + 24 * 320)}
    assert op(made).work.contraction == contraction(4096, 8)
    assert op(made, "attention_streaming").work.contraction == contraction(320, 24)
    assert read(op(made)) + read(op(made, "attention_streaming")) == cached(made)["kv_cache"]
    queries = [o.elements for name in ("attention", "attention_streaming") for o in op(made, name).operands]
    assert sum(queries[0::4]) == BATCH * HEADS * WIDTH
    assert set(op(made, "output").after) == {"attention", "attention_streaming"}
    assert op(retrieval_heads(STEP, 0.0, 64, 256)).work.contraction == contraction(320)
    assert op(retrieval_heads(STEP, 1.0, 64, 256)).work.contraction == contraction(4096)


def test_pages_keep_all_and_read_some() -> None:
    """256 pages of 16 tokens have two keys each; a budget of 500 tokens is 32 pages, 512 tokens."""
    made = pages(STEP, 500, 16)
    bounds = BATCH * HEADS * 256 * WIDTH
    assert cached(made) == {"kv_cache": BATCH * 4096 * 8192, "page_bounds": 2 * bounds}
    assert read(op(made, "attention_pages"), "page_bounds") == 2 * bounds
    assert read(op(made)) == BATCH * 512 * 8192
    assert op(made).work.contraction == contraction(512)
    assert op(made).after == ("attention_pages",)


def test_pruned_channels_of_keys() -> None:
    """Of 128 channels 0.4 go: 77 stay, of 256 numbers a head and token 205."""
    made = pruned_key_channels(STEP, 0.4)
    assert cached(made) == {"kv_cache": BATCH * 4096 * HEADS * 205}
    assert op(made).work.contraction == contraction(4096, key_width=77)
    assert read(op(made)) == cached(made)["kv_cache"]


def test_narrower_numbers_take_a_multiplication_each() -> None:
    made = quantised_cache(STEP, "int4_g128")
    (cache,) = (tensor for tensor in block(made).stored if tensor.role == "kv_cache")
    assert cache.bytes == BATCH * 4096 * 8192 * (4 + 20 / 128) / 8
    assert op(made).work.contraction == op(STEP).work.contraction
    assert op(made).work.other - op(STEP).work.other == BATCH * 4096 * 8192
    assert {o.format for o in op(made, "cache_append").operands if o.stored} == {"int4_g128"}
    prefill = quantised_cache(lower(model("Llama-2-7B"), Prefill(1, 64)), "int8")
    assert op(prefill).work == op(lower(model("Llama-2-7B"), Prefill(1, 64))).work


def test_edits_follow_each_other_where_they_can() -> None:
    both = quantised_cache(pruned_key_channels(sinks_and_window(STEP, 4, 1020), 0.5), "int8")
    assert cached(both) == {"kv_cache": BATCH * 1024 * HEADS * 192}
    with pytest.raises(InputError, match="another policy has changed already"):
        sinks_and_window(retrieval_heads(STEP, 0.5, 4, 16), 4, 16)


def test_windows_of_the_model_stay_where_they_keep_less() -> None:
    """gpt-oss: half of its layers attend to 128 tokens."""
    made = sinks_and_window(lower(model("gpt-oss-20b"), Decode(1, 4096)), 4, 1020)
    kept = {layer.name: t.elements for layer, _ in made.layers() for t in layer.stored if t.role == "kv_cache"}
    assert sorted(kept.values()) == [128 * 1024, 1024 * 1024]  # 8 heads of 64, keys and values


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: heavy_hitters(w, 0.0), "a share of tokens of 0; expected above 0, up to 1"),
        (lambda w: pages(w, 0), "0 tokens of budget; expected at least 1"),
        (lambda w: pruned_key_channels(w, 1.5), "a share of channels of 1.5; expected from 0 up to 1"),
        (lambda w: quantised_cache(w, "int5"), "unknown number format 'int5'"),
        (lambda _: sinks_and_window(lower(model("bert-base"), Prefill(1, 8)), 1, 1), "not prefill"),
        (lambda _: retrieval_heads(lower(model("DeepSeek-V3"), Decode(1, 8)), 0.5, 1, 1), "a latent has no heads"),
    ],
)
def test_what_cannot_be_done_is_refused(edit, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        edit(STEP)


def test_channels_and_tokens_are_selected() -> None:
    """An eighth: 16 of 128 channels of all keys give the scores, 512 of 4096 tokens are attended to; keys lie twice."""
    made = selected_channels_and_tokens(STEP, 0.125, 0.125)
    keys = BATCH * TOKENS * HEADS * WIDTH
    assert cached(made) == {"kv_cache": 2 * keys, "keys_by_channel": keys}
    scoring, attention = op(made, "attention_channels"), op(made)
    assert read(scoring, "keys_by_channel") == keys / 8
    assert read(attention) == 2 * keys / 8
    assert attention.work.contraction == contraction(512)
    assert scoring.work.total >= BATCH * HEADS * TOKENS * 16
    assert attention.after == ("attention_channels",)


def test_pages_read_more_than_what_is_selected() -> None:
    made = selected_channels_and_tokens(STEP, 0.125, 0.125, read_channels=0.25, read_tokens=0.5)
    keys = BATCH * TOKENS * HEADS * WIDTH
    assert read(op(made, "attention_channels"), "keys_by_channel") == keys / 4
    assert read(op(made)) == 2 * keys / 2
    assert op(made).work.contraction == contraction(512)


def test_a_selection_is_a_share() -> None:
    with pytest.raises(InputError, match=r"a share of tokens of 1\.5"):
        selected_channels_and_tokens(STEP, 0.125, 1.5)
    with pytest.raises(InputError, match="a share of channels of 0; expected above 0"):
        selected_channels_and_tokens(STEP, 0.0, 0.5)
