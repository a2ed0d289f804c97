"""A systolic array element by element and cycle by cycle: what it computes, and how long it takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mappers.mapspace.problem import EinsumProblem, cascade_problem
from mappers.mapspace.systolic import DATAFLOWS, Dataflow, systolic_cycles
from workloads.cascades import load_cascade

Matrix = NDArray[np.int64]


def stationary_fold(held: Matrix, stream: Matrix) -> tuple[Matrix, int]:
    """``stream @ held`` with ``held`` (rows x columns) in the elements, and the cycles until the last sum is out.

    ``held`` moves in from the top, a row a cycle, last row first. Then row r takes its column of ``stream`` from the
    left, r cycles late; operands move right, sums move down and leave below the last row.
    """
    rows, columns = held.shape
    items = stream.shape[0]
    weights = np.zeros((rows, columns), np.int64)
    cycles = 0
    for step in range(rows):
        weights[1:] = weights[:-1].copy()
        weights[0] = held[rows - 1 - step]
        cycles += 1
    operand = np.zeros((rows, columns), np.int64)
    partial = np.zeros((rows, columns), np.int64)
    result = np.zeros((items, columns), np.int64)
    left = items * columns
    step = 0
    while left:
        entering = np.array([stream[step - r, r] if 0 <= step - r < items else 0 for r in range(rows)])
        operand = np.concatenate((entering[:, None], operand[:, :-1]), axis=1)
        above = np.concatenate((np.zeros((1, columns), np.int64), partial[:-1]), axis=0)
        partial = above + weights * operand
        for column in range(columns):
            item = step - (rows - 1) - column
            if 0 <= item < items:
                result[item, column] = partial[-1, column]
                left -= 1
        step += 1
        cycles += 1
    return result, cycles


def output_fold(a: Matrix, w: Matrix) -> tuple[Matrix, int]:
    """``a @ w`` with a sum in every element: ``a`` enters from the left and ``w`` from the top, both skewed.

    An element hands its sum to its column's result wires in the cycle that finishes it; each column carries one a
    cycle.
    """
    (rows, depth), columns = a.shape, w.shape[1]
    right = np.zeros((rows, columns), np.int64)
    down = np.zeros((rows, columns), np.int64)
    sums = np.zeros((rows, columns), np.int64)
    terms = np.zeros((rows, columns), np.int64)
    result = np.zeros((rows, columns), np.int64)
    cycles, left = 0, rows * columns
    while left:
        from_left = np.array([a[r, cycles - r] if 0 <= cycles - r < depth else 0 for r in range(rows)])
        from_top = np.array([w[cycles - c, c] if 0 <= cycles - c < depth else 0 for c in range(columns)])
        right = np.concatenate((from_left[:, None], right[:, :-1]), axis=1)
        down = np.concatenate((from_top[None, :], down[:-1]), axis=0)
        sums += right * down
        late = np.add.outer(np.arange(rows), np.arange(columns))
        terms += (cycles >= late) & (cycles - late < depth)
        finished = (terms == depth) & (cycles - late == depth - 1)
        assert finished.sum(axis=0).max() <= 1
        result[finished] = sums[finished]
        left -= int(finished.sum())
        cycles += 1
    return result, cycles


def padded(matrix: Matrix, rows: int, columns: int) -> Matrix:
    return np.pad(matrix, ((0, rows - matrix.shape[0]), (0, columns - matrix.shape[1])))


def run(a: Matrix, w: Matrix, rows: int, columns: int, dataflow: Dataflow) -> tuple[Matrix, int]:
    """All folds of ``a @ w``, one after the other; the idle elements of an edge fold hold zeros."""
    if dataflow == "is":  # the transposed product with the operands' roles exchanged
        result, cycles = run(w.T, a.T, rows, columns, "ws")
        return result.T, cycles
    (m, k), n = a.shape, w.shape[1]
    result = np.zeros((m, n), np.int64)
    cycles = 0
    for c in range(0, n, columns):
        for r in range(0, k if dataflow == "ws" else m, rows):
            if dataflow == "ws":
                held = padded(w[r : r + rows, c : c + columns], rows, columns)
                part, taken = stationary_fold(held, padded(a[:, r : r + rows], m, rows))
                result[:, c : c + columns] += part[:, : n - c]
            else:
                tile = padded(a[r : r + rows], rows, k)
                part, taken = output_fold(tile, padded(w[:, c : c + columns], k, columns))
                result[r : r + rows, c : c + columns] = part[: m - r, : n - c]
            cycles += taken
    return result, cycles


def gemm(m: int, n: int, k: int) -> EinsumProblem:
    return cascade_problem(load_cascade("gemm"), {"m": m, "n0": k, "n1": n}).einsums[0]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 11),
    st.integers(1, 11),
    st.integers(1, 11),
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from(DATAFLOWS),
    st.integers(0, 2**32 - 1),
)
def test_marching_data(m: int, n: int, k: int, rows: int, columns: int, dataflow: Dataflow, seed: int) -> None:
    random = np.random.default_rng(seed)
    a = random.integers(-9, 10, (m, k))
    w = random.integers(-9, 10, (k, n))
    result, cycles = run(a, w, rows, columns, dataflow)
    assert np.array_equal(result, a @ w)
    # counted to the last cycle's number, the first being 0: one less than the cycles that pass
    assert systolic_cycles(gemm(m, n, k), rows, columns, dataflow).compute_cycles == cycles - 1


@pytest.mark.parametrize(("dataflow", "fold"), [("ws", 4 + 5 + 4 + 4 - 2), ("os", 5 + 4 + 4 - 2)])
def test_edge_folds_take_as_long_as_full_ones(dataflow: Dataflow, fold: int) -> None:
    ones = np.ones((5, 5), np.int64)
    assert run(ones, ones, 4, 4, dataflow)[1] == 4 * fold
