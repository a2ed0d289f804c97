"""Drives of products: what the model gives beside what their makers state. No constant in their files is fitted."""

from __future__ import annotations

import pytest

from simulator.memory.flash.drives import load_drive
from simulator.memory.flash.run import simulate_drive
from simulator.memory.flash.workload import DriveWorkload, Pattern

PRODUCTS = ("ssd-980pro-1tb", "ssd-pm1733-3840gb", "ssd-9550-6400gb")

# Drive, pattern, request bytes, outstanding requests, requests, stated bytes or requests per second, tolerance.
# 980 PRO: Samsung's product page as Hardwareluxx gives it, August 2020; queue of 1, and 2 GB/s past the write cache.
# PM1733: AnandTech, December 2021 (sequential reads), Samsung's announcement as Hardwareluxx gives it, August 2019.
# 9550: Micron's table for the 9550 MAX 6.4 TB as StorageReview gives it, 2025.
STATED = [
    ("ssd-980pro-1tb", "seq-read", 131072, 32, 2000, 7.0e9, 0.10),
    ("ssd-980pro-1tb", "rand-read", 4096, 1, 500, 22_000, 0.15),
    ("ssd-980pro-1tb", "seq-write", 131072, 64, 2000, 2.0e9, 0.20),
    ("ssd-pm1733-3840gb", "seq-read", 131072, 32, 2000, 7.0e9, 0.10),
    ("ssd-pm1733-3840gb", "rand-read", 4096, 512, 50000, 1_450_000, 0.15),
    ("ssd-9550-6400gb", "seq-read", 131072, 32, 2000, 14.0e9, 0.10),
    ("ssd-9550-6400gb", "rand-read", 4096, 512, 50000, 3_300_000, 0.15),
]


@pytest.mark.parametrize(("name", "pattern", "size", "depth", "requests", "stated", "tolerance"), STATED)
def test_stated_rates(
    name: str, pattern: Pattern, size: int, depth: int, requests: int, stated: float, tolerance: float
) -> None:
    asked = DriveWorkload(pattern, size, depth, requests=requests, cached=False)
    result = simulate_drive(load_drive(name), asked)
    reached = result.bandwidth_bytes_per_s if pattern.startswith("seq") else result.iops
    assert reached == pytest.approx(stated, rel=tolerance)


@pytest.mark.parametrize(
    ("name", "terabytes"), [("ssd-980pro-1tb", 1.0), ("ssd-pm1733-3840gb", 3.84), ("ssd-9550-6400gb", 6.4)]
)
def test_capacities(name: str, terabytes: float) -> None:
    assert load_drive(name).capacity_bytes / 1e12 == pytest.approx(terabytes, rel=1e-3)


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_whole_table_is_on_the_controller(name: str) -> None:
    drive = load_drive(name)
    assert drive.mapping_entries >= drive.logical_pages


def test_where_the_client_drive_misses_its_data_sheet() -> None:
    """Samsung states a million random reads of 4 KiB a second with 512 outstanding.

    32 dies that read one page each in 45 us give 711,000 at most; the model stays below that and so below the sheet.
    """
    asked = DriveWorkload("rand-read", 4096, 512, requests=50000, cached=False)
    reached = simulate_drive(load_drive("ssd-980pro-1tb"), asked).iops
    assert 0.5e6 < reached <= 32 / 45e-6 * 1.01
