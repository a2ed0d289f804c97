"""Reads from inside: closed forms of one read and of full channels, bounds, and slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.flash.drive import Drive
from simulator.memory.flash.drives import load_drive
from simulator.memory.storage.layout import KvLayout
from simulator.memory.storage.reading import PageReading, inside_read_rate, read_pages, read_steadily, steady
from tests.simulator.memory.flash.small_drives import small_drive
from workloads.errors import InputError

INSTINFER = load_drive("ssd-instinfer-csd")


def _commands_first(drive: Drive) -> Drive:
    return drive.model_copy(update={"channel": drive.channel.model_copy(update={"commands_first": True})})


def test_a_page_alone_is_command_cells_and_transfer() -> None:
    # Page 0 is an LSB page: 50 us; 290 ns of command; 4096 B at 1.4 GB/s.
    one = read_pages(INSTINFER, np.array([0]), 1)
    assert one.seconds == pytest.approx(290e-9 + 50e-6 + 4096 / 1.4e9, abs=1.5e-9)
    assert (one.pages, one.commands) == (1, 1)


def test_pages_of_a_bundle_are_one_command() -> None:
    layout = KvLayout(INSTINFER.geometry, 1, 128, 2048, together=4)
    pages = np.sort(np.concatenate([layout.token_pages(0, 0, [0, 1], values=v) for v in (False, True)]))
    together = read_pages(INSTINFER, pages, 4)
    # The first page's command goes at once, before the others are asked for.
    assert together.commands <= 2
    assert together.pages == 4


def test_streams_in_order_fill_the_channels_but_for_the_commands() -> None:
    # For four planes: 20 + 4 x 150 + 3 x 500 + 120 ns of command, then 4 x 4096 B at 1.4 GB/s.
    transfer = 4 * 4096 / 1.4
    expected = 11.2e9 * transfer / (2240 + transfer)
    _, each = steady(
        lambda n: read_pages(_commands_first(INSTINFER), np.arange(n), 1024).seconds, first=2**14, most=2**17
    )
    assert 4096 / each == pytest.approx(expected, rel=0.01)


def test_pieces_alone_and_many() -> None:
    # One at a time: cells on average 61.7 us, 290 ns, the transfer.
    alone = inside_read_rate(INSTINFER, 4096, streams=1)
    assert alone == pytest.approx(4096 / (185e-6 / 3 + 290e-9 + 4096 / 1.4e9), rel=0.02)
    many = inside_read_rate(INSTINFER, 4096, streams=1024)
    assert alone < many < INSTINFER.internal_bytes_per_s
    assert inside_read_rate(INSTINFER, 4096, streams=1024, drives=3) == pytest.approx(3 * many)
    # Sectors are read whole.
    assert inside_read_rate(INSTINFER, 256, streams=64) == pytest.approx(
        inside_read_rate(INSTINFER, 512, streams=64) / 2
    )


@given(size=st.integers(1, 2**18), streams=st.integers(1, 64), channels=st.integers(1, 4))
@settings(max_examples=12, deadline=None)
def test_no_rate_beats_the_channels(size: int, streams: int, channels: int) -> None:
    drive = small_drive(channels=channels, blocks=64)
    assert 0 < inside_read_rate(drive, size, streams=streams) <= drive.internal_bytes_per_s * (1 + 1e-9)


def test_slices_of_a_line_give_its_slope() -> None:
    asked = []

    def line(n: int) -> float:
        asked.append(n)
        return 5.0 + 0.25 * n

    assert steady(line, 10, 10_000) == (40, 0.25)
    assert asked == [10, 20, 40]
    assert steady(line, 10, 10) == (10, 0.75)


def test_a_steady_reading_is_that_of_all_pages() -> None:
    drive = _commands_first(INSTINFER)
    pages = np.arange(2**19)
    sliced, whole = read_steadily(drive, pages, 1024), read_pages(drive, pages, 1024)
    assert sliced.simulated < sliced.pages == whole.pages
    assert sliced.seconds == pytest.approx(whole.seconds, rel=0.005)
    again = read_steadily(drive, pages[: 2**18], 1024, copies=2.0)
    assert again.seconds == pytest.approx(whole.seconds, rel=0.005)


def test_one_reading_after_another() -> None:
    both = PageReading(10, 2.0, 8, 5, 0.5).then(PageReading(30, 6.0, 30, 6, 0.9))
    assert both == PageReading(40, 8.0, 38, 11, pytest.approx(0.8))
    assert PageReading().then(PageReading()) == PageReading()


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="streams: found 0; expected at least 1"):
        inside_read_rate(INSTINFER, 4096, streams=0)
