"""Keys and values on pages: counts by hand, no page used twice, and heads spread over channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.flash.drives import load_drive
from simulator.memory.storage.layout import KvLayout, place_of
from tests.simulator.memory.flash.small_drives import small_drive
from workloads.errors import InputError

INSTINFER = load_drive("ssd-instinfer-csd").geometry


def test_counts_of_opt_13b_on_pages_of_4_kib() -> None:
    # InstInfer, arXiv 2409.04992: 4 KiB = 16 tokens x 128 x 2 B of one head; 8 channels x 256 tokens to 2 x 1024.
    layout = KvLayout(INSTINFER, kv_heads=40, head_size=128, most_tokens=2048)
    assert layout.tokens_per_page == 16
    assert layout.bytes_per_token * 40 == 819_200  # 2 x 40 layers x 5120 x 2 B
    assert layout.pages_per_plot == 2048 // 16 * 2 * 40
    assert layout.capacity_factor == 1.0
    for channels, tokens in ((8, 256), (4, 512), (2, 1024)):
        both = KvLayout(INSTINFER, 40, 128, 2048, channels_per_page=channels)
        assert both.tokens_per_channel_page == tokens
        assert both.capacity_factor == 1.5  # keys twice, values once


def test_a_sequence_holds_whole_blocks_of_every_plane() -> None:
    layout = KvLayout(INSTINFER, 40, 128, 2048)
    assert layout.erased_together_bytes == 256 * 1024 * 4096  # 256 planes: 1 GiB
    # 2048 tokens x 819,200 B = 1.6777 GB: two GiB when it is erased alone, 100 GiB for 64 erased together.
    assert layout.held_bytes(40) == 2 * 2**30
    assert layout.held_bytes(40, 64) == 100 * 2**30


def test_the_pages_of_a_head_are_spread_over_all_channels() -> None:
    layout = KvLayout(INSTINFER, 40, 128, 2048, together=2)
    for head in (0, 7, 39):
        places = place_of(INSTINFER, layout.token_pages(3, head, np.arange(128), values=False))
        counts = np.bincount(places.channel, minlength=8)
        assert counts.min() == counts.max() == 16


@pytest.mark.parametrize("together", [2, 4])
def test_a_bundle_is_in_one_die_under_one_page_number(together: int) -> None:
    layout = KvLayout(INSTINFER, 40, 128, 2048, together=together)
    groups = np.arange(128)
    keys = layout.token_pages(5, 11, groups, values=False)
    values = layout.token_pages(5, 11, groups, values=True)
    both = place_of(INSTINFER, np.stack([keys, values], axis=-1).reshape(-1, together))
    for part in (both.channel, both.chip, both.die, both.row):
        assert (part == part[:, :1]).all()
    assert (np.diff(both.plane, axis=1) == 1).all()


def test_without_bundles_a_plot_is_read_from_end_to_end() -> None:
    layout = KvLayout(INSTINFER, 40, 128, 2048)
    head, group, values = np.meshgrid(np.arange(40), np.arange(128), np.arange(2), indexing="ij")
    pages = np.sort(layout.token_pages(2, head, group, values=values).ravel())
    assert (pages == 2 * 10240 + np.arange(10240)).all()


@given(
    heads=st.integers(1, 9),
    tokens=st.integers(1, 200),
    per_page=st.sampled_from([None, 2, 8]),
    together=st.sampled_from([1, 2]),
    channels=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_no_page_is_used_twice(heads: int, tokens: int, per_page: int | None, together: int, channels: int) -> None:
    geometry = small_drive(channels=channels, blocks=4096).geometry
    layout = KvLayout(geometry, heads, 64, tokens, channels_per_page=per_page, together=together)
    groups = -(-tokens // layout.tokens_per_page)
    plot, head, group, values = np.meshgrid(*(np.arange(n) for n in (3, heads, groups, 2)), indexing="ij")
    pages = [layout.token_pages(plot, head, group, values=values).ravel()]
    if per_page is not None:
        stretches = -(-tokens // layout.tokens_per_channel_page)
        counts = (3, heads, layout.channel_groups, stretches)
        plot, head, group, stretch = np.meshgrid(*(np.arange(n) for n in counts), indexing="ij")
        pages.append(layout.channel_pages(plot, head, group, stretch).ravel())
    numbers = np.concatenate(pages)
    assert len(np.unique(numbers)) == len(numbers)
    assert numbers.min() >= 0
    # Plots follow one another; a last bundle may reach over the dies' end by less than one stripe of all planes.
    assert numbers.max() < 3 * layout.pages_per_plot + geometry.planes


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="head_size: a token of one head takes 8,192 bytes; expected at most a page"):
        KvLayout(INSTINFER, 8, 4096, 128)
    with pytest.raises(InputError, match="together: found 3 pages; expected a divisor of the 4 planes of a die"):
        KvLayout(INSTINFER, 8, 128, 128, together=3)
    with pytest.raises(InputError, match="channels_per_page: found 200 channels a page; expected 1 to 128"):
        KvLayout(INSTINFER, 8, 128, 128, channels_per_page=200)
    layout = KvLayout(INSTINFER, 8, 128, 128)
    with pytest.raises(InputError, match="keys are held by token only"):
        layout.channel_pages(0, 0, 0, 0)
    with pytest.raises(InputError, match="group: found 0 to 8; expected 0 to 7"):
        layout.token_pages(0, 0, np.arange(9), values=False)
