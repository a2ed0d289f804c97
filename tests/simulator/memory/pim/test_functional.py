"""What the layouts compute, against plain loops and double precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.pim.functional import eltwise_in_banks, gemv_in_banks, place_matrix
from simulator.memory.pim.gemv import pim_eltwise, pim_gemv
from simulator.memory.pim.presets import load_pim

SMALL = replace(load_pim("hbm-pim"), channels=2)


def test_a_matrix_in_banks_is_the_matrix() -> None:
    # Two channels of eight units of eight rows are 128 rows; 16 columns a burst, 8 bursts a tile, two tiles a pair.
    matrix = np.arange(128 * 256, dtype=np.float32).reshape(128, 256).astype(np.float16)
    banks = place_matrix(SMALL, matrix)
    assert banks.shape == (1, 2, 8, 2, 1, 8, 8, 16)
    assert sorted(banks.ravel().tolist()) == sorted(matrix.ravel().tolist())
    # Row 8 (3 + 8 * 1) + 5 = unit 3 of channel 1; column 128 + 16 * 2 + 7: the odd bank, third burst of inputs, lane 7.
    assert banks[0, 1, 3, 1, 0, 2, 5, 7] == matrix[8 * (3 + 8) + 5, 128 + 16 * 2 + 7]


def test_products_round_like_a_loop_over_registers() -> None:
    rng = np.random.default_rng(7)
    matrix = rng.standard_normal((20, 300)).astype(np.float16)
    vector = rng.standard_normal(300).astype(np.float16)
    expected = []
    for row in matrix:
        lanes = [np.float16(0)] * 16
        order = [*range(128), *range(256, 300), *range(128, 256)]  # even tiles of 128 columns, then odd ones
        for column in order:
            lanes[column % 16] = np.float16(lanes[column % 16] + np.float16(row[column] * vector[column]))
        total = lanes[0]
        for lane in lanes[1:]:
            total = np.float16(total + lane)
        expected.append(total)
    assert gemv_in_banks(SMALL, matrix, vector).tolist() == [float(value) for value in expected]


@pytest.mark.parametrize("name", ["hbm-pim", "attacc-bank", "duplex-bank-group-pim", "duplex-logic-pim", "aim"])
def test_small_whole_numbers_are_exact(name: str) -> None:
    rng = np.random.default_rng(3)
    matrix = rng.integers(-2, 3, (70, 400)).astype(np.float16)
    vector = rng.integers(-2, 3, 400).astype(np.float16)
    exact = matrix.astype(np.int64) @ vector.astype(np.int64)
    assert (gemv_in_banks(load_pim(name), matrix, vector) == exact).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5000), st.booleans())
def test_element_by_element(count: int, multiply: bool) -> None:
    rng = np.random.default_rng(count)
    first, second = (rng.standard_normal(count).astype(np.float16) for _ in range(2))
    got = eltwise_in_banks(SMALL, first, second, multiply=multiply)
    assert (got == (first * second if multiply else first + second)).all()


def test_time_and_layout_agree_on_what_is_stored() -> None:
    banks = place_matrix(SMALL, np.zeros((300, 1000), np.float16))
    result = pim_gemv(SMALL, 300, 1000)
    assert result.multiply_adds == banks.size
    drained = banks.shape[0] * 2 * 8 * 8 * 32
    assert result.bytes_inside == banks.nbytes + drained
    added = pim_eltwise(SMALL, 1 << 14)
    assert added.multiply_adds == 1 << 14
