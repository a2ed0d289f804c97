"""Kernels that stream their operands: times by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mappers.kernels.machine import KernelMachine
from mappers.kernels.rows import RowConstants, RowShapes, row_time

MACHINE = KernelMachine("made-up", "ampere", 100, 1e9, {"bf16": 100e12}, 10e12, 1e12, 1e12, 40e6, 4e12)


def seconds(constants: RowConstants, moved: float, row: float = 0.0, operations: float = 0.0) -> float:
    shapes = RowShapes(*(np.array([value]) for value in (moved, row, operations)))
    return float(row_time(MACHINE, constants, shapes).best_s[0])


def test_bytes_at_their_share_of_the_bandwidth_and_a_launch() -> None:
    assert seconds(RowConstants(0.8, 2.0, 3e-6, 0.0), 80e6) == pytest.approx(100e-6 + 3e-6)


def test_wide_rows_are_read_again() -> None:
    constants = RowConstants(0.8, 2.0, 3e-6, 0.0)
    assert seconds(constants, 80e6, 16384) == pytest.approx(103e-6)
    assert seconds(constants, 80e6, 16386) == pytest.approx(203e-6)


def test_an_eager_call_does_not_end_before_the_host_has_made_it() -> None:
    constants = RowConstants(1.0, 1.0, 10e-6, 40e-6)
    assert seconds(constants, 1e6) == pytest.approx(40e-6)
    assert seconds(constants, 30e6) == pytest.approx(40e-6)
    assert seconds(constants, 50e6) == pytest.approx(60e-6)


def test_operations_bound_where_they_are_many() -> None:
    assert seconds(RowConstants(1.0, 1.0, 0.0, 0.0), 1e6, 0.0, 1e9) == pytest.approx(100e-6)
