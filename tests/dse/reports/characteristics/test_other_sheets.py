"""Curves of memories that compute, links and SRAM, against counts by hand."""

from __future__ import annotations

import json

import pytest

from dse.reports.characteristics import pim
from dse.reports.characteristics.link import link_sheet
from dse.reports.characteristics.sheet import Axis, Chart, Curve, Limit, Sheet, document
from dse.reports.characteristics.sram import sram_sheet
from simulator.interconnect.protocols import link_type
from simulator.memory.pim.presets import load_pim
from workloads.errors import InputError


def curves(sheet: Sheet, name: str) -> dict[str, list[tuple[float, float]]]:
    found = next(chart for chart in sheet.charts if chart.name == name)
    return {curve.name: list(curve.points) for curve in found.curves}


@pytest.fixture(scope="module")
def computing() -> Sheet:
    return pim.pim_sheet(load_pim("attacc-bank"))


def test_rates_in_memory_and_by_the_host(computing: Sheet) -> None:
    rate = curves(computing, "rate")
    # 16 channels x 64 units x 32 bytes every 12 ticks of 1 / 2.6 GHz: one operation a byte. Pins: 16 x 64 at 5.2 Gb/s.
    inside, pins = 16 * 64 * 32 / (12 / 2.6e9), 16 * 64 / 8 * 5.2e9
    assert [y for _, y in rate["bound of the units"]] == pytest.approx([inside] * 6, rel=1e-4)
    assert rate["bound of the pins"] == [(1, pytest.approx(pins)), (32, pytest.approx(32 * pins))]
    for (batch, found), (_, host) in zip(rate["in memory"], rate["by the host"], strict=True):
        assert 0.5 * inside < found < inside
        assert 0.8 * batch * pins < host < batch * pins
    # At 0.7 of 10.7 times the pins' bytes, and the host at 0.9 of them, the host is the faster one from 16 on at the
    # latest, and never below 4.
    faster = {
        batch for (batch, found), (_, host) in zip(rate["in memory"], rate["by the host"], strict=True) if host > found
    }
    assert {16, 32} <= faster <= {8, 16, 32}


def test_every_tick_went_somewhere(computing: Sheet) -> None:
    for name in ("ticks", "ticks_by_size"):
        parts = curves(computing, name)
        for at in range(len(parts["computing"])):
            assert sum(points[at][1] for points in parts.values()) == pytest.approx(1)
    busy = [share for _, share in curves(computing, "fraction_of_bound")["units computing"]]
    assert busy == pytest.approx([share for _, share in curves(computing, "ticks")["computing"]], rel=0.01)


def test_small_matrices_lose_more(computing: Sheet) -> None:
    rates = [rate for _, rate in curves(computing, "sizes")["in memory"]]
    assert rates[0] < rates[1] < rates[2]


def test_a_host_spends_less_on_an_operation_the_more_vectors_share_the_matrix(computing: Sheet) -> None:
    energy = curves(computing, "energy")
    host = [joules for _, joules in energy["by the host, memory only"]]
    assert host[-1] < host[0] / 20
    assert host[0] > 3 * energy["in memory"][0][1]


def test_pci_express_packets() -> None:
    # Read completions: 256 bytes behind 12 of header and 8 of framing, 16 more of answers at full two-way load.
    sheet = link_sheet(link_type("pcie-4.0-x16"))
    efficiency = curves(sheet, "efficiency")
    large = 1 << 20
    assert dict(efficiency["one way"])[large] == pytest.approx(256 / 276)
    assert dict(efficiency["as much the other way"])[large] == pytest.approx(256 / 292)
    assert dict(efficiency["one way"])[16] == pytest.approx(16 / 36)
    rate = 16 * 16e9 / 8 * 128 / 130
    assert dict(curves(sheet, "time")["alone"])[16] == pytest.approx(1e-6 + 36 / rate)
    bandwidth = curves(sheet, "bandwidth")
    assert dict(bandwidth["8 streams share it"])[large] == pytest.approx(rate * 256 / 276 / 8)


def test_sram_grows_with_its_capacity() -> None:
    sheet = sram_sheet(22, 64, banks=4)
    assert curves(sheet, "area")["all banks"][0][0] == 1024
    assert curves(sheet, "area")["all banks"][-1][0] == 64 << 20
    for name in ("energy", "area", "time", "leakage"):
        for points in curves(sheet, name).values():
            values = [value for _, value in points]
            assert values == sorted(values)
            assert values[0] > 0
    # 16 words of 4,096 bits in each of 4 banks are 32 KiB.
    assert curves(sram_sheet(22, 4096, banks=4), "area")["all banks"][0][0] == 32 << 10


def test_sram_refuses_what_cannot_be_built() -> None:
    for arguments in ((3, 64, 1), (22, 0, 1), (22, 64, 0), (float("nan"), 64, 1), (22, 64, 1 << 30)):
        with pytest.raises(InputError):
            sram_sheet(arguments[0], arguments[1], banks=int(arguments[2]))


def test_a_document_has_every_point_under_the_names_of_its_axes() -> None:
    chart = Chart(
        "speed", "Speed", Axis("size_bytes", "size", "B"), Axis("rate_bytes_per_s", "rate", "B/s"),
        (Curve("run", ((1.0, 2.0), (3.0, 4.0))), Curve("form", ((1.0, 5.0),), bound=True)),
        (Limit("peak", "y", 6.0), Limit("most", "x", 7.0)),
    )  # fmt: skip
    found = document(Sheet("thing", "kind", "a thing", (chart,), {"seed": 1}, ("a note",)))
    assert json.loads(json.dumps(found)) == {
        "device": "thing", "kind": "kind", "headline": "a thing", "settings": {"seed": 1}, "notes": ["a note"],
        "charts": {"speed": {
            "title": "Speed", "x": "size_bytes", "y": "rate_bytes_per_s",
            "curves": [
                {"name": "run", "bound": False, "points": [
                    {"size_bytes": 1.0, "rate_bytes_per_s": 2.0}, {"size_bytes": 3.0, "rate_bytes_per_s": 4.0},
                ]},
                {"name": "form", "bound": True, "points": [{"size_bytes": 1.0, "rate_bytes_per_s": 5.0}]},
            ],
            "limits": [{"name": "peak", "rate_bytes_per_s": 6.0}, {"name": "most", "size_bytes": 7.0}],
        }},
    }  # fmt: skip
