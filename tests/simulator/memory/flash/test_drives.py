"""Drives as files, what they imply, and workloads that are refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from simulator.memory.flash.drive import page_type
from simulator.memory.flash.drives import drive_names, drive_rows, load_drive
from simulator.memory.flash.run import document, simulate_drive
from simulator.memory.flash.workload import DriveWorkload
from tests.simulator.memory.flash.small_drives import small_drive
from workloads.errors import InputError


def test_every_bundled_drive_loads_and_says_where_its_numbers_are_from() -> None:
    assert "ssd-mqsim-default" in drive_names()
    assert [row.name for row in drive_rows()] == list(drive_names())
    for name in drive_names():
        drive = load_drive(name.upper())
        assert drive.name == name
        assert {"geometry", "cells", "channel", "host"} <= set(drive.sources)


def test_what_the_default_drive_implies() -> None:
    drive = load_drive("ssd-mqsim-default")
    # 8 x 4 x 2 x 2 planes of 2048 x 256 pages of 8 KiB: 2**26 pages, 512 GiB, 7 % kept back.
    assert drive.geometry.pages == 2**26
    assert drive.logical_pages == int(2**26 * 0.93)
    # Two page numbers of 26 bits and 16 sector bits: 9 bytes an entry in the cache; one and 16 bits: 6 bytes in flash.
    assert drive.mapping_entries == 2097152 // 9
    assert drive.entries_per_mapping_page == 8192 // 6
    assert drive.collection_start_blocks == 102
    # ONFI: 20 + 6 x 25 + 100 + 20 ns; with a second plane 500 + 6 x 25 more.
    assert drive.channel.read_command_ns(1) == 290
    assert drive.channel.read_command_ns(2) == 940
    assert drive.channel.program_command_ns(1) == 20 + 150 + 70 + 6 + 100 + 15
    assert drive.channel.erase_command_ns(1) == 220
    # 4096 bytes in 32 packets of 128 + 28 bytes over 4 GB/s.
    assert drive.host.message_ns(4096) == pytest.approx(1248)
    assert drive.internal_bytes_per_s == pytest.approx(8 * 333e6)
    assert drive.endurance_bytes == 10000 * 2**26 * 8192


def test_an_access_of_the_cache_takes_its_rows_in_turn() -> None:
    cache = load_drive("ssd-mqsim-default").cache
    # One channel of 200 MB/s: 26 ns to open a row, 5 ns a byte. MQSim gives the same (estimate_dram_access_time).
    assert cache.access_ns(4096) == pytest.approx(26 + 20480)
    assert cache.access_ns(8192) == pytest.approx(26 + 40960)
    # 16 rows, eight in each of two channels: 8 x 26 + 7 x 13 + 8 x 40960; MQSim 26 + 8 x (40960 + 13) + 26.
    assert cache.access_ns(131072) == pytest.approx(208 + 91 + 327680)
    assert cache.access_ns(131072) == pytest.approx(26 + 8 * 40973 + 26, rel=1e-3)
    # Three rows, the last half full: the first channel has rows 0 and 2, the second row 1.
    assert cache.access_ns(20480) == pytest.approx(2 * 26 + 13 + (8192 + 4096) * 5)
    # Four rows, the last half full: that is the second channel's, and the first has two whole ones.
    assert cache.access_ns(28672) == pytest.approx(2 * 26 + 13 + 16384 * 5)
    one = cache.model_copy(update={"channels": 1})
    assert one.access_ns(20480) == pytest.approx(3 * 26 + 2 * 13 + 20480 * 5)


@pytest.mark.parametrize(
    ("page", "kinds", "kind"),
    [(7, 1, 0), (0, 2, 0), (1, 2, 1), (5, 3, 0), (6, 3, 1), (8, 3, 0), (10, 3, 1), (12, 3, 2)],
)
def test_kinds_of_pages(page: int, kinds: int, kind: int) -> None:
    assert page_type(page, kinds) == kind


def test_a_file_of_ones_own_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    text = (Path(load_drive.__code__.co_filename).parent / "drives" / "ssd-mqsim-default.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("ssd-mqsim-default", "mine"))
    assert load_drive(path).name == "mine"
    path.write_text(text.replace("channels: 8", "channels: 800"))
    with pytest.raises(InputError) as caught:
        load_drive(str(path))
    assert caught.value.field == "geometry.channels"
    path.write_text(text.replace("program_us: [750, 750]", "program_us: [750]"))
    with pytest.raises(InputError, match="one of each"):
        load_drive(path)
    with pytest.raises(InputError, match="did you mean 'ssd-mqsim-default'"):
        load_drive("ssd-mqsim-defalt")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pattern": "rand"}, "pattern"),
        ({"size_bytes": 1000}, "size_bytes"),
        ({"size_bytes": 2**40}, "size_bytes"),
        ({"queue_depth": 0}, "queue_depth"),
        ({"seconds": 0.0}, "seconds"),
        ({"requests": 0}, "requests"),
        ({"occupancy": 1.5}, "occupancy"),
        ({"working_set": 0.0}, "working_set"),
        ({"overwrites": -1.0}, "overwrites"),
        ({"seed": -1}, "seed"),
        ({"valid_pages": ((1,),), "occupancy": 0.5}, "occupancy"),
        ({"valid_pages": ((1,) * 13,)}, "valid_pages"),  # 16 blocks a plane, of which three are open and one is free
        ({"valid_pages": ((1, 9),)}, "valid_pages"),  # 8 pages a block
        ({"valid_pages": ((), (8,) * 12)}, "valid_pages"),  # 96 pages, of the 89 that the host sees of a plane
    ],
)
def test_workloads_that_are_refused(changes: dict[str, object], field: str) -> None:
    workload = DriveWorkload(**{"pattern": "rand-read", **changes})  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        simulate_drive(small_drive(), workload)
    assert caught.value.field == field


def test_more_outstanding_is_never_slower_and_runs_repeat() -> None:
    drive = small_drive(blocks=64, mapping_bytes=65536)
    rates = []
    for depth in (1, 2, 4, 8, 16, 32):
        workload = DriveWorkload("rand-read", 4096, depth, seconds=0.05, occupancy=1.0, working_set=1.0)
        result = simulate_drive(drive, workload)
        assert simulate_drive(drive, workload).flash == result.flash
        rates.append(result.iops)
    assert all(later > 0.98 * earlier for earlier, later in pairwise(rates))
    assert rates[-1] > 3 * rates[0]


def test_the_document_has_plain_numbers() -> None:
    result = simulate_drive(small_drive(), DriveWorkload("seq-write", 16384, 4, seconds=0.01))
    printed = document(result)
    rates = ["iops", "bandwidth_bytes_per_s", "mean_latency_s", "median_latency_s", "p99_latency_s"]
    assert list(printed) == [*rates, "write_amplification", "flash", "page_ops_per_cpu_s"]
    assert printed["bandwidth_bytes_per_s"] == pytest.approx(printed["iops"] * 16384)
    # 3000 cycles of every page, at the pages programmed in 10 ms.
    pages = result.drive.geometry.pages * 3000 / printed["flash"]["pages_programmed"]
    assert printed["flash"]["lifetime_s"] == pytest.approx(pages * 0.01)
