"""Crossbar costs against ISAAC's published totals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.cost.converters import survey_adc
from hw.cost.crossbar import ISAAC_PIECES, CrossbarUse, crossbar_cost
from workloads.errors import InputError

STEP = CrossbarUse(arrays=1, rows=128, columns=128, steps=1, dac_drives=128, conversions=128, shift_adds=128)


def test_one_step_of_isaac() -> None:
    # Array 30, conversions 200, DACs 50 pJ: 16 steps of a 16-bit input over 128 x 16 weights of 16 bits.
    cost = crossbar_cost(STEP)
    assert cost.cells_j == pytest.approx(30e-12)
    assert cost.adcs_j == pytest.approx(200e-12)
    assert cost.dacs_j == pytest.approx(50e-12, rel=2e-3)
    main_j = cost.cells_j + cost.adcs_j + cost.dacs_j
    assert 16 * main_j / (128 * 16) == pytest.approx(2.19e-12, rel=2e-3)
    assert cost.adcs_j / main_j == pytest.approx(0.71, abs=0.005)


def test_isaac_as_a_whole() -> None:
    # 168 tiles x 12 x 8 arrays, 16 steps a product: 41.3 TOPS; on 85.4 mm2 that is 483, published 479 GOPS/mm2.
    latency_s = crossbar_cost(replace(STEP, steps=16)).latency_s
    assert latency_s == pytest.approx(1.6e-6)
    tops = 168 * 12 * 8 * 128 * 16 * 2 / latency_s / 1e12
    assert tops == pytest.approx(41.3, abs=0.05)
    assert tops * 1e3 / 85.4 == pytest.approx(479, rel=0.015)


def test_one_array_without_its_tile_is_denser_than_published() -> None:
    # Published 1707 GOPS/mm2 for the array and its converters; the parts given here leave out what a tile adds.
    cost = crossbar_cost(replace(STEP, steps=16))
    density = 128 * 16 * 2 / cost.latency_s / 1e9 / cost.area_mm2
    assert 1707 < density < 1.2 * 1707


def test_parts_add_up_and_converters_bound_the_time() -> None:
    cost = crossbar_cost(STEP)
    parts = cost.cells_j + cost.dacs_j + cost.samples_j + cost.adcs_j + cost.shift_adds_j
    assert cost.energy_j == parts
    assert cost.bound == "array"
    slow = replace(ISAAC_PIECES, adc=survey_adc(bits=8, rate_per_s=0.32e9, node_nm=32))
    limited = crossbar_cost(STEP, slow)
    # 128 conversions at 0.32 GS/s take 400 ns, four times the array's step; four converters catch up.
    assert limited.bound == "converter"
    assert limited.latency_s == pytest.approx(400e-9)
    caught_up = crossbar_cost(STEP, slow, adcs_per_array=4)
    assert caught_up.bound == "array"
    assert caught_up.latency_s == pytest.approx(100e-9)
    assert caught_up.area_mm2 > limited.area_mm2


def test_energy_grows_with_converter_bits() -> None:
    energies = []
    for bits in range(4, 13):
        adc = survey_adc(bits=bits, rate_per_s=1.28e9, node_nm=32)
        energies.append(crossbar_cost(STEP, replace(ISAAC_PIECES, adc=adc)).energy_j)
    assert energies == sorted(energies)
    assert len(set(energies)) == len(energies)


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="adcs_per_array is 0; expected between 1 and 128, one for each column"):
        crossbar_cost(STEP, adcs_per_array=0)
