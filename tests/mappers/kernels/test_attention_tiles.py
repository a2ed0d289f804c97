"""Tiles of flash attention beside a walk over every tile, one by one."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.kernels.attention_tiles import (
    GENERATIONS,
    TileWork,
    block_keys,
    floor_sum,
    kernel_on,
    padded_dim,
    tile_work,
)
from mappers.kernels.machine import KernelMachine
from workloads.errors import InputError


def whole(value: int) -> np.ndarray:
    return np.array([value], np.int64)


def work(
    queries: int, keys: int, group: int = 1, rows: int = 64, size: int = 128, causal: bool = True,
    window: float = np.inf,
) -> TileWork:  # fmt: skip
    q, k, lanes, g, w, n = (np.array([float(value)]) for value in (queries, keys, 1, group, window, size))
    return tile_work(q, k, lanes, g, np.array([causal]), w, n, rows)


def walked(
    queries: int, keys: int, group: int, rows: int, size: int, causal: bool, window: int = 10**9
) -> tuple[int, int, int]:
    """Blocks of all tiles, of the longest, and tiles, by walking them."""
    blocks, longest, tiles = 0, 0, 0
    for first in range(0, queries * group, rows):
        last_query = min(ceil((first + rows) / group), queries)
        seen = keys - queries + last_query if causal else keys
        opens = max(0, keys - queries + first // group - (window - 1)) if causal else 0
        walk = ceil(seen / size) - opens // size
        blocks += walk
        longest = max(longest, walk)
        tiles += 1
    return blocks, longest, tiles


def machine(architecture: str) -> KernelMachine:
    return KernelMachine("made up", architecture, 100, 1e9, {"fp16": 1e14}, 1e13, 1e12, 1e12, 0.0, 0.0)


def test_a_causal_prompt_of_four_blocks_walks_one_two_three_and_four_of_them() -> None:
    found = work(512, 512, rows=128)
    assert (found.blocks[0], found.longest[0], found.tiles[0]) == (1 + 2 + 3 + 4, 4, 4)


def test_without_a_mask_every_tile_walks_all_blocks() -> None:
    assert work(512, 512, rows=128, causal=False).blocks[0] == 4 * 4


def test_the_block_on_the_diagonal_is_walked_whole() -> None:
    # Tiles of 64 queries over blocks of 128 keys: the first two both need one block.
    assert work(128, 128).blocks[0] == 2


def test_a_piece_behind_a_past_walks_the_past_as_well() -> None:
    # 128 queries behind 1024 keys: 9 blocks for the one tile.
    assert work(128, 1152, rows=128).blocks[0] == 9


def test_heads_that_share_keys_fill_a_tile_together() -> None:
    # 8 heads of 16 queries are the 128 rows of one tile.
    found = work(16, 4096, group=8, rows=128)
    assert (found.blocks[0], found.tiles[0]) == (32, 1)


@given(st.integers(1, 400), st.integers(0, 500), st.integers(1, 9), st.sampled_from([64, 128]), st.booleans())
def test_the_closed_form_is_the_walk(queries: int, past: int, group: int, rows: int, causal: bool) -> None:
    found = work(queries, queries + past, group, rows, 128, causal)
    expected = walked(queries, queries + past, group, rows, 128, causal)
    assert (found.blocks[0], found.longest[0], found.tiles[0]) == expected


@given(st.integers(1, 900), st.integers(0, 500), st.integers(1, 9), st.sampled_from([64, 128]), st.integers(1, 700))
def test_a_window_leaves_out_the_blocks_before_it(queries: int, past: int, group: int, rows: int, window: int) -> None:
    found = work(queries, queries + past, group, rows, 128, window=window)
    blocks, longest, tiles = walked(queries, queries + past, group, rows, 128, True, window)
    assert (found.blocks[0], found.tiles[0]) == (blocks, tiles)
    # The longest is an upper bound, by a block at most.
    assert longest <= found.longest[0] <= longest + 1


@given(st.integers(0, 60), st.integers(1, 90), st.integers(0, 200), st.integers(0, 300))
def test_floor_sum_is_the_sum(count: int, divisor: int, step: int, offset: int) -> None:
    found = floor_sum(whole(count), whole(divisor), whole(step), whole(offset))[0]
    assert found == sum((step * i + offset) // divisor for i in range(count))


def test_sizes_of_heads_are_padded_to_those_a_kernel_is_compiled_for() -> None:
    assert padded_dim(np.array([40.0, 64.0, 80.0, 128.0, 512.0])).tolist() == [64, 64, 96, 128, 512]


def test_blocks_of_keys_by_head_size() -> None:
    assert block_keys(GENERATIONS[2], np.array([64.0, 128.0, 256.0])).tolist() == [256, 128, 64]


@pytest.mark.parametrize(("architecture", "hides"), [("hopper", True), ("ampere", False), ("cdna2", False)])
def test_the_third_generation_runs_from_hopper_on(architecture: str, hides: bool) -> None:
    assert kernel_on(machine(architecture), 3).hides_softmax is hides


def test_an_unknown_generation_is_refused() -> None:
    with pytest.raises(InputError, match="found generation 7"):
        kernel_on(machine("hopper"), 7)
