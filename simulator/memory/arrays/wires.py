"""Drops along the wires of a crossbar: column currents with every wire segment a resistor.

Inputs enter at the first column, columns are sensed at zero volts below the last row. Rows that are not driven are held
at zero volts too, so a column that a drop has lifted loses current to them. With L the drops that cell
currents cause (sums along rows and columns) and G the conductances, the cells' voltages are V = V_in - L G V. In
y = sqrt(G) V that is symmetric and positive definite, (1 + sqrt(G) L sqrt(G)) y = sqrt(G) V_in, which conjugate
gradients solve; L costs four running sums.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["column_currents", "column_currents_dense"]

Values = NDArray[np.float64]
_TOLERANCE, _MOST_ROUNDS = 1e-10, 1000


def _drops(current: Values) -> Values:
    """Volts per ohm of a segment at each cell (..., rows, columns), from the cells' currents."""
    from_right = np.cumsum(current[..., ::-1], axis=-1)[..., ::-1]
    from_top = np.cumsum(current, axis=-2)
    below = np.cumsum(from_top[..., ::-1, :], axis=-2)[..., ::-1, :]
    return np.asarray(np.cumsum(from_right, axis=-1) + below)


def column_currents(volts: Values, siemens: Values, wire_ohm: float) -> Values:
    """Currents in A (vectors, columns) of inputs (vectors, rows) in V on cells (rows, columns) in S.

    ``wire_ohm`` is one segment, between neighbouring cells and from each end. Exact to rounding.
    """
    root = np.sqrt(siemens)
    right = volts[:, :, None] * root
    solution, residual = right.copy(), np.zeros_like(right)
    residual -= wire_ohm * root * _drops(root * solution)
    direction = residual.copy()
    size = _dot(residual, residual)
    enough = _TOLERANCE**2 * np.maximum(_dot(right, right), np.finfo(float).tiny)
    for _ in range(_MOST_ROUNDS):
        if (size <= enough).all():
            break
        image = direction + wire_ohm * root * _drops(root * direction)
        along = size / np.maximum(_dot(direction, image), np.finfo(float).tiny)
        solution += along * direction
        residual -= along * image
        following = _dot(residual, residual)
        direction = residual + following / np.maximum(size, np.finfo(float).tiny) * direction
        size = following
    return np.asarray((root * solution).sum(axis=1))


def _dot(a: Values, b: Values) -> Values:
    return np.asarray((a * b).sum(axis=(1, 2), keepdims=True))


def column_currents_dense(volts: Values, siemens: Values, wire_ohm: float) -> Values:
    """The same by Kirchhoff's law at each of the two nodes of each cell: slow, for small arrays."""
    rows, columns = siemens.shape
    upper = np.arange(rows * columns).reshape(rows, columns)
    lower = upper + rows * columns
    matrix = np.zeros((2 * rows * columns,) * 2)
    wire = 1 / wire_ohm

    def join(a: int, b: int | None, conductance: float) -> None:
        matrix[a, a] += conductance
        if b is not None:
            matrix[b, b] += conductance
            matrix[a, b] -= conductance
            matrix[b, a] -= conductance

    for r in range(rows):
        for c in range(columns):
            join(upper[r, c], lower[r, c], siemens[r, c])
            join(upper[r, c], upper[r, c - 1] if c else None, wire)
            join(lower[r, c], lower[r + 1, c] if r + 1 < rows else None, wire)
    entering = np.zeros((volts.shape[0], matrix.shape[0]))
    entering[:, upper[:, 0]] = volts * wire
    nodes = np.linalg.solve(matrix, entering.T).T
    return np.asarray(nodes[:, lower[-1]] * wire)
