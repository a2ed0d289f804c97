"""The drive that MQSim describes by default, against what MQSim gives for it; and against closed forms."""

from __future__ import annotations

import csv

import pytest

from simulator.memory.flash.drives import load_drive
from simulator.memory.flash.run import DriveResult, simulate_drive
from simulator.memory.flash.theory import random_read_latency_s
from simulator.memory.flash.workload import DriveWorkload
from tests.reference_data import reference_file

# The sequential write is compared apart: see below.
ROWS = {
    "seqread128k_qd16": DriveWorkload("seq-read", 131072, 16),
    "randread4k_qd1": DriveWorkload("rand-read", 4096, 1, seconds=0.5),
    "randread4k_qd16": DriveWorkload("rand-read", 4096, 16),
    "randwrite4k_qd16": DriveWorkload("rand-write", 4096, 16),
}


def reference(row: str, device: str = "default") -> dict[str, float]:
    with reference_file("ssd_reference.csv").open() as file:
        for line in csv.DictReader(file):
            if line["workload"] == row and line["device"] == device:
                return {name: float(text) for name, text in line.items() if _is_number(text)}
    raise AssertionError(f"{row} is not in the file")


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def run(workload: DriveWorkload) -> DriveResult:
    return simulate_drive(load_drive("ssd-mqsim-default"), workload)


@pytest.mark.parametrize("row", ROWS)
def test_rate_and_latency_of_the_reference(row: str) -> None:
    expected, result = reference(row), run(ROWS[row])
    assert result.iops == pytest.approx(expected["iops"], rel=0.05)
    assert result.bandwidth_bytes_per_s / 1e6 == pytest.approx(expected["MBps"], rel=0.05)
    assert result.mean_latency_s * 1e6 == pytest.approx(expected["mean_response_us"], rel=0.10)
    assert result.flash.mapping_reads == pytest.approx(expected["of_which_mapping_reads"], rel=0.05)
    commands = expected["flash_reads"] + expected["flash_programs"]
    assert result.flash.reads + result.flash.programs == pytest.approx(commands, rel=0.05)


def test_sequential_read_pairs_planes_as_the_reference_does() -> None:
    expected, result = reference("seqread128k_qd16"), run(ROWS["seqread128k_qd16"])
    assert result.flash.multiplane_reads == pytest.approx(expected["multiplane_reads"], rel=0.05)


def test_sequential_write_sends_the_commands_of_the_reference_but_pairs_more_planes() -> None:
    """Rate of commands and mapping reads agree: the chips are busy throughout, one command each. How many pages a
    command programs does not, and with it the bandwidth: 47 % of the commands are on two planes, the reference's 19 %.
    """
    expected, result = reference("seqwrite128k_qd16"), run(DriveWorkload("seq-write", 131072, 16))
    commands = expected["flash_programs"] + expected["multiplane_programs"]
    assert result.flash.programs + result.flash.multiplane_programs == pytest.approx(commands, rel=0.02)
    assert result.flash.mapping_reads == pytest.approx(expected["of_which_mapping_reads"], rel=0.05)
    assert result.flash.chip_utilisation > 0.95
    assert expected["MBps"] < result.bandwidth_bytes_per_s / 1e6 < 1.25 * expected["MBps"]


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
    expected, drive = reference("gc8k_off_fresh_op20", "altered"), load_drive("ssd-mqsim-default")
    geometry = drive.geometry.model_copy(update={"blocks_per_plane": 32, "pages_per_block": 64})
    mapping = drive.mapping.model_copy(update={"over_provisioning": 0.2})
    seconds = expected["requests_completed"] * expected["mean_response_us"] * 1e-6 / 32
    workload = DriveWorkload("rand-write", 8192, 32, True, seconds, working_set=0.7, cached=False)
    result = simulate_drive(drive.model_copy(update={"geometry": geometry, "mapping": mapping}), workload)
    assert seconds == pytest.approx(16.4, rel=0.01)
    assert result.requests == pytest.approx(expected["requests_completed"], rel=0.05)
    assert result.mean_latency_s * 1e6 == pytest.approx(expected["mean_response_us"], rel=0.10)
    moved = result.flash.pages_moved / result.flash.collections
    assert moved == pytest.approx(expected["pages_moved_per_gc"], rel=0.15)
