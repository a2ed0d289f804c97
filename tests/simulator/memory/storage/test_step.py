"""What a layer reads: the order of its steps, and that it is what sparse attention on real numbers counts."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.memory.flash.drives import load_drive
from simulator.memory.storage.layout import KvLayout
from simulator.memory.storage.sparse import SparseChoice, sparse_attention
from simulator.memory.storage.step import LayerStep, layer_step, most_sequences

INSTINFER = load_drive("ssd-instinfer-csd").geometry


def _array(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_a_first_step_goes_before_the_second_of_the_sequence_before() -> None:
    step = LayerStep(3, _array(20, 10, 11), _array(2, 0, 1), _array(42, 31, 30, 41), _array(2, 0, 0, 1), 0, 0, 0)
    assert step.pipelined().tolist() == [10, 11, 30, 31, 20, 41, 42]


def test_nothing_in_flash_is_no_page() -> None:
    layout = KvLayout(INSTINFER, 2, 128, 8)
    step = layer_step(layout, 1, 8, 3, 1, 16, None, True)
    assert step.pipelined().tolist() == []
    assert (step.used_bytes, step.waiting_bytes) == (0, 3 * 2 * 8 * 512)
    # Units take 16 tokens at a time, of which 8 are there.
    assert step.flops == 3 * 2 * 4 * 128 * 16


@pytest.mark.parametrize("per_page", [2, 8])
def test_everything_selected_is_what_attention_on_numbers_reads(per_page: int) -> None:
    layout = KvLayout(INSTINFER, 3, 128, 1024, channels_per_page=per_page)
    choice = SparseChoice(128, 1024)
    rng = np.random.default_rng(1)
    q, k, v = rng.normal(size=(1, 128)), rng.normal(size=(1024, 128)), rng.normal(size=(1024, 128))
    counts = sparse_attention(q, k, v, choice, layout).counts
    step = layer_step(layout, 1, 1024, 5, 7, 16, choice, True)
    assert len(step.first) == 15 * counts.channel_pages
    assert len(step.second) == 15 * counts.token_pages
    assert step.used_bytes == 15 * counts.used_bytes
    assert step.flops == 15 * counts.flops
    assert len(np.unique(step.pipelined())) == len(step.first) + len(step.second)


def test_heads_that_share_keys_read_what_any_of_them_selects() -> None:
    layout = KvLayout(INSTINFER, 8, 128, 2048, channels_per_page=8)
    choice = SparseChoice(8, 64)
    alone = layer_step(layout, 1, 2048, 20, 1, 16, choice, True)
    shared = layer_step(layout, 4, 2048, 20, 1, 16, choice, True)
    # Of 2048 tokens each of four selects 1/32: 1 - (31/32)^4 of them are needed, 1 - (31/32)^64 of their pages.
    assert len(shared.second) == pytest.approx(20 * 8 * 2 * 128 * (1 - (31 / 32) ** 64), rel=0.02)
    assert len(alone.second) == pytest.approx(20 * 8 * 2 * 128 * (1 - (31 / 32) ** 16), rel=0.02)
    assert len(alone.first) < len(shared.first) < 4 * len(alone.first)


def test_how_many_sequences_are_looked_at() -> None:
    layout = KvLayout(INSTINFER, 40, 128, 1536)
    # 2**21 pages of 7680 a sequence allow 273, 2**22 tokens of 40 heads 68.
    assert most_sequences(layout, 1, 1536) == 68
    assert most_sequences(KvLayout(INSTINFER, 8, 128, 2**22), 8, 2**22) == 1
