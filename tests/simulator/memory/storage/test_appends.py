"""Appending: pages by hand, bytes conserved, and what waiting saves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.flash.drives import load_drive
from simulator.memory.storage.appends import RELAXED_RETENTION, append_costs, lifetime_s
from simulator.memory.storage.layout import KvLayout
from workloads.errors import InputError

DRIVE = load_drive("ssd-instinfer-csd")
OPT_13B = KvLayout(DRIVE.geometry, kv_heads=40, head_size=128, most_tokens=2048)


def test_prefill_of_table_iii_is_written_once() -> None:
    # InstInfer, arXiv 2409.04992, table III: one layer of 64 sequences of 1024 tokens, 64 x 1024 x 20,480 B = 1.34 GB.
    costs = append_costs(OPT_13B, 1024, sequences=64)
    assert costs.appended_bytes == costs.programmed_bytes == 1_342_177_280
    assert costs.write_amplification == 1.0
    both = append_costs(KvLayout(DRIVE.geometry, 40, 128, 2048, channels_per_page=8), 1024, sequences=64)
    assert both.write_amplification == 1.5


def test_a_page_of_sixteen_tokens_written_token_by_token() -> None:
    # 256 B appended to keys and as much to values, 4 KiB programmed for each; all but the first of a page read it.
    costs = append_costs(OPT_13B, 16, waits=False)
    assert costs.write_amplification == 16.0
    assert costs.pages_read_back == 15 * 2 * 40
    assert costs.most_waiting_bytes == 0


def test_what_waits_in_the_drive() -> None:
    # Keys and values of 16 tokens of every head: 2 x 40 pages of 4 KiB a layer.
    assert append_costs(OPT_13B, 1024, layers=40, sequences=64).most_waiting_bytes == 64 * 40 * 80 * 4096
    # Keys by channel wait for 256 tokens: 64 x 40 x 40 x (256 + 16) x 256 B, more than the 2 GB the drive has.
    both = KvLayout(DRIVE.geometry, 40, 128, 2048, channels_per_page=8)
    costs = append_costs(both, 1024, layers=40, sequences=64)
    assert costs.most_waiting_bytes == 64 * 40 * 40 * 272 * 256
    assert costs.mean_waiting_bytes == 64 * 40 * 40 * (255 / 2 + 15 / 2) * 256
    assert costs.most_waiting_bytes > 2e9
    # Built from the pages by token: 16 of these for every 16 by channel.
    again = append_costs(both, 1024, layers=40, sequences=64, reads_back=True)
    assert again.most_waiting_bytes == 64 * 40 * 80 * 4096
    assert again.pages_read_back == again.pages_programmed / 3


@given(
    tokens=st.integers(1, 700),
    start=st.integers(0, 300),
    per_page=st.sampled_from([None, 2, 8]),
    together=st.sampled_from([1, 2, 4]),
)
@settings(max_examples=60, deadline=None)
def test_bytes_are_conserved(tokens: int, start: int, per_page: int | None, together: int) -> None:
    layout = KvLayout(DRIVE.geometry, 5, 128, 2048, channels_per_page=per_page, together=together)
    whole = append_costs(layout, start + tokens)
    costs = append_costs(layout, tokens, start=start)
    if start:
        assert costs.pages_programmed + append_costs(layout, start).pages_programmed == whole.pages_programmed
    copies = 1.5 if per_page else 1.0
    # What is not programmed yet waits, and never more than there is room for.
    left = whole.appended_bytes * copies - whole.programmed_bytes
    assert 0 <= left <= whole.most_waiting_bytes * 2
    assert whole.mean_waiting_bytes < whole.most_waiting_bytes


def test_wear() -> None:
    # 3000 cycles x 256 planes x 2048 blocks x 4 MiB over 1 GB/s.
    seconds = 3000 * 256 * 2048 * 4 * 2**20 / 1e9
    assert lifetime_s(DRIVE, 1e9) == pytest.approx(seconds)
    assert lifetime_s(DRIVE, 1e9, cycles_factor=RELAXED_RETENTION) == pytest.approx(6.67 * seconds)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="start: found 2000; expected 0 to 1948, of 2048 tokens in all"):
        append_costs(OPT_13B, 100, start=2000)
    with pytest.raises(InputError, match="tokens: found 0; expected at least 1"):
        append_costs(OPT_13B, 0)
    with pytest.raises(InputError, match="programmed_bytes_per_s: found 0; expected more than 0"):
        lifetime_s(DRIVE, 0)
