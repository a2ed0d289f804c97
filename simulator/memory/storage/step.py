"""What one layer of a decode step reads in one drive, page by page, and computes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.memory.storage.layout import KvLayout, Pages
from simulator.memory.storage.selection import clustered_tokens, pages_touched, random_channels
from simulator.memory.storage.sparse import SparseChoice

__all__ = ["LayerStep", "layer_step", "most_sequences"]

_MOST_SELECTED = 2**22  # tokens of heads whose selection is held at a time
_MOST_PAGES = 2**21


@dataclass(frozen=True, eq=False)
class LayerStep:
    """One layer of ``sequences``: logical pages that approximate scores need, and those by token, with the sequence of
    each; bytes of selected elements in flash, and bytes of tokens not in flash yet; operations of the units, which take
    whole groups of tokens."""

    sequences: int
    first: Pages
    first_sequence: NDArray[np.int64]
    second: Pages
    second_sequence: NDArray[np.int64]
    used_bytes: int
    waiting_bytes: int
    flops: int

    def pipelined(self) -> Pages:
        """All pages as they are asked for: a sequence's first step before the second step of the one before it, the
        pages of a step in order."""
        turns = np.concatenate([np.maximum(2 * self.first_sequence - 1, 0), 2 * self.second_sequence + 2])
        pages = np.concatenate([self.first, self.second])
        end = int(pages.max()) + 1 if len(pages) else 1
        keys = np.sort(turns * end + pages)
        order: Pages = keys % end
        return order


def most_sequences(layout: KvLayout, queries: int, tokens: int) -> int:
    """Sequences that `layer_step` takes at once, at least one."""
    return max(1, min(_MOST_PAGES // layout.pages_per_plot, _MOST_SELECTED // (layout.kv_heads * queries * tokens)))


def layer_step(
    layout: KvLayout,
    queries: int,
    tokens: int,
    sequences: int,
    layers: int,
    unit_tokens: int,
    sparse: SparseChoice | None,
    tail_in_dram: bool,
) -> LayerStep:
    """The first layer of ``sequences`` whose ``layers`` plots follow one another; ``queries`` heads of queries for each
    head of keys. Units take ``unit_tokens`` at a time."""
    heads, vector = layout.kv_heads, layout.head_size * layout.element_bytes
    rows = sequences * heads
    sequence, head = np.repeat(np.arange(sequences), heads), np.tile(np.arange(heads), sequences)
    stored = tokens // layout.tokens_written_together * layout.tokens_written_together
    groups = stored // layout.tokens_per_page
    nothing = np.zeros(0, dtype=np.int64)
    if sparse is None:
        touched = np.ones((rows, groups), dtype=np.bool_)
        second, second_row = _token_pages(layout, sequence * layers, head, touched)
        return LayerStep(
            sequences=sequences,
            first=nothing,
            first_sequence=nothing,
            second=second,
            second_sequence=sequence[second_row],
            used_bytes=rows * 2 * stored * vector,
            waiting_bytes=rows * 2 * (tokens - stored) * vector,
            flops=4 * rows * queries * layout.head_size * -(-tokens // unit_tokens) * unit_tokens,
        )
    rng = np.random.default_rng(sparse.seed)
    by_channel = min(tokens // layout.tokens_per_channel_page * layout.tokens_per_channel_page, stored)
    channels = random_channels(rows * queries, layout.head_size, sparse.channels, rng)
    channels = np.logical_or.reduce(channels.reshape(rows, queries, -1), axis=1)
    chosen = clustered_tokens(rows * queries, tokens, sparse.tokens / tokens, sparse.mean_run, rng)
    grouped = int((-(-chosen.sum(axis=1) // unit_tokens)).sum()) * unit_tokens
    chosen = np.logical_or.reduce(chosen.reshape(rows, queries, -1), axis=1)[:, :stored]

    row, group = np.nonzero(pages_touched(channels, layout.channels_per_page or 1))
    stretches = np.arange(by_channel // layout.tokens_per_channel_page)
    plots = sequence * layers
    first = layout.channel_pages(plots[row, None], head[row, None], group[:, None], stretches).ravel()
    first_row = np.repeat(row, len(stretches))
    used = int(channels.sum()) * by_channel * layout.element_bytes + 2 * int(chosen.sum()) * vector
    waiting = rows * 2 * (tokens - stored) * vector
    if tail_in_dram:
        waiting += rows * (stored - by_channel) * vector
    elif by_channel < stored:
        tail = np.arange(by_channel // layout.tokens_per_page, groups)
        keys = layout.token_pages(plots[:, None], head[:, None], tail, values=False)
        first, first_row = np.append(first, keys), np.append(first_row, np.repeat(np.arange(rows), len(tail)))
        used += rows * (stored - by_channel) * vector
    second, second_row = nothing, nothing
    if stored:
        second, second_row = _token_pages(layout, plots, head, pages_touched(chosen, layout.tokens_per_page))
    return LayerStep(
        sequences=sequences,
        first=first,
        first_sequence=sequence[first_row],
        second=second,
        second_sequence=sequence[second_row],
        used_bytes=used,
        waiting_bytes=waiting,
        flops=2 * rows * queries * sparse.channels * tokens + 4 * grouped * layout.head_size,
    )


def _token_pages(
    layout: KvLayout, plots: Pages, heads: Pages, touched: NDArray[np.bool_]
) -> tuple[Pages, NDArray[np.int64]]:
    """The pages of keys and of values that ``touched`` [rows, groups] names, and the row of each."""
    row, group = np.nonzero(touched)
    pages = [layout.token_pages(plots[row], heads[row], group, values=values) for values in (False, True)]
    return np.concatenate(pages), np.concatenate([row, row])
