"""The drive that MQSim describes by default, against what MQSim gives for it; and against closed forms."""

from __future__ import annotations

import math
from functools import lru_cache

import pytest

from dse.validation.drive_rows import drive_of, read_drive_rows
from dse.validation.drives import DriveComparison, predict_drive
from simulator.memory.flash.drive import Drive
from simulator.memory.flash.drives import load_drive
from simulator.memory.flash.kernel import FINISHED, prepare, run_kernel
from simulator.memory.flash.run import DriveResult, simulate_drive
from simulator.memory.flash.state import new_memory
from simulator.memory.flash.theory import random_read_latency_s
from simulator.memory.flash.workload import DriveWorkload
from tests.reference_data import reference_file

ROWS = ("seqread128k_qd16", "randread4k_qd1", "randread4k_qd16", "seqwrite128k_qd16", "randwrite4k_qd16")


@lru_cache
def compared(name: str) -> DriveComparison:
    """The row of that name beside our run of it; how a row is read stands in `dse.validation.drive_rows`."""
    (row,) = (row for row in read_drive_rows(reference_file("ssd_reference.csv")) if row.name == name)
    found = predict_drive(row)
    assert isinstance(found, DriveComparison), found
    return found


def run(workload: DriveWorkload) -> DriveResult:
    return simulate_drive(load_drive("ssd-mqsim-default"), workload)


@pytest.mark.parametrize("row", ROWS)
def test_rate_and_latency_of_the_reference(row: str) -> None:
    pairs = compared(row).compared
    for name, allowed in (("IOPS", 0.05), ("bandwidth", 0.05), ("mean latency", 0.10), ("flash commands", 0.05)):
        assert pairs[name].error == pytest.approx(0, abs=allowed), name
    reads = pairs["mapping reads"]
    assert reads.predicted == pytest.approx(reads.reference, rel=0.05)


def test_sequential_read_pairs_planes_as_the_reference_does() -> None:
    found = compared("seqread128k_qd16")
    assert found.result.flash.multiplane_reads == pytest.approx(found.row.counts["multiplane_reads"], rel=0.05)


def test_sequential_write_is_bound_by_the_memory_of_the_cache() -> None:
    """One access of 128 KiB at a time, 328 us each: so 3049 requests a second, the reference's rate; 16 of them wait,
    5.2 ms. The flash could take more, and pairs planes only as far as pages have to wait for it.
    """
    found = compared("seqwrite128k_qd16")
    rate = found.compared["IOPS"]
    most = 1e9 / found.result.drive.cache.access_ns(131072)
    assert most == pytest.approx(3049, abs=1)
    assert rate.reference == pytest.approx(most, rel=0.01)
    assert rate.predicted == pytest.approx(most, rel=0.02)
    assert rate.error == pytest.approx(0, abs=0.01)
    assert found.compared["mean latency"].error == pytest.approx(0, abs=0.01)
    assert found.result.flash.multiplane_programs == pytest.approx(found.row.counts["multiplane_programs"], rel=0.05)


@pytest.mark.parametrize("ideal", [False, True])
def test_a_lone_random_read_takes_its_closed_form(ideal: bool) -> None:
    # 75 us for the mapping page, 75 us for the data, 4096 bytes at 333 MB/s: 162.3 us before commands and the link.
    drive = load_drive("ssd-mqsim-default")
    form = random_read_latency_s(drive, 4096, ideal_mapping=ideal)
    assert form == pytest.approx((75 + (0 if ideal else 75) + 12.3) * 1e-6, rel=0.03)
    result = simulate_drive(drive, DriveWorkload("rand-read", 4096, 1, ideal_mapping=ideal, requests=500))
    assert result.mean_latency_s == pytest.approx(form, rel=1e-3)


def test_every_random_read_costs_two_flash_reads_unless_the_table_is_whole() -> None:
    two, one = (run(DriveWorkload("rand-read", 4096, 16, i, seconds=0.1)).flash.pages_read for i in (False, True))
    requests = [run(DriveWorkload("rand-read", 4096, 16, i, seconds=0.1)).requests for i in (False, True)]
    assert two / requests[0] == pytest.approx(2, rel=0.02)
    assert one / requests[1] == pytest.approx(1, rel=0.02)


