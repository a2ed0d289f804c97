"""The crossbar: exact where it should be, and errors that grow with what causes them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hw.cost.converters import survey_adc
from hw.cost.crossbar import ISAAC_PIECES, crossbar_cost
from simulator.memory.arrays.crossbar import Cells, Crossbar, error_statistics, lossless_adc_bits, multiply
from workloads.errors import InputError


def operands(
    vectors: int, features: int, outputs: int, *, bits: int = 8, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    half = 1 << (bits - 1)
    return random.integers(0, 2 * half, (vectors, features)), random.integers(-half, half, (features, outputs))


def relative_error(crossbar: Crossbar, seed: int = 0) -> float:
    inputs, weights = operands(8, 200, 24)
    result = multiply(crossbar, inputs, weights, seed=seed)
    return error_statistics(result.output, inputs @ weights)["relative_rms"]


def test_isaacs_rule_for_converters() -> None:
    # 128 rows, 1-bit inputs, 2-bit cells: sums up to 384 need 9 bits, halved by flipping 8.
    assert lossless_adc_bits(128, 1, 2) == 9
    assert lossless_adc_bits(128, 1, 2, flip=True) == 8
    assert lossless_adc_bits(128, 2, 2) == 11
    assert Crossbar().greatest_sum == 192


def test_two_by_two_by_hand() -> None:
    # [3, 1] @ [[1, -2], [2, 3]] = [5, -3].
    crossbar = Crossbar(rows=2, columns=8, cell_bits=2, weight_bits=4, input_bits=2, adc_bits=3, flip=False)
    result = multiply(crossbar, np.array([[3, 1]]), np.array([[1, -2], [2, 3]]))
    assert result.output.tolist() == [[5.0, -3.0]]
    # Two slices of input, one array, two rows and 2 x 2 columns in use: 4 drives and 8 conversions.
    use = result.use
    assert (use.arrays, use.steps, use.dac_drives, use.conversions) == (1, 2, 4, 8)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.sampled_from((3, 16, 128)),
    cell_bits=st.integers(1, 4),
    dac_bits=st.integers(1, 3),
    features=st.integers(1, 150),
    flip=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_enough_converter_bits_give_the_exact_product(
    rows: int, cell_bits: int, dac_bits: int, features: int, flip: bool, seed: int
) -> None:
    crossbar = Crossbar(rows=rows, columns=64, cell_bits=cell_bits, dac_bits=dac_bits, flip=flip)
    enough = math.ceil(math.log2(crossbar.greatest_sum + 1))
    inputs, weights = operands(3, features, 5, seed=seed)
    result = multiply(replace(crossbar, adc_bits=enough), inputs, weights)
    assert (result.output == inputs @ weights).all()
    assert result.clipped == 0.0


def test_ideal_converters_are_exact_to_rounding() -> None:
    assert relative_error(Crossbar(adc_bits=None)) < 1e-12


def test_fewer_converter_bits_lose_more() -> None:
    errors = [relative_error(Crossbar(adc_bits=bits)) for bits in (8, 7, 6, 5, 4)]
    assert errors[0] == 0.0
    assert errors == sorted(errors)


def test_noise_of_writing_and_of_reading_and_wires_lose_more() -> None:
    noise = (0, 0.01, 0.03, 0.1)
    for field, values in {"write_sigma": noise, "read_sigma": noise, "wire_ohm": (0, 0.001, 0.01)}.items():
        errors = [relative_error(Crossbar(adc_bits=None, cells=Cells(**{field: value}))) for value in values]
        assert errors[0] < 1e-12
        assert errors == sorted(errors), field


def test_write_noise_has_the_spread_of_its_closed_form() -> None:
    # One-bit inputs all one, one row of cells a weight: a column's error is normal with sigma x levels x sqrt(rows);
    # offset 0.5 % of a level keeps the floor at no conductance out of reach for mid levels.
    rows, sigma = 64, 0.005
    crossbar = Crossbar(
        rows=rows,
        columns=512,
        cell_bits=4,
        weight_bits=4,
        input_bits=1,
        adc_bits=None,
        flip=False,
        cells=Cells(write_sigma=sigma),
    )
    inputs, weights = np.ones((1, rows), dtype=np.int64), np.zeros((rows, 400), dtype=np.int64)
    error = multiply(crossbar, inputs, weights, seed=4).output - inputs @ weights
    assert error.std() == pytest.approx(sigma * 15 * math.sqrt(rows), rel=0.12)


def test_read_noise_has_the_spread_of_its_closed_form() -> None:
    # Level 8 of 15 in every cell: g = low + 8 units; the sum of 64 reads spreads by sigma x g / unit x 8.
    cells = Cells(read_sigma=0.02)
    crossbar = Crossbar(
        rows=64, columns=512, cell_bits=4, weight_bits=4, input_bits=1, adc_bits=None, flip=False, cells=cells
    )
    low, high = 1 / cells.off_ohm, 1 / cells.on_ohm
    unit = (high - low) / 15
    inputs, weights = np.ones((1, 64), dtype=np.int64), np.zeros((64, 500), dtype=np.int64)
    error = multiply(crossbar, inputs, weights, seed=4).output
    assert error.std() == pytest.approx(0.02 * (low + 8 * unit) / unit * 8, rel=0.12)


def test_a_narrow_range_clips_and_a_wide_one_does_not() -> None:
    inputs, weights = operands(8, 128, 24)
    shares = [multiply(Crossbar(adc_bits=5, adc_range=part), inputs, weights).clipped for part in (1.0, 0.4, 0.2)]
    assert shares[0] == 0.0
    assert shares[0] < shares[1] < shares[2]


def test_cell_energy_follows_the_values() -> None:
    # One row at 0.2 V for 1 ns into one column of the highest and one of the lowest conductance.
    cells = Cells()
    crossbar = Crossbar(rows=1, columns=2, cell_bits=1, weight_bits=1, input_bits=1, flip=False, adc_bits=None)
    result = multiply(crossbar, np.array([[1]]), np.array([[0, -1]]))
    # An offset of one: the weights are stored as 1 and 0.
    watts = 0.2**2 * (1 / cells.on_ohm + 1 / cells.off_ohm)
    assert result.use.cell_j == pytest.approx(watts * 1e-9)
    silent = multiply(crossbar, np.array([[0]]), np.array([[0, -1]]))
    assert silent.use.cell_j == 0.0


def test_more_converter_bits_cost_energy_and_save_error() -> None:
    inputs, weights = operands(4, 128, 16)
    energies, errors = [], []
    for bits in (4, 5, 6, 7, 8):
        result = multiply(Crossbar(adc_bits=bits), inputs, weights)
        pieces = replace(ISAAC_PIECES, adc=survey_adc(bits=bits, rate_per_s=1.28e9, node_nm=32))
        energies.append(crossbar_cost(result.use, pieces).energy_j)
        errors.append(error_statistics(result.output, inputs @ weights)["relative_rms"])
    assert energies == sorted(energies)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0.0


def test_large_matrices_take_tiles() -> None:
    # 300 features on 128 rows: 3; 40 weights of 4 cells on 128 columns: 2; 8 slices for each of 2 vectors.
    inputs, weights = operands(2, 300, 40)
    use = multiply(Crossbar(), inputs, weights).use
    assert (use.arrays, use.steps, use.dac_drives) == (6, 16, 2 * 8 * 300 * 2)
    assert use.conversions == 2 * 8 * 3 * 160


@pytest.mark.parametrize(
    ("crossbar", "message"),
    [
        ({"rows": 0}, "rows is 0; expected at least 1"),
        ({"adc_bits": 0}, "adc_bits is 0"),
        ({"adc_range": 0.0}, "adc_range is 0; expected more than 0"),
        ({"columns": 2}, "a weight takes 4 columns of 2"),
    ],
)
def test_wrong_arrays_are_named(crossbar: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Crossbar(**crossbar)


def test_wrong_operands_are_named() -> None:
    with pytest.raises(InputError, match="weights reach from -129 to 0; expected from -128 to 127"):
        multiply(Crossbar(), np.array([[1, 1]]), np.array([[-129], [0]]))
    with pytest.raises(InputError, match="inputs reach from -1 to 1; expected from 0 to 255"):
        multiply(Crossbar(), np.array([[-1, 1]]), np.array([[1], [0]]))
    with pytest.raises(InputError, match="inputs are float64; expected whole numbers"):
        multiply(Crossbar(), np.array([[0.5]]), np.array([[1]]))
    with pytest.raises(InputError, match="on_ohm is 5, off_ohm 4"):
        Cells(on_ohm=5, off_ohm=4)
