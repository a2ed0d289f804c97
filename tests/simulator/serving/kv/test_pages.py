"""Pages mapped under contiguous addresses: published page sizes in tokens, lost ends, and what mapping costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.kv.memory import Grant
from simulator.serving.kv.pages import PageTable, VirtualMemory
from simulator.serving.kv.sizes import KvPart, KvSizes, kv_sizes
from simulator.serving.kv.waste import Waste
from tests.simulator.serving.kv.twins import BYTE
from workloads.errors import InputError
from workloads.models import model

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize(
    ("name", "devices", "page_bytes", "tokens"),
    [
        # vAttention (arXiv 2405.04437): page / (key heads of a device x 128 x 2 B).
        ("Llama-3-8B", 1, 2 * MIB, 1024),
        ("Llama-3-8B", 1, 64 * KIB, 32),
        ("Llama-3-8B", 1, 128 * KIB, 64),
        ("Llama-3-8B", 1, 256 * KIB, 128),
        ("Llama-3-8B", 2, 2 * MIB, 2048),
        ("Llama-3-8B", 2, 64 * KIB, 64),
        ("Llama-2-7B", 1, 2 * MIB, 256),
    ],
)
def test_tokens_of_a_page(name: str, devices: int, page_bytes: int, tokens: int) -> None:
    found = model(name)
    table = PageTable(kv_sizes(found, devices=devices), page_bytes)
    every = 2 * len(found.order) * devices
    assert table.level(1) == (every, tokens)
    assert table.level(tokens + 1) == (2 * every, 2 * tokens)


@pytest.mark.parametrize("page_bytes", [64 * KIB, 128 * KIB, 256 * KIB, 2 * MIB])
def test_half_a_page_of_each_tensor_is_lost_on_average(page_bytes: int) -> None:
    """Over all ends of a page a sequence loses (page - token) / 2 in each of 64 tensors, at most all but a token."""
    sizes = kv_sizes(model("Llama-3-8B"))
    lost = []
    for tokens in range(1, page_bytes // 2048 + 1):
        memory = VirtualMemory(sizes, 1e12, page_bytes)
        memory.admit(1, tokens, tokens)
        lost.append(memory.waste.internal_bytes)
    assert np.mean(lost) == pytest.approx(64 * (page_bytes - 2048) / 2)
    assert max(lost) == 64 * (page_bytes - 2048)


def test_one_tensor_for_all_layers_loses_a_page_instead_of_one_per_layer() -> None:
    sizes = kv_sizes(model("Llama-3-8B"))
    # 32 layers x 2 KiB a token in each of two tensors: 32 tokens in 2 MiB.
    assert PageTable(sizes, 2 * MIB, joined=True).level(1) == (2, 32)
    assert PageTable(sizes, 2 * MIB, joined=True).level(1000) == (64, 1024)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 50), st.booleans())
def test_a_level_ends_where_one_more_token_needs_a_page(tokens: int, page_bytes: int, joined: bool) -> None:
    sizes = KvSizes((KvPart(2, 3.0, 1.0, 8.0, 8.0), KvPart(1, 4.0, 4.0, 8.0, 8.0, 2, keeps_tokens=50, slides=True)))
    table = PageTable(sizes, page_bytes, joined=joined)
    pages, last = table.level(tokens)
    assert last >= tokens
    assert table.pages(tokens) == table.pages(last) == pages
    assert table.pages(last + 1) > pages


def test_a_window_that_is_full_needs_no_more_pages() -> None:
    table = PageTable(KvSizes((KvPart(1, 1.0, 0.0, 8.0, keeps_tokens=10, slides=True),)), 4)
    assert table.level(9)[0] == table.level(100_000)[0] == 3


def test_mapping_costs_what_is_not_hidden_and_nothing_where_pages_stayed() -> None:
    # 4 tokens a page, keys on two devices: mapping 3 tokens' pages is one call on each.
    sizes = KvSizes((KvPart(1, 2.0, 0.0, 8.0, 8.0, 2),))
    memory = VirtualMemory(sizes, 80, 4, map_s=1.0)
    grant = memory.admit(1, 10, 40)
    assert grant is not None
    assert (grant.tokens, grant.wait_s) == (12, 3.0)
    grown = memory.extend(1, 13)
    assert grown is not None
    assert (grown.tokens, grown.wait_s) == (16, 1.0)
    memory.free(1)
    assert (memory.used_bytes, memory.held_bytes, memory.waste.kept_bytes) == (32, 0, 32)
    again = memory.admit(2, 20, 40)
    assert again is not None
    assert (again.tokens, again.wait_s) == (20, 1.0)
    hidden = VirtualMemory(sizes, 80, 4, map_s=1.0, hidden_s=2.5).admit(1, 10, 40)
    assert hidden is not None
    assert hidden.wait_s == 0.5


def test_mapped_ranges_nobody_uses_are_taken_away_when_pages_run_out() -> None:
    memory = VirtualMemory(BYTE, 40, 4)
    for sequence in (1, 2):
        memory.admit(sequence, 16, 16)
    memory.free(1)
    memory.free(2)
    assert memory.waste.kept_bytes == 32
    assert memory.admit(3, 40, 40) is not None
    assert memory.waste.kept_bytes == 0
    assert memory.admit(4, 1, 1) is None
    memory = VirtualMemory(BYTE, 40, 4)
    memory.admit(1, 4, 30)
    memory.admit(2, 20, 20)
    memory.free(2)
    assert memory.extend(1, 30) is not None
    assert (memory.used_bytes, memory.waste.kept_bytes) == (32, 0)


def test_pages_that_a_running_sequence_did_not_ask_for_are_taken_away_last() -> None:
    memory = VirtualMemory(BYTE, 40, 4, map_s=1.0)
    memory.admit(1, 32, 32)
    memory.free(1)
    # Eight pages stay; the next takes all of them over, may use one and gives seven away.
    assert memory.admit(2, 3, 20) == Grant(4, 0, 0.0)
    assert (memory.used_bytes, memory.waste) == (32, Waste(internal_bytes=1, kept_bytes=28))
    assert memory.admit(3, 20, 20) == Grant(20, 0, 5.0)
    assert (memory.used_bytes, memory.waste) == (24, Waste(internal_bytes=1))
    assert memory.extend(2, 5) == Grant(8, 0, 1.0)


def test_a_page_needs_a_size() -> None:
    with pytest.raises(InputError, match=r"^page_bytes: pages of 0 bytes; expected at least 1$"):
        VirtualMemory(BYTE, 40, 0)
