"""Curves of arrays that compute: what lossless converters lose, what noise adds, what chips were measured at."""

from __future__ import annotations

import pytest

from dse.reports.characteristics.array import array_sheet
from dse.reports.characteristics.sheet import Sheet
from simulator.memory.arrays.devices import array_names, load_array


def curves(sheet: Sheet, name: str) -> dict[str, list[tuple[float, float]]]:
    found = next(chart for chart in sheet.charts if chart.name == name)
    return {curve.name: list(curve.points) for curve in found.curves}


@pytest.fixture(scope="module")
def isaac() -> Sheet:
    return array_sheet(load_array("isaac"))


def test_eight_bits_lose_nothing_of_128_rows(isaac: Sheet) -> None:
    # ISAAC, ISCA 2016: 8 bits for 128 rows of 2-bit cells, 1-bit inputs, flipped columns; fewer bits lose something.
    bits = next(chart for chart in isaac.charts if chart.name == "error_bits")
    assert [(limit.along, limit.value) for limit in bits.limits] == [("x", 8)]
    assert [x for x, _ in curves(isaac, "error_bits")["exact cells"]] == [4, 5, 6, 7]


def test_each_bit_halves_the_error_of_exact_cells(isaac: Sheet) -> None:
    errors = [y for _, y in curves(isaac, "error_bits")["exact cells"]]
    for more, fewer in zip(errors[1:], errors, strict=False):
        assert 0.4 < more / fewer < 0.6


def test_noise_of_the_cells_stays_whatever_the_converter(isaac: Sheet) -> None:
    found = curves(isaac, "error_bits")
    last = {name: points[-1][1] for name, points in found.items() if points[-1][0] == 8}
    assert last["written to 1 %"] < last["written to 5 %"]
    assert 0.9 < last["written to 5 %"] / found["written to 5 %"][-2][1] <= 1
    # Errors of independent cells add up in squares: ten times the spread, ten times the error.
    spread = dict(curves(isaac, "error_spread")["ideal"])
    assert spread[0.1] / spread[0.01] == pytest.approx(10, rel=0.1)


def test_the_parts_of_the_energy_are_all_of_it(isaac: Sheet) -> None:
    parts = curves(isaac, "energy_parts")
    for at in range(len(parts["cells"])):
        assert sum(points[at][1] for points in parts.values()) == pytest.approx(1)
    # At its own 8 bits a converter takes 2 mW / 1.28 GS/s; 128 conversions of 128 columns are 16,384 multiply-adds of
    # 2-bit cells by 1-bit inputs: 32 of each 8-bit product.
    energy = dict(curves(isaac, "error_energy")["written to 1 %"])
    whole = max(energy)
    assert parts["converters"][-1][1] * whole == pytest.approx(2e-3 / 1.28e9 * 32 / 128, rel=0.01)


def test_a_measured_chip_shows_its_measurements() -> None:
    # NeuRRAM, Nature 608 (2022): 2.122 TOPS and 43.08 TOPS/W at 1-bit inputs; a multiply-add is two operations.
    found = array_sheet(load_array("neurram"))
    assert curves(found, "rate")["measured"][0] == (1, pytest.approx(2.122e12))
    assert curves(found, "energy")["measured"][0] == (1, pytest.approx(2 / 43.08e12))


@pytest.mark.parametrize("name", [name for name in array_names() if load_array(name).kind == "logic"])
def test_bit_serial_arithmetic_costs_more_for_more_bits(name: str) -> None:
    found = array_sheet(load_array(name))
    for chart in ("time", "energy"):
        for points in curves(found, chart).values():
            assert [y for _, y in points] == sorted(y for _, y in points)
    # Twice the bits are up to four times the partial products of a multiplication.
    time = dict(curves(found, "time")["whole numbers"])
    assert 2 < time[16] / time[8] < 4.5
