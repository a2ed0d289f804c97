"""Cascades of attention in separate kernels, against numpy and central differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workloads.cascades import load_cascade
from workloads.einsum import run_cascade

Array = NDArray[np.float64]


def softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_gradient_of_a_softmax_is_the_central_difference() -> None:
    rng = np.random.default_rng(1)
    scores, comes = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    found = run_cascade(load_cascade("softmax-backward"), {"Y": softmax(scores), "DY": comes}, {})["DX"]
    step = 1e-5
    for place in np.ndindex(scores.shape):
        moved = np.zeros_like(scores)
        moved[place] = step
        slope = (comes * (softmax(scores + moved) - softmax(scores - moved))).sum() / (2 * step)
        assert abs(found[place] - slope) < 1e-8


def test_dropout_keeps_what_was_drawn() -> None:
    rng = np.random.default_rng(2)
    values, residual = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    drawn = np.where(rng.random((4, 6)) < 0.9, 1 / 0.9, 0.0)
    found = run_cascade(load_cascade("dropout"), {"X": values, "F": drawn}, {})
    np.testing.assert_allclose(found["Y"], values * drawn)
    np.testing.assert_array_equal(found["M"], drawn)
    found = run_cascade(load_cascade("dropout-add"), {"X": values, "F": drawn, "R": residual}, {})
    np.testing.assert_allclose(found["S"], values * drawn + residual)
    np.testing.assert_array_equal(found["M"], drawn)
