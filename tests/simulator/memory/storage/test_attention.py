"""Attention inside drives: bytes by hand, bounds, sparse against closed forms, and drives side by side."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator.memory.flash.drive import Drive
from simulator.memory.flash.drives import load_drive
from simulator.memory.storage.attention import CsdResult, csd_attention
from simulator.memory.storage.engines import load_storage_engine
from simulator.memory.storage.layout import KvLayout
from simulator.memory.storage.reading import read_pages
from simulator.memory.storage.selection import expected_page_share
from simulator.memory.storage.sparse import SparseChoice
from tests.simulator.memory.flash.small_drives import small_drive
from workloads.errors import InfeasibleError, InputError

DRIVE = load_drive("ssd-instinfer-csd")
ENGINE = load_storage_engine("instinfer")
EIGHTH = SparseChoice(channels=16, tokens=192)


def _commands_first(drive: Drive) -> Drive:
    return drive.model_copy(update={"channel": drive.channel.model_copy(update={"commands_first": True})})


FAST = _commands_first(DRIVE)


def _opt_13b(sparse: SparseChoice | None = None, batch: int = 64, drives: int = 1, **how: int) -> CsdResult:
    """A decode step of OPT-13B at the mean length of InstInfer's runs, 1024 + 1024 / 2."""
    return csd_attention(FAST, ENGINE, 40, 40, 128, 1536, batch, sparse=sparse, drives=drives, layers=40, **how)


def test_a_dense_step_of_opt_13b_reads_all_of_it_and_keeps_below_the_channels() -> None:
    # 64 x 1536 x 819,200 B; at 8 x 1.4 GB/s 7.19 s: the bound stated in InstInfer's terms, arXiv 2409.04992.
    result = _opt_13b()
    assert result.bytes_by_stage["flash"] == result.bytes_by_stage["used"] == 80_530_636_800
    assert result.pages == {"channel": 0, "token": 19_660_800}
    assert result.bound_s == pytest.approx(7.19, rel=1e-3)
    assert result.seconds > result.bound_s
    # Four planes a command leave the commands' 2240 ns for 11,703 ns of data on a channel: 84 % of its rate.
    assert result.seconds_by_part["flash"] == pytest.approx(result.bound_s * (1 + 2240 / (4 * 4096 / 1.4)), rel=0.01)
    assert result.why.startswith("flash 100%")


def test_what_crosses_the_link_is_four_vectors_a_sequence() -> None:
    # q, k, v in and the output back: 4 x 5120 x 64 x 2 B a layer (InstInfer); over 7 GB/s, and a command of 10 us.
    result = _opt_13b()
    assert result.bytes_by_stage["link"] == 40 * 4 * 5120 * 64 * 2
    assert result.seconds_by_part["link"] == pytest.approx(40 * (4 * 5120 * 64 * 2 / 7e9 + 10e-6))
    grouped = csd_attention(FAST, ENGINE, 32, 8, 128, 256, 4)
    assert grouped.bytes_by_stage["link"] == (2 * 32 + 2 * 8) * 128 * 2 * 4


def test_operations_are_two_products_of_every_head() -> None:
    result = _opt_13b()
    assert result.flops == 40 * 64 * 4 * 5120 * 1536
    assert result.energy_j == {"compute": pytest.approx(result.flops * 23e-12)}
    # Heads that share keys and values compute four times for each byte.
    grouped, alone = csd_attention(FAST, ENGINE, 32, 8, 128, 256, 4), csd_attention(FAST, ENGINE, 8, 8, 128, 256, 4)
    assert grouped.flops == 4 * alone.flops
    assert grouped.bytes_by_stage["flash"] == alone.bytes_by_stage["flash"]


@pytest.mark.parametrize("mean_run", [None, 4.0, 16.0])
def test_sparse_pages_are_those_of_the_closed_forms(mean_run: float | None) -> None:
    result = _opt_13b(replace(EIGHTH, mean_run=mean_run), channels_per_page=8)
    # By channel: 6 stretches of 256 tokens, of 16 groups of 8 channels those with one of 16 chosen of 128.
    share = 1 - math.comb(120, 16) / math.comb(128, 16)
    assert result.pages["channel"] == pytest.approx(40 * 64 * 40 * 6 * 16 * share, rel=0.01)
    tokens = expected_page_share(1 / 8, 16, mean_run)
    assert result.pages["token"] == pytest.approx(19_660_800 * tokens, rel=0.02)
    used = 40 * 64 * 40 * (16 * 1536 * 2 + 192 * 512)
    assert result.bytes_by_stage["used"] == pytest.approx(used, rel=0.03)
    assert result.bytes_by_stage["filtered"] == result.bytes_by_stage["used"]


