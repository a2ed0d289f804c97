"""Curves of DRAM against its timing rules: refresh, activations, latency of a quiet memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dse.reports.characteristics import dram
from dse.reports.characteristics.sheet import Chart, Sheet
from simulator.memory.dram.devices import load_device

# DDR4-3200: 25.6 GB/s, ticks of 0.625 ns, nRCD 22, nCL 22, nBL 4, nRP 22, nFAW 34, nRFC 576, nREFI 12480.
PEAK = 25.6e9
LESS_REFRESH = PEAK * (1 - 576 / 12480)


@pytest.fixture(scope="module")
def sheet() -> Iterator[Sheet]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dram, "_REQUESTS", 20_000)
        yield dram.dram_sheet(load_device("DDR4-3200"))


def chart(sheet: Sheet, name: str) -> Chart:
    return next(chart for chart in sheet.charts if chart.name == name)


def points(sheet: Sheet, name: str, curve: str) -> list[tuple[float, float]]:
    return list(next(each for each in chart(sheet, name).curves if each.name == curve).points)


def test_no_point_is_above_its_bound(sheet: Sheet) -> None:
    for each in sheet.charts:
        if each.name == "energy":
            continue
        limits = {limit.name: limit.value for limit in each.limits}
        assert limits == {"peak of the pins": PEAK, "less refresh": pytest.approx(LESS_REFRESH)}
        rates = [x if each.name == "loaded_latency" else y for curve in each.curves for x, y in curve.points]
        # Some seven refreshes: a run that ends before one falls due has up to a seventh of 4.6 % more than the mean.
        assert max(rates) <= LESS_REFRESH * 1.007


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DDR5-4800", "LPDDR5-6400", "HBM2-2000", "HBM3-6400", "GDDR6-14000"])
def test_no_standard_is_above_its_bound(name: str) -> None:
    # A run that ends before a refresh falls due has had one less than the mean: of some thirty, 1/30 of 4 to 9 %.
    for each in dram.dram_sheet(load_device(name)).charts:
        limits = {limit.name: limit.value for limit in each.limits}
        if each.name != "energy":
            rates = [x if each.name == "loaded_latency" else y for curve in each.curves for x, y in curve.points]
            assert max(rates) <= limits["less refresh"] * 1.003
            assert max(rates) <= limits["peak of the pins"]


def test_reading_on_and_on_fills_the_pins_but_for_refresh(sheet: Sheet) -> None:
    assert points(sheet, "loaded_latency", "sequential")[-1][0] == pytest.approx(LESS_REFRESH, rel=0.01)


def test_random_bursts_are_bound_by_activations(sheet: Sheet) -> None:
    # Four activations within nFAW, a burst of 64 bytes each; refresh takes its part.
    bound = 4 * 64 / (34 * 0.625e-9) * (1 - 576 / 12480)
    served = points(sheet, "loaded_latency", "random")[-1][0]
    assert 0.9 * bound < served <= bound * 1.01


def test_a_quiet_memory_answers_within_its_timings(sheet: Sheet) -> None:
    # Closed row: nRCD + nCL + nBL and a tick to arrive; a conflict nRP more; one in 22 waits for half a refresh.
    closed, conflict = (49 * 0.625e-9, 71 * 0.625e-9)
    refresh_s = 576 / 12480 * 576 / 2 * 0.625e-9
    assert closed < points(sheet, "loaded_latency", "random")[0][1] < conflict + refresh_s + 2e-9


def test_latency_grows_with_load(sheet: Sheet) -> None:
    random = points(sheet, "loaded_latency", "random")
    assert [x for x, _ in random[:12]] == sorted(x for x, _ in random[:12])
    assert random[-1][1] > 3 * random[0][1]


def test_larger_granules_and_skewed_streams_are_faster(sheet: Sheet) -> None:
    random = [y for _, y in points(sheet, "granules", "random places")]
    assert random[-1] > 2 * random[0]
    aligned, askew = (points(sheet, "granules", name)[0][1] for name in ("16 streams", "16, a row askew"))
    assert askew > 1.5 * aligned


def test_mixing_reads_and_writes_costs_most_in_the_middle(sheet: Sheet) -> None:
    rates = [y for _, y in points(sheet, "writes", "sequential")]
    assert min(rates) < 0.9 * min(rates[0], rates[-1])
    assert 0 < rates.index(min(rates)) < len(rates) - 1


def test_a_bit_costs_less_in_larger_granules_never_less_than_its_column(sheet: Sheet) -> None:
    energies = [y for _, y in points(sheet, "energy", "random places")]
    (limit,) = chart(sheet, "energy").limits
    assert energies[-1] < energies[0] / 1.5
    assert min(energies) > limit.value


def test_without_energies_there_is_no_such_chart() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dram, "_REQUESTS", 500)
        names = [each.name for each in dram.dram_sheet(load_device("GDDR6-14000"), mapping="RoBaRaCoCh").charts]
    assert names == ["loaded_latency", "granules", "writes"]
