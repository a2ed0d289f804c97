"""Mini-sequences do the same work on the same tokens in less room."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.liveness import activation_bytes, activation_peak_bytes
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Prefill
from workloads.transforms.mini_sequences import logits_of_all, mini_sequences
from workloads.workload import Layer, Workload

LLAMA = model("Llama-3-8B")


def layer_of(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(64, 500), st.integers(1, 64))
def test_work_and_room_of_all_tokens_stay(batch: int, context: int, count: int) -> None:
    whole = logits_of_all(lower(LLAMA, Prefill(batch, context)))
    cut = mini_sequences(whole, count)
    # The last mini-sequences are a token shorter where parts do not come out even: their sums are the whole.
    assert cut.total_work().total == pytest.approx(whole.total_work().total, rel=1e-9)
    assert cut.stored_bytes() == whole.stored_bytes()
    assert cut.touched_bytes("write") == pytest.approx(whole.touched_bytes("write"), rel=1e-9)
    # What the layer after reads is as large as ever.
    before, after = (activation_bytes(layer_of(workload, "layer")) for workload in (whole, cut))
    assert after["ffn_down"] == before["ffn_down"] == 2 * batch * context * 4096
    assert after["ffn_norm"] == before["ffn_norm"]


def test_peaks_by_hand() -> None:
    """1,000 tokens of Llama-3-8B in 16 bits: residual 4,096, gate and up 28,672, activated 14,336, vocabulary 128,256.

    Whole, gate, up and activated lie beside the residual: 47,104 values a token. In 10 parts a tenth of these 43,008
    lies beside residual, norm and what is made of the feed-forward, 12,288 a token.
    """
    whole = logits_of_all(lower(LLAMA, Prefill(1, 1000)))
    cut = mini_sequences(whole, 10)
    assert activation_peak_bytes(layer_of(whole, "layer")) == 2 * 47_104 * 1000
    middle = 4096 + 4096 + 4096 + 4300.8
    assert activation_peak_bytes(layer_of(cut, "layer")) == pytest.approx(2 * middle * 1000)
    # Of the head, the scores: all tokens', or a tenth of them, beside the norm's output and the residual it leaves.
    assert activation_peak_bytes(layer_of(whole, "head")) == 2 * 1000 * (2 * 4096 + 128_256)
    assert activation_peak_bytes(layer_of(cut, "head")) == pytest.approx(2 * 1000 * (2 * 4096 + 12_825.6))


def test_weights_are_read_once_a_part() -> None:
    cut = mini_sequences(lower(LLAMA, Prefill(1, 1000)), 4)
    read = [o.stored for op in layer_of(cut, "layer").ops for o in op.operands if o.access == "read"]
    assert read.count("ffn_up_weight") == read.count("ffn_down_weight") == 4
    # A head that scores the last token only has nothing to cut.
    assert [op.name for op in layer_of(cut, "head").ops] == ["final_norm", "logits"]


def test_one_part_is_the_whole() -> None:
    whole = lower(LLAMA, Prefill(2, 64))
    assert mini_sequences(whole, 1) == whole


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(InputError, match="mini-sequences of decode"):
        mini_sequences(lower(LLAMA, Decode(1, 64)), 2)
    with pytest.raises(InputError, match="from 1 to the 64 tokens"):
        mini_sequences(lower(LLAMA, Prefill(1, 64)), 65)
    with pytest.raises(InputError, match="has experts"):
        mini_sequences(lower(model("Mixtral-8x7B"), Prefill(1, 64)), 2)