def test_sparse_attention_gains_by_clustering_only() -> None:
    # InstInfer, arXiv 2409.04992, states 2.08 times its dense throughput at batch 256. A random eighth reads 88 % of
    # the pages by token and 23 % of those by channel, half as many: as much as dense attention. The mean run of its
    # workloads is not known; here 2.08 is between 4 and 32 tokens.
    dense = _opt_13b(batch=256).seconds
    runs = (None, 4.0, 32.0)
    gains = [dense / _opt_13b(replace(EIGHTH, mean_run=run), batch=256).seconds for run in runs]
    assert gains == sorted(gains)
    assert gains[0] == pytest.approx(1.0, abs=0.1)
    assert gains[1] < 2.08 < gains[2]


def test_keys_by_channel_wait_in_more_memory_than_there_is() -> None:
    # 1536 tokens: 512 past the last page of two channels and 1024 tokens; 64 x 40 x 40 heads of 512 x 256 B.
    waits = _opt_13b(EIGHTH)
    assert waits.bytes_by_stage["waiting"] == 64 * 40 * 40 * 512 * 256
    assert "13.4 GB wait in a DRAM of 2.0 GB" in waits.why
    # Read by token instead: 32 pages of keys of every head more.
    reads = _opt_13b(EIGHTH, tail_in_dram=False)
    assert reads.bytes_by_stage["waiting"] == 0
    assert reads.pages["channel"] - waits.pages["channel"] == pytest.approx(64 * 40 * 40 * 32, rel=0.02)
    assert reads.seconds > waits.seconds


def test_four_drives_take_a_quarter() -> None:
    # Ten heads each. Flash and vectors are divided; commands and fill are not.
    one = _opt_13b()
    for drives in (2, 4):
        several = _opt_13b(drives=drives)
        assert several.bytes_by_stage["flash"] == one.bytes_by_stage["flash"]
        assert several.bound_s == pytest.approx(one.bound_s / drives)
        assert several.seconds_by_part["flash"] == pytest.approx(one.seconds_by_part["flash"] / drives, rel=0.01)
        assert several.seconds > one.seconds / drives
    # Forty heads on three drives: fourteen on the busiest.
    assert _opt_13b(drives=3).bound_s == pytest.approx(one.bound_s * 14 / 40)


def test_a_sequence_alone_reads_its_two_steps_one_after_the_other() -> None:
    everything = SparseChoice(channels=128, tokens=1024)
    result = csd_attention(FAST, ENGINE, 4, 4, 128, 1024, 1, sparse=everything)
    layout = KvLayout(FAST.geometry, 4, 128, 1024, channels_per_page=2, together=2)
    head, group = np.meshgrid(np.arange(4), np.arange(64), indexing="ij")
    first = np.sort(layout.channel_pages(0, head, group, 0).ravel())
    keys, values = (layout.token_pages(0, head, group, values=v).ravel() for v in (False, True))
    second = np.sort(np.concatenate([keys, values]))
    seconds = sum(read_pages(FAST, pages, ENGINE.pages_outstanding).seconds for pages in (first, second))
    assert result.seconds_by_part["flash"] == pytest.approx(seconds)
    unit, through_filter = 4096 / 12.7e9, 4096 / 1.85e9
    assert result.seconds_by_part["fill"] == pytest.approx(2 * 164e-6 + unit + through_filter)
    assert result.seconds == pytest.approx(sum(result.seconds_by_part[part] for part in ("link", "fill", "flash")))


def test_tokens_that_fill_no_page_are_in_memory() -> None:
    result = csd_attention(FAST, ENGINE, 8, 8, 128, 15, 4)
    assert result.bytes_by_stage["flash"] == 0
    assert result.bytes_by_stage["waiting"] == 4 * 15 * 8 * 512
    assert result.bound_s == 0


