"""Drops along wires: one cell by hand, small arrays against Kirchhoff's law at every node."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.arrays.wires import column_currents, column_currents_dense


def test_one_cell_by_hand() -> None:
    # 0.2 V over a segment of 100 ohm, a cell of 1000 ohm and another segment.
    current = column_currents(np.array([[0.2]]), np.array([[1e-3]]), 100.0)
    assert current[0, 0] == pytest.approx(0.2 / 1200)


def test_two_cells_of_a_column_by_hand() -> None:
    # Only the lower of two equal cells is driven: its current i and the upper cell's path (1000 + 100 to its driver at
    # 0 V, + 100 down) share the last segment. Node below the lower cell: v = 100 (i + k), k = -v / 1200.
    # i = (0.2 - v) / 1100, so v (1 / 100 + 1 / 1200 + 1 / 1100) = 0.2 / 1100; the column gives v / 100.
    v = 0.2 / 1100 / (1 / 100 + 1 / 1200 + 1 / 1100)
    current = column_currents(np.array([[0.0, 0.2]]), np.full((2, 1), 1e-3), 100.0)
    assert current[0, 0] == pytest.approx(v / 100)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    wire_ohm=st.sampled_from((1e-3, 0.1, 10.0, 1000.0)),
    seed=st.integers(0, 999),
)
def test_any_small_array_obeys_kirchhoff(rows: int, columns: int, wire_ohm: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    siemens = random.uniform(1 / 20_000, 1 / 1333, (rows, columns)) * random.integers(0, 2, (rows, columns))
    volts = 0.2 * random.integers(0, 2, (3, rows))
    found = column_currents(volts, siemens, wire_ohm)
    assert found == pytest.approx(column_currents_dense(volts, siemens, wire_ohm), rel=1e-6, abs=1e-11)


def test_without_resistance_currents_add_up_and_with_more_they_fall() -> None:
    random = np.random.default_rng(0)
    siemens, volts = random.uniform(5e-5, 7.5e-4, (128, 128)), np.full((1, 128), 0.2)
    ideal = volts @ siemens
    currents = [column_currents(volts, siemens, ohm).sum() / ideal.sum() for ohm in (1e-9, 0.01, 0.1, 1.0)]
    assert currents[0] == pytest.approx(1.0, abs=1e-6)
    assert currents == sorted(currents, reverse=True)
    # 0.2 V on cells of 2.5 kohm in the mean: at one ohm a segment most of it is lost.
    assert currents[-1] < 0.5
