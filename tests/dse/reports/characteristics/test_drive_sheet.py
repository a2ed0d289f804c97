"""Curves of a drive against its link, channels and planes, and write amplification against its closed form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dse.reports.characteristics import drive
from dse.reports.characteristics.sheet import Chart, Sheet
from simulator.memory.flash.drives import load_drive


@pytest.fixture(scope="module")
def sheet() -> Iterator[Sheet]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive, "_SIZES", (4096, 65536, 1 << 20))
        patch.setattr(drive, "_LEAST_REQUESTS", 64)
        patch.setattr(drive, "_BYTES", 16 << 20)
        patch.setattr(drive, "_DEPTHS", (1, 64))
        patch.setattr(drive, "_LATENCY_DEPTHS", (1, 8, 64))
        patch.setattr(drive, "_SPARES", (0.14, 0.28))
        yield drive.drive_sheet(load_drive("ssd-mqsim-default"))


def chart(sheet: Sheet, name: str) -> Chart:
    return next(chart for chart in sheet.charts if chart.name == name)


def test_bounds(sheet: Sheet) -> None:
    # Four lanes of 1 GB/s in packets of 128 + 28 bytes; 8 channels of 333 MB/s; 128 planes of 8 KiB in 75 us.
    limits = {limit.name: limit.value for limit in chart(sheet, "random_read_bandwidth").limits}
    assert limits == {
        "host link": pytest.approx(4e9 * 128 / 156),
        "all channels": pytest.approx(8 * 333e6),
        "all planes reading": pytest.approx(128 * 8192 / 75e-6),
    }
    for name in ("random_read_bandwidth", "sequential_read_bandwidth", "write_bandwidth"):
        found = chart(sheet, name)
        least = min(limit.value for limit in found.limits)
        assert max(y for curve in found.curves for _, y in curve.points) <= least


def test_one_small_read_at_a_time_takes_what_it_takes_alone(sheet: Sheet) -> None:
    # MQSim 7ec40e3 has 165 us for a random read of 4 KiB with its mapping page (75 us twice, bus and link).
    (depth, latency_s) = chart(sheet, "latency").curves[0].points[0]
    assert depth == 1
    assert latency_s == pytest.approx(165e-6, rel=0.05)


def test_a_rate_is_a_bandwidth_over_the_size(sheet: Sheet) -> None:
    rates = chart(sheet, "random_read_rate").curves
    for curve in chart(sheet, "random_read_bandwidth").curves:
        same = next(rate for rate in rates if rate.name == curve.name)
        assert [y / x for x, y in curve.points] == pytest.approx([y for _, y in same.points])


def test_depth_helps_small_requests_and_makes_each_wait(sheet: Sheet) -> None:
    one, many = (chart(sheet, "random_read_bandwidth").curves[at].points[0][1] for at in (0, 1))
    assert many > 10 * one
    for curve in chart(sheet, "latency").curves:
        latencies = [y for _, y in curve.points]
        assert latencies[-1] > latencies[0]


def test_random_writes_cost_what_the_closed_form_says(sheet: Sheet) -> None:
    simulated, closed = chart(sheet, "write_amplification").curves
    assert closed.bound
    for (spare, cost), (_, expected) in zip(simulated.points, closed.points, strict=True):
        assert cost == pytest.approx(expected, rel=0.08), spare


def test_depths_end_with_the_queue() -> None:
    phone = load_drive("ufs4-phone")
    assert drive._depths(phone, (1, 8, 64, 256)) == [1, 8, phone.host.queue_entries]