def test_without_filters_whole_pages_go_on() -> None:
    bare = ENGINE.model_copy(update={"filter_GBps": None})
    choice = SparseChoice(16, 64)
    result = csd_attention(FAST, bare, 8, 8, 128, 512, 4, sparse=choice, channels_per_page=8)
    assert result.bytes_by_stage["filtered"] == result.bytes_by_stage["flash"] > 2 * result.bytes_by_stage["used"]


@given(
    kv_heads=st.integers(1, 6),
    group=st.integers(1, 3),
    tokens=st.integers(1, 200),
    batch=st.integers(1, 4),
    channels=st.integers(1, 64),
    share=st.floats(0, 0.5),
    mean_run=st.sampled_from([None, 3.0, 12.0]),
    per_page=st.sampled_from([2, 16]),
    selects=st.booleans(),
    filters=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_bytes_are_conserved_and_nothing_beats_the_channels(
    kv_heads: int,
    group: int,
    tokens: int,
    batch: int,
    channels: int,
    share: float,
    mean_run: float | None,
    per_page: int,
    selects: bool,
    filters: bool,
) -> None:
    drive = small_drive(blocks=512)
    engine = ENGINE if filters else ENGINE.model_copy(update={"filter_GBps": None})
    choice = SparseChoice(channels, 1 + int(share * (tokens - 1)), mean_run) if selects else None
    if choice is not None and choice.tokens == tokens:
        choice = replace(choice, mean_run=None)
    heads = kv_heads * group
    result = csd_attention(drive, engine, heads, kv_heads, 64, tokens, batch, sparse=choice, channels_per_page=per_page)
    stages = result.bytes_by_stage
    assert stages["flash"] == sum(result.pages.values()) * 4096
    assert stages["flash"] >= stages["filtered"] >= stages["used"]
    kept = batch * tokens * kv_heads * 2 * 64 * 2
    assert stages["used"] + stages["waiting"] <= kept * (1.5 if selects else 1.0)
    if not selects:
        assert stages["used"] + stages["waiting"] == kept
    assert result.seconds_by_part["flash"] >= stages["flash"] / drive.internal_bytes_per_s
    assert result.seconds >= max(result.seconds_by_part.values())


@given(kv_heads=st.integers(2, 12), tokens=st.integers(16, 300), batch=st.integers(1, 4))
@example(kv_heads=7, tokens=33, batch=2)
@settings(max_examples=10, deadline=None)
def test_more_drives_are_not_slower_by_a_page(kv_heads: int, tokens: int, batch: int) -> None:
    # Which dies pages fall into hangs on how many heads a drive holds: two of a handful that lay apart may meet
    # in one die on a drive with fewer heads (7 heads, 33 tokens on 2 and 3 drives). That costs less than one more read
    # of the cells, 50 us here.
    drive = small_drive(blocks=512)
    times = [
        csd_attention(drive, ENGINE, kv_heads, kv_heads, 64, tokens, batch, drives=drives).seconds
        for drives in range(1, kv_heads + 1)
    ]
    one_read_s = min(drive.cells.read_us) * 1e-6
    assert all(after < before + one_read_s for before, after in pairwise(times))
    assert times[-1] <= times[0]


def test_what_is_refused() -> None:
    with pytest.raises(
        InputError, match="heads: found 30 heads; expected a multiple of the 8 heads of keys and values"
    ):
        csd_attention(DRIVE, ENGINE, 30, 8, 128, 64, 1)
    with pytest.raises(InputError, match="batch: found 0; expected at least 1"):
        csd_attention(DRIVE, ENGINE, 8, 8, 128, 64, 0)
    with pytest.raises(InputError, match="drives: found 9 drives; expected at most one for each of 8 heads"):
        csd_attention(DRIVE, ENGINE, 8, 8, 128, 64, 1, drives=9)
    with pytest.raises(InputError, match="tokens: found 65; expected 1 to 64, those of the sequence"):
        csd_attention(DRIVE, ENGINE, 8, 8, 128, 64, 1, sparse=SparseChoice(8, 65))
    with pytest.raises(InfeasibleError, match="keys and values of one drive: needs"):
        csd_attention(DRIVE, ENGINE, 40, 40, 128, 2**17, 64, layers=40)
