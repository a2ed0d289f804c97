"""Shapes of attention calls, and what was fitted for their kernels."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mappers.kernels.attention_tiles import Numbers

__all__ = ["AttentionConstants", "AttentionShapes", "attention_shapes"]


@dataclass(frozen=True)
class AttentionConstants:
    """What was fitted for attention; efficiencies are shares of the data sheet's rates, ``clocks`` those of its clock.

    - ``generation`` of the kernel, stated (`mappers.kernels.attention_tiles.GENERATIONS`);
    - ``compute_efficiency`` of the products of a block, and ``prologue_clocks_per_row`` of a tile of queries: to fetch
      it, to start the pipeline and to leave the result;
    - of prompts: ``tail_share`` of the longest tile's time that stands beside the mean load of the units,
      ``prompt_memory_efficiency`` and ``prompt_overhead_clocks``;
    - of single queries: ``decode_memory_efficiency``, ``decode_overhead_clocks``, ``split_clocks`` for each part that a
      context is split into, ``last_wave_share`` of the idle part of a last wave that is not won back, and
      ``cache_efficiency``, of the last cache's rate where it held the context from the call before (0: never did).
    """

    generation: float
    compute_efficiency: float
    prologue_clocks_per_row: float
    tail_share: float
    prompt_memory_efficiency: float
    prompt_overhead_clocks: float
    decode_memory_efficiency: float
    decode_overhead_clocks: float
    split_clocks: float
    last_wave_share: float
    cache_efficiency: float


@dataclass(frozen=True, eq=False)
class AttentionShapes:
    """Calls of attention, an entry each, on one device.

    ``batch`` sequences bring ``q_len`` queries each, the last of them at the last of ``kv_len`` keys (so the past is
    ``kv_len - q_len``); both may be means over sequences of different length. A causal query sees the last ``window``
    keys up to its own (infinite: all). ``heads`` query heads share ``kv_heads`` heads of K and V. ``bytes_per_element``
    is that of K and V in the cache, ``peak_ops_per_s`` the rate of the format computed in.
    """

    batch: Numbers
    q_len: Numbers
    kv_len: Numbers
    heads: Numbers
    kv_heads: Numbers
    head_dim: Numbers
    bytes_per_element: Numbers
    peak_ops_per_s: Numbers
    window: Numbers
    causal: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.batch)

    def of(self, which: NDArray[np.bool_]) -> AttentionShapes:
        """The calls of which ``which`` is true."""
        return AttentionShapes(*(getattr(self, field.name)[which] for field in fields(self)))

    @property
    def group(self) -> Numbers:
        """Query heads for each head of K and V."""
        return self.heads / self.kv_heads

    @property
    def cache_bytes(self) -> Numbers:
        """K and V of all keys, each read once."""
        return 2 * self.batch * self.kv_len * self.kv_heads * self.head_dim * self.bytes_per_element

    @property
    def new_bytes(self) -> Numbers:
        """K and V of the queries' own tokens."""
        return 2 * self.batch * self.q_len * self.kv_heads * self.head_dim * self.bytes_per_element

    @property
    def query_bytes(self) -> Numbers:
        """Queries and results, 16 bits each."""
        return 2 * 2 * self.batch * self.q_len * self.heads * self.head_dim


_NUMBERS = (
    "batch", "q_len", "kv_len", "heads", "kv_heads", "head_dim", "bytes_per_element", "peak_ops_per_s", "window",
)  # fmt: skip


def attention_shapes(
    batch: object, q_len: object, kv_len: object, heads: object, kv_heads: object, head_dim: object = 128,
    *, peak_ops_per_s: object, bytes_per_element: object = 2, window: object = np.inf, causal: object = True,
) -> AttentionShapes:  # fmt: skip
    """Shapes from numbers or arrays, which broadcast to one length."""
    numbers = (batch, q_len, kv_len, heads, kv_heads, head_dim, bytes_per_element, peak_ops_per_s, window, causal)
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(value)) for value in numbers))
    floats = dict(zip(_NUMBERS, (column.astype(float) for column in columns[:-1]), strict=True))
    return AttentionShapes(**floats, causal=columns[-1].astype(bool))