def test_a_fresh_drive_until_collection_has_set_in() -> None:
    """32 blocks of 64 pages a plane, 20 % over-provisioning, no cache, the whole table, 70 % of the space in use.

    The reference's rate and latency cannot both hold: 32 outstanding at 2783 us each are 11,500 requests a second, not
    9427. It loses requests: a write to a page that is being moved is set aside, and dropped without telling anyone when
    the page has been moved (Remove_barrier_for_accessing_lpa hands it to the mapping unit, which ignores it). So of 32
    only 26.2 are alive on average in its 20 s: as many as 32 in 16.4 s, the run here. A copy of our model that drops
    them too gives 184,991 requests in 20 s (188,535), 1205 collections of 32.3 pages (1187 of 30.8) and 3.0 ms (2.8).
    """
    found = compared("gc8k_off_fresh_op20")
    assert found.row.seconds == pytest.approx(20 * 26.2 / 32, rel=0.01)
    assert found.result.requests == pytest.approx(found.row.requests, rel=0.05)
    assert found.compared["mean latency"].error == pytest.approx(0, abs=0.10)
    assert found.compared["pages moved per collection"].error == pytest.approx(0, abs=0.15)


# The state that the reference leaves a plane of 256 x 256 pages in, 54,853 of them valid: (valid pages, blocks). It
# rounds down, valid count by valid count, 250 times the share of blocks that the mean-field steady state of choosing
# the best of eight has (Van Houdt, SIGMETRICS 2013), moved down by two pages to match the mean; what is left fills
# blocks of the largest count (Allocate_address_for_preconditioning, src/ssd/Address_Mapping_Unit_Page_Level.cpp).
_RUNS = [(253, 253, 43), (219, 252, 3), (209, 218, 4), (196, 208, 3), (190, 195, 2), (184, 189, 1), (106, 106, 1)]
STEADY = tuple(valid for least, most, blocks in _RUNS for valid in range(most, least - 1, -1) for _ in range(blocks))


def test_collections_of_a_preconditioned_drive_move_what_the_reference_moves() -> None:
    """256 blocks of 256 pages a plane, 7 % over-provisioning, no cache, the whole table, from the steady state.

    Not compared: rate and latency. The reference is in no steady state: it served 233 writes a plane, not a block, and
    got stuck in the planes that were the first to open another. Its static wear levelling compares the numbers of
    blocks instead of their erases, so that a first erase of block 100 or above moves the plane's first, fullest block
    too. That takes the plane below its ten free blocks, where it stops serving writes, and all 32 requests come to wait
    for such planes. Its counts say so: reads beyond those of collections are seven blocks of 253 pages, and of 278
    erases 271 are of collections. A copy of our model with that rule answers 29,859 requests in 10 s, waits 16.05 s for
    the last of 29,879 and collects 39 times in each plane concerned; the reference 29,879, 16 s (its printed rate
    divides by whole seconds) and 271 times in seven planes.
    """
    (row,) = (
        row for row in read_drive_rows(reference_file("ssd_reference.csv")) if row.name == "gc8k_off_precond_b256"
    )
    assert row.moved_per_collection is not None
    collected = row.counts["gc_executions"] * row.moved_per_collection
    assert (row.counts["flash_reads"] - collected) / STEADY[0] == pytest.approx(7, rel=0.005)

    drive = drive_of(row)
    assert isinstance(drive, Drive)
    assert sum(STEADY) == int(0.9 * drive.logical_pages) // drive.geometry.planes
    assert len(STEADY) == 256 - 3 - 10  # three blocks are open, ten are free: one less, and writes stop
    asked = DriveWorkload("rand-write", 8192, 32, True, 10.0, working_set=0.9, cached=False, valid_pages=(STEADY,))
    memory = new_memory(drive, asked)
    assert (prepare(memory), run_kernel(memory)) == (FINISHED, FINISHED)
    s = memory.state[0]
    chosen = int(s["moved"] + s["moving"][: drive.geometry.planes].sum()) / int(s["collections"])
    # Of eight different blocks out of 243 full and ten free ones, the fewest valid pages.
    ways = [math.comb(len(STEADY) + 9 - i, 7) for i in range(len(STEADY))]
    least = sum(valid * way for valid, way in zip(sorted(STEADY), ways, strict=True)) / math.comb(len(STEADY) + 10, 8)
    assert least == pytest.approx(194.6, abs=0.1)
    assert chosen == pytest.approx(least, rel=0.02)
    assert chosen == pytest.approx(row.moved_per_collection, rel=0.03)
