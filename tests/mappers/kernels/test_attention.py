"""Attention kernels: closed forms computed by hand, and what must hold for every shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.kernels.attention import (
    AttentionConstants,
    AttentionShapes,
    attention_shapes,
    attention_time,
    shared_context_time,
)
from mappers.kernels.attention_prefill import prefill_time
from mappers.kernels.constants import bundled, typed
from mappers.kernels.machine import KernelMachine

PEAK = 100 * 4 * 128**3 / 1e-6
"""A hundred units that each take a microsecond for 128 x 128 scores of 128 elements and their use."""

HOPPER = KernelMachine("made up", "hopper", 100, 1e9, {"fp16": PEAK}, 1e13, 1e12, 1e12, 50e6, 4e12)
AMPERE = replace(HOPPER, architecture="ampere")

IDEAL = AttentionConstants(
    generation=3,
    compute_efficiency=1.0,
    prologue_clocks_per_row=0.0,
    tail_share=1.0,
    prompt_memory_efficiency=1.0,
    prompt_overhead_clocks=5000.0,
    decode_memory_efficiency=1.0,
    decode_overhead_clocks=5000.0,
    split_clocks=0.0,
    last_wave_share=1.0,
    cache_efficiency=1.0,
)

SHIPPED = [typed(AttentionConstants, entry) for entry in bundled("attention")]

lengths = st.integers(2, 5000)
contexts = st.integers(1, 40_000)
batches = st.integers(1, 300)
groups = st.sampled_from([1, 4, 7, 8, 16])
kv_heads = st.sampled_from([1, 2, 8, 32])
dims = st.sampled_from([64, 80, 128, 256])
machines = st.sampled_from([HOPPER, AMPERE])
fitted = st.sampled_from(SHIPPED)


def call(batch: float, q_len: float, kv_len: float, kv: int = 1, group: int = 1, dim: int = 128, causal: bool = True
) -> AttentionShapes:  # fmt: skip
    return attention_shapes(batch, q_len, kv_len, kv * group, kv, dim, peak_ops_per_s=PEAK, causal=causal)


def seconds(machine: KernelMachine, constants: AttentionConstants, shapes: AttentionShapes, warm: bool = False
) -> float:  # fmt: skip
    return float(attention_time(machine, constants, shapes, warm=warm).best_s[0])


def test_a_prompt_of_one_tile_takes_its_block() -> None:
    time = attention_time(HOPPER, IDEAL, call(1, 128, 128))
    # Mean load of the 100 units: a hundredth of the one block.
    assert time.compute_s[0] == pytest.approx(np.hypot(1e-6, 1e-8))
    # K, V, queries and result: 4 x 128 x 128 x 2 B.
    assert time.memory_s[0] == pytest.approx(131_072 / 1e12)
    # 5000 clocks, and K and V once read and once written to the cache.
    assert time.overhead_s[0] == pytest.approx(5e-6 + 2 * 65_536 / 1e12)


def test_the_second_generation_computes_exponentials_after_products() -> None:
    time = attention_time(AMPERE, replace(IDEAL, generation=2), call(1, 128, 128))
    # Two tiles of 64 rows, a block each: half a microsecond and 64 x 128 / 16 clocks.
    block_s = 0.5e-6 + 512e-9
    assert time.compute_s[0] == pytest.approx(2 * block_s / 100 + block_s)


def test_a_full_machine_takes_the_mean_load_and_the_longest_tile() -> None:
    time = attention_time(HOPPER, IDEAL, call(100, 512, 512))
    # 100 sequences of 1 + 2 + 3 + 4 blocks over 100 units; the longest tile is 4.
    assert time.compute_s[0] == pytest.approx(np.hypot(10e-6, 4e-6))


def test_single_queries_that_fill_all_places_read_their_contexts_once() -> None:
    time = attention_time(HOPPER, IDEAL, call(100, 1, 1280))
    # 100 contexts of 1280 keys, 512 B of K and V each, and 512 B of query and result.
    assert time.memory_s[0] == pytest.approx(100 * (1280 * 512 + 512) / 1e12)
    # Ten blocks a context of 64 padded rows: half a microsecond each.
    assert time.compute_s[0] == pytest.approx(5e-6)
    together_s = np.hypot(time.memory_s[0], time.compute_s[0])
    assert time.best_s[0] == pytest.approx(5e-6 + together_s)


def test_one_context_more_than_places_costs_a_second_wave() -> None:
    full, over = (attention_time(HOPPER, IDEAL, call(batch, 1, 1280)) for batch in (100, 101))
    assert over.memory_s[0] == pytest.approx(2 * full.memory_s[0])
    assert over.compute_s[0] == pytest.approx(2 * full.compute_s[0])


def test_of_a_last_wave_only_the_lost_share_counts() -> None:
    none = replace(IDEAL, last_wave_share=0.0)
    full, over = (attention_time(HOPPER, none, call(batch, 1, 1280)) for batch in (100, 101))
    assert over.memory_s[0] == pytest.approx(1.01 * full.memory_s[0])


def test_a_lone_context_is_split_among_the_units_and_its_parts_are_joined() -> None:
    joined = replace(IDEAL, split_clocks=100.0)
    alone, with_join = (attention_time(HOPPER, one, call(1, 1, 128 * 50)) for one in (IDEAL, joined))
    # 50 blocks, so 50 parts for 100 units.
    assert with_join.overhead_s[0] - alone.overhead_s[0] == pytest.approx(49 * 100e-9)
    assert alone.compute_s[0] == pytest.approx(50 * 0.5e-6 / 100)


def test_query_heads_that_share_keys_cost_no_reading() -> None:
    one, eight = (attention_time(HOPPER, IDEAL, call(100, 1, 1280, 1, group)) for group in (1, 8))
    assert eight.memory_s[0] - one.memory_s[0] == pytest.approx(7 * 100 * 512 / 1e12)
    assert eight.compute_s[0] == one.compute_s[0]


def test_only_a_repeated_call_finds_its_context_in_the_cache() -> None:
    shapes = call(16, 1, 4096)
    cold, warm = (attention_time(HOPPER, IDEAL, shapes, warm=warm) for warm in (False, True))
    # 34 MB lie in the 50 MB of cache, at four times the memory's rate.
    assert warm.memory_s[0] == pytest.approx(cold.memory_s[0] / 4)
    larger = call(32, 1, 4096)
    assert seconds(HOPPER, IDEAL, larger, warm=True) == seconds(HOPPER, IDEAL, larger)


def test_a_shared_context_is_read_once_for_the_whole_batch() -> None:
    apart = attention_time(HOPPER, IDEAL, call(64, 1, 12800, 8))
    shared = shared_context_time(HOPPER, IDEAL, call(64, 1, 12800, 8))
    assert apart.memory_s[0] / shared.memory_s[0] > 30
    # 64 rows fill one tile; 65 need a second.
    more = shared_context_time(HOPPER, IDEAL, call(65, 1, 12800, 8))
    assert more.compute_s[0] == pytest.approx(2 * shared.compute_s[0])


def test_a_window_bounds_the_work_of_a_long_prompt() -> None:
    shapes = replace(call(1, 32768, 32768, 8), window=np.array([4096.0]))
    windowed, full = (attention_time(HOPPER, IDEAL, one).compute_s[0] for one in (shapes, call(1, 32768, 32768, 8)))
    # Of 256 tiles the first 32 walk 1..32 blocks, the others 33 (4096 keys and their own 128 touch 33); all without
    # a window walk 1..256. Over 100 units beside the longest tile.
    assert windowed == pytest.approx(np.hypot(8 * (528 + 224 * 33) / 100, 33) * 1e-6, rel=0.005)
    assert full == pytest.approx(np.hypot(8 * 256 * 257 / 2 / 100, 256) * 1e-6)


def test_entries_of_one_call_run_together() -> None:
    shapes = attention_shapes([1, 2, 1], [256, 128, 512], [256, 640, 512], 8, 8, peak_ops_per_s=PEAK)
    joined = prefill_time(HOPPER, IDEAL, shapes, np.array([0, 0, 1]))
    apart = prefill_time(HOPPER, IDEAL, shapes)
    assert joined.best_s[1] == pytest.approx(apart.best_s[2])
    assert max(apart.best_s[:2]) <= joined.best_s[0] <= apart.best_s[:2].sum()


def test_equal_entries_of_one_call_are_a_batch() -> None:
    pair = attention_shapes([1, 1], 300, 500, 8, 2, peak_ops_per_s=PEAK)
    both = prefill_time(HOPPER, SHIPPED[0], pair, np.array([0, 0])).best_s[0]
    assert both == pytest.approx(seconds(HOPPER, SHIPPED[0], call(2, 300, 500, 2, 4)))


def test_narrow_elements_halve_what_is_read() -> None:
    wide = attention_time(HOPPER, IDEAL, call(100, 1, 12800))
    narrow = attention_time(HOPPER, IDEAL, replace(call(100, 1, 12800), bytes_per_element=np.ones(1)))
    assert narrow.memory_s[0] == pytest.approx(wide.memory_s[0] / 2, rel=1e-3)


@given(machines, fitted, batches, lengths, contexts, kv_heads, groups, dims, st.booleans())
def test_never_below_the_roofline(
    machine: KernelMachine, constants: AttentionConstants, batch: int, q_len: int, past: int, kv: int, group: int,
    dim: int, single: bool,
) -> None:  # fmt: skip
    queries = 1 if single else q_len
    keys = queries + past
    pairs = batch * kv * group * (queries * past + queries * (queries + 1) / 2)
    moved = 2 * 2 * batch * kv * dim * (keys + group * queries)
    least_s = max(4 * pairs * dim / PEAK, moved / 1e12)
    assert seconds(machine, constants, call(batch, queries, keys, kv, group, dim)) >= least_s


@given(machines, fitted, batches, contexts, kv_heads, groups, dims, st.integers(1, 64), st.integers(1, 3000))
def test_single_queries_never_take_less_for_more(
    machine: KernelMachine, constants: AttentionConstants, batch: int, context: int, kv: int, group: int, dim: int,
    more: int, longer: int,
) -> None:  # fmt: skip
    now = seconds(machine, constants, call(batch, 1, context, kv, group, dim))
    assert seconds(machine, constants, call(batch + more, 1, context, kv, group, dim)) >= now * (1 - 1e-9)
    assert seconds(machine, constants, call(batch, 1, context + longer, kv, group, dim)) >= now * (1 - 1e-9)


@given(machines, fitted, st.integers(1, 16), lengths, contexts, kv_heads, groups, st.integers(1, 600))
def test_prompts_never_take_less_for_more(
    machine: KernelMachine, constants: AttentionConstants, batch: int, q_len: int, past: int, kv: int, group: int,
    more: int,
) -> None:  # fmt: skip
    now = seconds(machine, constants, call(batch, q_len, q_len + past, kv, group))
    for larger in (
        call(batch + more, q_len, q_len + past, kv, group),
        call(batch, q_len + more, q_len + more + past, kv, group),
        call(batch, q_len, q_len + past + more, kv, group),
    ):
        assert seconds(machine, constants, larger) >= now * (1 - 1e-9)


def in_pieces(
    machine: KernelMachine, constants: AttentionConstants, batch: int, first: int, second: int, past: int, kv: int,
    group: int,
) -> float:  # fmt: skip
    """Seconds of a prompt's two pieces over those of the whole."""
    calls = ((first, first), (second, first + second), (first + second, first + second))
    early, late, whole = (
        seconds(machine, constants, call(batch, queries, past + keys, kv, group)) for queries, keys in calls
    )
    return (early + late) / whole


