"""Static wear levelling: what it bounds, what it costs, and how much longer the drive lasts."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.memory.flash.drive import Drive
from simulator.memory.flash.kernel import FINISHED, prepare, run_kernel
from simulator.memory.flash.run import simulate_drive
from simulator.memory.flash.state import Memory, new_memory
from simulator.memory.flash.workload import DriveWorkload
from tests.simulator.memory.flash.small_drives import check_memory, small_drive

# The whole space is written once, then its first 15 % again and again: three quarters of the blocks hold cold data.
WORKLOAD = DriveWorkload(
    "rand-write", 4096, 8, True, requests=40_000, occupancy=1.0, working_set=0.15, overwrites=0.0, cached=False
)


def drive_with(threshold: int | None, at_once: int = 1) -> Drive:
    return small_drive(
        channels=1, chips=2, dies=1, planes=2, blocks=48, pages=16, spare=0.3, bits=1, at_once=at_once,
        static_threshold=threshold,
    )  # fmt: skip


def finished(drive: Drive) -> Memory:
    memory = new_memory(drive, WORKLOAD)
    assert prepare(memory) == FINISHED
    check_memory(drive, memory)
    assert run_kernel(memory) == FINISHED
    check_memory(drive, memory)
    return memory


def spreads(drive: Drive, memory: Memory) -> list[int]:
    """Most less least erases in each plane; the block open for the mapping table, which is never written, left out."""
    found = []
    blocks = memory.blocks.reshape(drive.geometry.planes, -1)
    for plane, of_plane in enumerate(blocks):
        counted = np.ones(len(of_plane), dtype=bool)
        counted[int(memory.state[0]["open"][plane, 1]) - plane * len(of_plane)] = False
        erases = of_plane["erases"][counted]
        found.append(int(erases.max() - erases.min()))
    return found


@pytest.mark.parametrize("threshold", [2, 5, 20])
def test_the_spread_of_erase_counts_is_bounded(threshold: int) -> None:
    """A block that gets ``threshold`` + 1 ahead has the coldest one freed, which is then the first to be opened; while
    that is under way a plane erases few other blocks."""
    levelled, not_levelled = (finished(drive_with(each)) for each in (threshold, None))
    assert max(spreads(drive_with(threshold), levelled)) <= threshold + 3
    # 40,000 pages over 4 planes of 16-page blocks: at least 625 blocks erased in each, of some 24 that hold hot data.
    assert min(spreads(drive_with(None), not_levelled)) >= 625 / 24


@pytest.mark.parametrize("at_once", [1, 3])
def test_pages_are_conserved_and_what_is_moved_is_what_is_paid(at_once: int) -> None:
    drive = drive_with(5, at_once)
    memory = finished(drive)
    s = memory.state[0]
    assert int(s["levelled"]) <= int(s["moved"])
    placed = int(s["host_programs"] + s["moved"] + s["mapping_programs"])
    erased = int(memory.blocks["erases"].sum())
    written = int(memory.blocks["written"].sum()) - drive.logical_pages
    assert placed == written + erased * drive.geometry.pages_per_block
    # No logical page is lost: each has one place.
    assert int(memory.blocks["valid"].sum()) == drive.logical_pages

    with_it, without = (simulate_drive(drive_with(each, at_once), WORKLOAD) for each in (5, None))
    flash = with_it.flash
    host = flash.host_pages_programmed
    assert without.flash.levellings == without.flash.pages_levelled == 0
    assert flash.pages_levelled == pytest.approx(flash.levellings * 16, rel=0.01)  # cold blocks are all but full
    grown = with_it.write_amplification - without.write_amplification
    assert grown == pytest.approx(flash.pages_levelled / host, rel=0.2, abs=0.01)


def test_the_drive_lasts_longer_and_nearly_as_long_as_even_wear_allows() -> None:
    with_it, without = (simulate_drive(drive_with(each), WORKLOAD) for each in (5, None))
    for result in (with_it, without):
        assert result.lifetime_s is not None
        assert result.first_block_lifetime_s is not None
        # 3000 cycles; the most erased block of the run wears no slower than the mean.
        assert result.first_block_lifetime_s == 3000 * result.seconds / result.flash.most_erases_in_the_run
        assert result.first_block_lifetime_s < 1.05 * result.lifetime_s
    first, bare = with_it.first_block_lifetime_s, without.first_block_lifetime_s
    assert first is not None
    assert bare is not None
    assert first > 1.3 * bare
    even = with_it.lifetime_s
    assert even is not None
    assert first > 0.6 * even
