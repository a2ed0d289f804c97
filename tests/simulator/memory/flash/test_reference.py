"""The drive that MQSim describes by default, against what MQSim gives for it; and against closed forms."""

from __future__ import annotations

from functools import lru_cache

import pytest

from dse.validation.drive_rows import read_drive_rows
from dse.validation.drives import DriveComparison, predict_drive
from simulator.memory.flash.drives import load_drive
from simulator.memory.flash.run import DriveResult, simulate_drive
from simulator.memory.flash.theory import random_read_latency_s
from simulator.memory.flash.workload import DriveWorkload
from tests.reference_data import reference_file

# The sequential write is compared apart: see below.
ROWS = ("seqread128k_qd16", "randread4k_qd1", "randread4k_qd16", "randwrite4k_qd16")


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


def test_sequential_write_sends_the_commands_of_the_reference_but_pairs_more_planes() -> None:
    """Rate of commands and mapping reads agree: the chips are busy throughout, one command each. How many pages a
    command programs does not, and with it the bandwidth: 47 % of the commands are on two planes, the reference's 19 %.
    """
    found = compared("seqwrite128k_qd16")
    pairs = found.compared
    assert pairs["flash commands"].error == pytest.approx(0, abs=0.02)
    assert pairs["mapping reads"].error == pytest.approx(0, abs=0.05)
    assert found.result.flash.chip_utilisation > 0.95
    rate = pairs["bandwidth"]
    assert rate.reference < rate.predicted < 1.25 * rate.reference


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
    9427. Its requests took 16.4 s by that law, and the rest of its 20 s was a standstill; so the run here ends there.
    """
    found = compared("gc8k_off_fresh_op20")
    assert found.row.seconds == pytest.approx(16.4, rel=0.01)
    assert found.result.requests == pytest.approx(found.row.requests, rel=0.05)
    assert found.compared["mean latency"].error == pytest.approx(0, abs=0.10)
    assert found.compared["pages moved per collection"].error == pytest.approx(0, abs=0.15)
