"""Each source of error alone, and error against energy: closed forms, order, and the Pareto mark by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hw.cost.converters import survey_adc
from simulator.memory.arrays.crossbar import Crossbar, multiply
from simulator.memory.arrays.error_sources import crossbar_errors, drawn_operands, ramp_errors, write_errors
from simulator.memory.arrays.explore import explore_crossbar
from simulator.memory.arrays.logic import SotArray
from simulator.memory.arrays.operations import operation_counts
from workloads.errors import InputError

INPUTS, WEIGHTS = drawn_operands(4, 128, 16)


def test_operands_are_drawn_as_said() -> None:
    inputs, weights = drawn_operands(200, 50, 100, weight_bits=8, input_bits=8, seed=3)
    assert (inputs.min(), (inputs == 0).mean()) == (0, pytest.approx(0.5, abs=0.02))
    # A normal number over four standard deviations of 128: 32.
    assert weights.std() == pytest.approx(32, rel=0.05)
    assert abs(weights.mean()) < 2


def test_no_wrong_write_no_error_and_more_with_more() -> None:
    points = write_errors("sot", "add", (0.0, 1e-6, 1e-5, 1e-4), lanes=2000)
    assert (points[0].wrong, points[0].large, points[0].relative_rms) == (0.0, 0.0, 0.0)
    assert [p.wrong for p in points] == sorted(p.wrong for p in points)
    # No more lanes than those with a wrong write at all, and some of them by more than a hundredth.
    counts = operation_counts("sot", "add", "fp32", subnormals=False)
    touched = 1 - (1 - 1e-4) ** (counts.writes + counts.presets)
    assert 0 < points[-1].large < points[-1].wrong < touched + 4 * math.sqrt(touched / 2000)


@pytest.mark.parametrize("source", ["write_sigma", "read_sigma", "wire_ohm"])
def test_errors_of_cells_start_at_none_and_grow(source: str) -> None:
    settings = (0.0, 0.001, 0.01) if source == "wire_ohm" else (0.0, 0.02, 0.1)
    points = crossbar_errors(Crossbar(adc_bits=None), source, settings, INPUTS, WEIGHTS)  # type: ignore[arg-type]
    assert points[0].wrong == 0.0
    assert 0 < points[1].relative_rms < points[2].relative_rms


def test_errors_of_converters() -> None:
    points = crossbar_errors(Crossbar(), "adc_bits", (8, 7, 6), INPUTS, WEIGHTS)
    assert points[0].relative_rms == 0.0
    assert 0 < points[1].relative_rms < points[2].relative_rms
    # Inputs after a ReLU leave most of the range unused: a quarter of it loses less than all of it.
    wide, narrow = crossbar_errors(Crossbar(adc_bits=6), "adc_range", (1.0, 0.25), INPUTS, WEIGHTS)
    assert narrow.relative_rms < wide.relative_rms


def test_the_ramps_error_grows_with_bits_and_spread() -> None:
    rows = {(bits, sigma): inl for bits, sigma, inl in ramp_errors("sigmoid", (3, 5), (0.0, 0.02, 0.05))}
    for bits in (3, 5):
        assert rows[bits, 0.0] < 1e-9
        assert 0 < rows[bits, 0.02] < rows[bits, 0.05]
    # The greatest step is 2^bits / 8 times as coarse in LSB, and more steps add up.
    assert rows[5, 0.02] > 2 * rows[3, 0.02]


def test_points_and_the_best_of_them() -> None:
    points = explore_crossbar(
        INPUTS, WEIGHTS, cell_bits=(1, 2), adc_bits=(5, 7, 8), adc_ranges=(1.0,), write_sigmas=(0.0, 0.05)
    )
    assert len(points) == 12
    for sigma in (0.0, 0.05):
        same = [p for p in points if p.write_sigma == sigma]
        assert any(p.pareto for p in same)
        for p in same:
            beaten = any(
                q.relative_rms <= p.relative_rms
                and q.mac_j <= p.mac_j
                and (q.relative_rms, q.mac_j) != (p.relative_rms, p.mac_j)
                for q in same
            )
            assert p.pareto == (not beaten)
    exact = next(p for p in points if (p.cell_bits, p.adc_bits, p.write_sigma) == (2, 8, 0.0))
    assert exact.relative_rms == 0.0


def test_a_points_energy_by_hand() -> None:
    # 4 vectors x 8 slices x 64 columns of conversions, 128 drives a step; cells by their values; one pJ table.
    (point,) = explore_crossbar(INPUTS, WEIGHTS, cell_bits=(2,), adc_bits=(8,), adc_ranges=(1.0,), write_sigmas=(0.0,))
    use = multiply(Crossbar(), INPUTS, WEIGHTS).use
    conversions, drives = 4 * 8 * 64, 4 * 8 * 128
    adc_j = survey_adc(bits=8, rate_per_s=1.28e9, node_nm=32).energy_j
    assert use.cell_j is not None
    expected = use.cell_j + conversions * (adc_j + 9.7e-16 + 5e-14) + drives * 3.9e-13
    assert point.mac_j == pytest.approx(expected / (4 * 128 * 16), rel=1e-6)
    assert (point.vector_s, point.bound) == (pytest.approx(8e-7), "array")


def test_driven_writes_by_hand() -> None:
    # a AND b: a is copied onto zeros (driven where it is one, 4 of 8), then b drives where it is zero (4 of 8).
    array = SotArray(8, count_driven=True)
    a, b = (array.load(np.array(bits, dtype=np.uint64), 1)[0] for bits in ([0, 0, 0, 0, 1, 1, 1, 1], [0, 1] * 4))
    array.and_(a, b)
    assert array.counts().writes == 2
    assert array.driven_writes == 1.0


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown source 'adc_bit'.*did you mean 'adc_bits'"):
        crossbar_errors(Crossbar(), "adc_bit", (8,), INPUTS, WEIGHTS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no adc_bits; expected at least one"):
        explore_crossbar(INPUTS, WEIGHTS, adc_bits=())
    with pytest.raises(InputError, match="features is 0"):
        drawn_operands(1, 0, 1)
