"""Sparse attention against dense attention, and what it reads against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.memory.flash.drives import load_drive
from simulator.memory.storage.layout import KvLayout
from simulator.memory.storage.sparse import SparseChoice, dense_attention, relative_error, sparse_attention
from workloads.errors import InputError

INSTINFER = load_drive("ssd-instinfer-csd").geometry
LAYOUT = KvLayout(INSTINFER, 1, 128, 2048, channels_per_page=2)
Array = NDArray[np.float64]


def _problem(tokens: int, queries: int = 1, size: int = 128, seed: int = 1) -> tuple[Array, Array, Array]:
    """A few tokens fit the queries well, and a few channels are large, as in trained models."""
    rng = np.random.default_rng(seed)
    loud = np.exp(rng.normal(0.0, 1.0, size))
    queries_ = rng.normal(size=(queries, size)) * loud
    keys = rng.normal(size=(tokens, size)) + np.outer(rng.random(tokens) < 0.05, queries_.mean(axis=0))
    return queries_, keys, rng.normal(1.0, 1.0, size=(tokens, size))


def test_dense_attention_of_two_tokens_by_hand() -> None:
    # Scores q k / sqrt(4) are 0 and ln 3: weights 1/4 and 3/4.
    query = np.array([[1.0, 0.0, 0.0, 0.0]])
    keys = np.array([[0.0, 1.0, 2.0, 3.0], [2 * np.log(3), 0.0, 0.0, 0.0]])
    values = np.array([[1.0, 0.0, 0.0, 4.0], [0.0, 1.0, 0.0, 8.0]])
    assert dense_attention(query, keys, values) == pytest.approx(np.array([[0.25, 0.75, 0.0, 7.0]]))


def test_one_token_of_two_by_hand() -> None:
    # |q| = 3, 1: channel 0 holds 3/4. Scores 3 x (1, 0) / sqrt(2 x 3/4): the first token, alpha its softmax.
    alpha = 1 / (1 + np.exp(-3 / np.sqrt(1.5)))
    layout = KvLayout(INSTINFER, 1, 2, 64, channels_per_page=1)
    values = np.array([[1.0, 0.0], [0.0, 1.0]])
    keys = np.array([[1.0, 5.0], [0.0, -5.0]])
    result = sparse_attention(np.array([[3.0, -1.0]]), keys, values, SparseChoice(1, 1), layout)
    assert result.channels.tolist() == [[0]]
    assert result.tokens.tolist() == [[0]]
    assert result.alpha == pytest.approx([alpha])
    assert result.output == pytest.approx(np.array([[alpha + (1 - alpha) / 2, (1 - alpha) / 2]]))


@given(
    tokens=st.integers(1, 80),
    queries=st.integers(1, 3),
    size=st.sampled_from([2, 16, 128]),
    seed=st.integers(0, 9),
    share=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_all_tokens_selected_is_dense(tokens: int, queries: int, size: int, seed: int, share: float) -> None:
    q, k, v = _problem(tokens, queries, size, seed)
    layout = KvLayout(INSTINFER, 1, size, 2048, channels_per_page=2)
    choice = SparseChoice(1 + int(share * (size - 1)), tokens)
    result = sparse_attention(q, k, v, choice, layout)
    np.testing.assert_allclose(result.output, dense_attention(q, k, v), rtol=1e-10, atol=1e-12)


@given(
    tokens=st.integers(1, 400),
    queries=st.integers(1, 4),
    channels=st.integers(1, 128),
    share=st.floats(0, 1),
    per_page=st.sampled_from([2, 4, 8]),
    filters=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_bytes_fall_from_stage_to_stage(
    tokens: int, queries: int, channels: int, share: float, per_page: int, filters: bool
) -> None:
    layout = KvLayout(INSTINFER, 1, 128, 2048, channels_per_page=per_page)
    choice = SparseChoice(channels, 1 + int(share * (tokens - 1)))
    counts = sparse_attention(*_problem(tokens, queries), choice, layout, filters=filters).counts
    assert counts.flash_bytes == 4096 * (counts.channel_pages + counts.token_pages)
    assert counts.flash_bytes >= counts.filtered_bytes >= counts.used_bytes
    # Selected by one query at least, by each of them at most.
    one = 2 * (choice.channels * tokens + 2 * 128 * choice.tokens)
    assert one <= counts.used_bytes <= queries * one


def test_pages_and_operations_by_hand() -> None:
    # 256 tokens, all 128 channels: 64 pages by channel; both tokens in the first page of 16, of keys and of values.
    q, k, v = _problem(256)
    k = 0.001 * k
    k[3:5] = q
    counts = sparse_attention(q, k, v, SparseChoice(128, 2), LAYOUT).counts
    assert (counts.channel_pages, counts.token_pages) == (64, 2)
    assert counts.flash_bytes == 66 * 4096
    assert counts.used_bytes == counts.filtered_bytes == 256 * 128 * 2 + 2 * 2 * 128 * 2
    assert counts.flops == 2 * 128 * 256 + 4 * 2 * 128
    assert sparse_attention(q, k, v, SparseChoice(128, 2), LAYOUT, filters=False).counts.filtered_bytes == 66 * 4096


def test_the_error_falls_with_more_tokens_and_more_channels() -> None:
    def error(channels: int, tokens: int) -> float:
        errors = []
        for seed in range(20):
            q, k, v = _problem(512, seed=seed)
            found = sparse_attention(q, k, v, SparseChoice(channels, tokens), LAYOUT).output
            errors.append(relative_error(found, dense_attention(q, k, v)))
        return float(np.mean(errors))

    by_tokens = [error(32, tokens) for tokens in (16, 64, 256, 512)]
    assert by_tokens == sorted(by_tokens, reverse=True)
    assert by_tokens[-1] < 1e-12
    by_channels = [error(channels, 64) for channels in (4, 16, 64, 128)]
    assert by_channels == sorted(by_channels, reverse=True)
    assert by_channels[0] > 2 * by_channels[-1]


def test_what_is_refused() -> None:
    q, k, v = _problem(32)
    with pytest.raises(InputError, match="channels: found 129; expected 1 to 128, the channels of a head"):
        sparse_attention(q, k, v, SparseChoice(129, 2), LAYOUT)
    with pytest.raises(InputError, match="tokens: found 33; expected 1 to 32, those of the sequence"):
        sparse_attention(q, k, v, SparseChoice(16, 33), LAYOUT)
