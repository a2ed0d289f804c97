"""How flash attention cuts its work: tiles of query rows, each walking its blocks of keys.

A thread block takes a tile of query rows of one head and walks the keys block by block; of a causal tile it walks the
blocks up to the last row's key and computes the one on the diagonal whole. Two generations of the kernel are known
(Dao-AILab/flash-attention @07602ad): FlashAttention-2 as engines call it on paged caches
(csrc/flash_attn/src/flash_fwd_launch_template.h, ``run_mha_fwd_splitkv_dispatch``) and FlashAttention-3
(hopper/tile_size.h, hopper/heuristics.h, 16-bit formats, pages that the copy engine cannot gather).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappers.kernels.machine import KernelMachine
from workloads.errors import InputError

__all__ = ["GENERATIONS", "Generation", "TileWork", "block_keys", "floor_sum", "kernel_on", "padded_dim", "tile_work"]

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Generation:
    """A generation of the kernel.

    ``prompt_rows`` is the tile of a prompt, ``decode_rows`` that of single queries; ``blocks_per_unit`` thread blocks
    share a unit. With ``packs_groups`` the heads of a K/V head fill a prompt's tile together. ``hides_softmax``: the
    exponentials of one block run under the products of another (FlashAttention-3, arXiv 2407.08608, section 3).
    ``longest_first``: long causal tiles start first. ``keys`` are pairs of head size and the keys of a block up to it.
    """

    prompt_rows: int
    decode_rows: int
    blocks_per_unit: int
    packs_groups: bool
    hides_softmax: bool
    longest_first: bool
    keys: tuple[tuple[int, int], ...]


GENERATIONS = {
    2: Generation(64, 64, 2, False, False, False, ((64, 256), (128, 128), (576, 64))),
    3: Generation(128, 64, 1, True, True, True, ((64, 128), (96, 128), (128, 128), (192, 96), (576, 80))),
}
"""The generations by number."""

_FROM_HOPPER_ON = ("hopper", "blackwell")
_COMPILED_DIMS = np.array([32, 64, 96, 128, 192, 256])


def kernel_on(machine: KernelMachine, number: float) -> Generation:
    """The kernel of a generation on a machine. Raises `InputError` for an unknown number.

    FlashAttention-3 needs the copy engine and the asynchronous products that came with Hopper; elsewhere the second
    generation runs.
    """
    if number not in GENERATIONS:
        raise InputError(f"found generation {number:g}", " or ".join(map(str, GENERATIONS)), "attention.generation")
    return GENERATIONS[int(number) if machine.architecture in _FROM_HOPPER_ON else 2]


def padded_dim(head_dim: Numbers) -> Numbers:
    """The head size that a kernel is compiled for: the next one, or beyond all of them the size itself."""
    index = np.searchsorted(_COMPILED_DIMS, head_dim)
    padded: Numbers = np.where(
        index < len(_COMPILED_DIMS), _COMPILED_DIMS[np.minimum(index, len(_COMPILED_DIMS) - 1)], head_dim
    )
    return padded


def block_keys(of: Generation, head_dim: Numbers) -> Numbers:
    """Keys of a block by head size; beyond the largest known size, those of the largest."""
    sizes, keys = (np.array(column, float) for column in zip(*of.keys, strict=True))
    found: Numbers = keys[np.minimum(np.searchsorted(sizes, head_dim), len(sizes) - 1)]
    return found


@dataclass(frozen=True, eq=False)
class TileWork:
    """Of each shape: blocks of keys that all tiles walk, those of the longest tile, and the tiles."""

    blocks: Numbers
    longest: Numbers
    tiles: Numbers


def tile_work(
    queries: Numbers, keys: Numbers, lanes: Numbers, rows_per_query: Numbers, causal: NDArray[np.bool_],
    window: Numbers, size: Numbers, tile_rows: int,
) -> TileWork:  # fmt: skip
    """The tiles of ``lanes`` sequences and heads with ``queries`` each, the last of them at the last of the ``keys``.

    A tile holds ``tile_rows`` rows; every query has ``rows_per_query`` of them. ``size`` is the keys of a block. A
    causal query sees the last ``window`` keys up to its own (infinite: all). Counts that are no whole numbers (means
    over a batch) count as the next one.
    """
    queries, keys = np.ceil(queries), np.ceil(keys)
    tiles = np.ceil(queries * rows_per_query / tile_rows)
    whole = np.ceil(keys / size)
    # In units of rows: tile i ends (i + 1) * tile_rows behind the past, its first query's window opens before it.
    scale, past = size * rows_per_query, (keys - queries) * rows_per_query
    steps = np.full(len(tiles), tile_rows, np.int64)
    ended = floor_sum(_int(tiles - 1), _int(scale), steps, _int(past + tile_rows + scale - 1)) + whole
    seen = np.minimum(window, keys)
    opens = past - (seen - 1) * rows_per_query
    inside = np.minimum(np.maximum(0.0, np.ceil(-opens / tile_rows)), tiles)
    skipped = floor_sum(_int(tiles - inside), _int(scale), steps, _int(np.maximum(0.0, opens + inside * tile_rows)))
    blocks = np.where(causal, ended - skipped, tiles * whole)
    # So many blocks may the keys of a tile touch, wherever they begin.
    of_tile = np.minimum(np.ceil(tile_rows / rows_per_query), queries)
    touched = np.floor((seen + of_tile - 3) / size) + 2
    longest = np.where(causal, np.minimum(whole, touched), whole)
    return TileWork(lanes * blocks, longest, lanes * tiles)


def floor_sum(count: Whole, divisor: Whole, step: Whole, offset: Whole) -> Numbers:
    """The sum over i < ``count`` of floor((``step`` i + ``offset``) / ``divisor``), elementwise; none is negative.

    By Euclid's algorithm (Graham, Knuth, Patashnik, Concrete Mathematics, section 3.5): a few rounds at any count.
    """
    n, m, a, b = (values.copy() for values in (count, divisor, step, offset))
    total = np.zeros(len(n), np.int64)
    live = n > 0
    while live.any():
        n = np.where(live, n, 0)
        total += n * (n - 1) // 2 * (a // m) + n * (b // m)
        a, b = a % m, b % m
        top = a * n + b
        live = live & (top >= m)
        n, b, m, a = np.where(live, top // m, 0), top % m, np.where(live, a, 1), m
    return total.astype(float)


def _int(values: Numbers) -> Whole:
    return values.astype(np.int64)
