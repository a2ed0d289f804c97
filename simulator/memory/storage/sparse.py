"""Attention of one token over keys and values in flash, sparse in two steps, on real numbers, with what it reads.

The rule is that of SparQ (Ribar et al., arXiv 2312.04985) in the form of SparF (InstInfer, arXiv 2409.04992): the r
channels where |q| is largest give approximate scores, their temperature corrected by the share of |q| that they
hold; the k tokens of the highest scores are attended exactly; what the approximation gives the others goes to the mean
of the values. Pages are read if anything in them is selected, and filtered where they leave the flash channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.memory.storage.layout import KvLayout
from simulator.memory.storage.selection import pages_touched
from workloads.errors import InputError

__all__ = ["ReadCounts", "SparseChoice", "SparseResult", "dense_attention", "relative_error", "sparse_attention"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SparseChoice:
    """``channels`` (r) of a head and ``tokens`` (k) of a sequence are selected.

    ``mean_run`` is that of selected tokens where the selection is drawn and not computed: `clustered_tokens`.
    """

    channels: int
    tokens: int
    mean_run: float | None = None
    seed: int = 1

    def check(self, head_size: int, tokens: int) -> None:
        """Raise `InputError`, with the field, for a choice beyond ``head_size`` channels or ``tokens``."""
        if not 1 <= self.channels <= head_size:
            raise InputError(f"found {self.channels}", f"1 to {head_size}, the channels of a head", "channels")
        if not 1 <= self.tokens <= tokens:
            raise InputError(f"found {self.tokens}", f"1 to {tokens}, those of the sequence", "tokens")


@dataclass(frozen=True)
class ReadCounts:
    """Of one head of keys and values. ``flash_bytes`` cross the flash channels, ``filtered_bytes`` leave the filters,
    ``used_bytes`` are those of selected elements. ``flops`` count a multiplication and an addition as two."""

    channel_pages: int
    token_pages: int
    flash_bytes: int
    filtered_bytes: int
    used_bytes: int
    flops: int


@dataclass(frozen=True)
class SparseResult:
    """``output`` [queries, head_size]; ``alpha`` [queries] the approximate share of the tokens attended exactly;
    ``channels`` [queries, r] and ``tokens`` [queries, k] selected, in increasing order."""

    output: Array
    alpha: Array
    channels: NDArray[np.int64]
    tokens: NDArray[np.int64]
    counts: ReadCounts


def dense_attention(queries: Array, keys: Array, values: Array) -> Array:
    """softmax(Q K^T / sqrt(d)) V, plainly: [queries, d], [tokens, d], [tokens, d] to [queries, d]."""
    return _softmax(queries @ keys.T / np.sqrt(queries.shape[1])) @ values


def sparse_attention(
    queries: Array, keys: Array, values: Array, choice: SparseChoice, layout: KvLayout, *, filters: bool = True
) -> SparseResult:
    """Attention of the ``queries`` that share one head of ``keys`` and ``values``, all tokens of these in flash.

    Shapes as `dense_attention`, which it equals when all tokens are selected. Pages are those that any of the queries
    needs. Without ``filters`` whole pages leave the channel.
    Raises `InputError` for a choice beyond the head's channels or the tokens, or a layout without pages by channel.
    """
    (count, size), tokens = queries.shape, len(keys)
    choice.check(size, tokens)
    chosen = np.sort(np.argsort(-np.abs(queries), axis=1, kind="stable")[:, : choice.channels], axis=1)
    kept = np.take_along_axis(queries, chosen, axis=1)
    held = np.abs(kept).sum(axis=1) / np.maximum(np.abs(queries).sum(axis=1), np.finfo(float).tiny)
    products = np.stack([keys[:, c] @ q for c, q in zip(chosen, kept, strict=True)])
    approximate = _softmax(products / np.sqrt(size * np.maximum(held, np.finfo(float).tiny))[:, None])
    best = np.sort(np.argsort(-approximate, axis=1, kind="stable")[:, : choice.tokens], axis=1)
    alpha = np.take_along_axis(approximate, best, axis=1).sum(axis=1)
    exact = np.concatenate([dense_attention(queries[i : i + 1], keys[j], values[j]) for i, j in enumerate(best)])
    output = alpha[:, None] * exact + (1.0 - alpha[:, None]) * values.mean(axis=0)
    return SparseResult(output, alpha, chosen, best, _counts(chosen, best, choice, tokens, layout, count, filters))


def relative_error(found: Array, expected: Array) -> float:
    """The length of the difference over that of ``expected``."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _counts(
    chosen: NDArray[np.int64],
    best: NDArray[np.int64],
    choice: SparseChoice,
    tokens: int,
    layout: KvLayout,
    queries: int,
    filters: bool,
) -> ReadCounts:
    """Of the pages that any of the queries needs."""
    channels_needed = np.zeros((1, layout.head_size), dtype=np.bool_)
    channels_needed[0, np.unique(chosen)] = True
    tokens_needed = np.zeros((1, tokens), dtype=np.bool_)
    tokens_needed[0, np.unique(best)] = True
    stretches = -(-tokens // layout.tokens_per_channel_page)
    groups = int(pages_touched(channels_needed, layout.channels_per_page or 1).sum())
    channel_pages = groups * stretches
    token_pages = 2 * int(pages_touched(tokens_needed, layout.tokens_per_page).sum())
    element = layout.element_bytes
    used = element * (tokens * int(channels_needed.sum()) + 2 * layout.head_size * int(tokens_needed.sum()))
    flash = (channel_pages + token_pages) * layout.geometry.page_bytes
    flops = queries * (2 * choice.channels * tokens + 4 * choice.tokens * layout.head_size)
    return ReadCounts(channel_pages, token_pages, flash, used if filters else flash, used, flops)


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result