@given(machines, fitted, st.integers(1, 8), st.integers(1, 40), lengths, contexts, kv_heads, groups)
def test_a_prompt_cut_between_tiles_costs_at_least_the_whole(
    machine: KernelMachine, constants: AttentionConstants, batch: int, tiles: int, second: int, past: int, kv: int,
    group: int,
) -> None:  # fmt: skip
    assert in_pieces(machine, constants, batch, 128 * tiles, second, past, kv, group) >= 1


@given(machines, fitted, st.integers(1, 8), lengths, lengths, contexts, kv_heads, groups)
def test_a_prompt_cut_anywhere_costs_nearly_the_whole(
    machine: KernelMachine, constants: AttentionConstants, batch: int, first: int, second: int, past: int, kv: int,
    group: int,
) -> None:  # fmt: skip
    # Tiles behind the cut end at other keys and may miss a block each.
    assert in_pieces(machine, constants, batch, first, second, past, kv, group) >= 0.9


@given(machines, fitted, st.integers(200, 2000), st.integers(128, 20_000))
def test_a_prompt_of_two_tokens_and_a_single_query_agree_within_a_factor_of_two(
    machine: KernelMachine, constants: AttentionConstants, batch: int, context: int
) -> None:
    # Where every place has a context of its own: with fewer, only the kernel for single queries splits contexts.
    single = seconds(machine, constants, call(batch, 1, context))
    prompt = seconds(machine, constants, call(batch, 2, context))
    assert 0.5 <= prompt / single <= 2.0


@given(st.lists(st.tuples(batches, st.integers(1, 3000), contexts), min_size=1, max_size=6), fitted)
def test_many_shapes_at_once_are_each_alone(rows: list[tuple[int, int, int]], constants: AttentionConstants) -> None:
    batch, q_len, past = (np.array(column) for column in zip(*rows, strict=True))
    together = attention_time(
        HOPPER, constants, attention_shapes(batch, q_len, q_len + past, 32, 8, peak_ops_per_s=PEAK)
    ).best_s
    alone = [seconds(HOPPER, constants, call(b, q, q + p, 8, 4)) for b, q, p in rows]
    assert together == pytest.approx(alone)


def test_no_shapes_take_no_time() -> None:
    empty = call(1, 1, 1).of(np.array([False]))
    assert len(attention_time(HOPPER, IDEAL, empty).best_s) == 0
