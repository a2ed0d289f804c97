"""Cascades of one elementwise step each, against numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workloads.cascades import load_cascade
from workloads.einsum import run_cascade

Array = NDArray[np.float64]
RNG = np.random.default_rng(11)
X, F = RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5))
ROWS, COLUMNS = RNG.normal(size=3), RNG.normal(size=5)


def run(name: str, inputs: dict[str, Array], **sizes: int) -> dict[str, Array]:
    return run_cascade(load_cascade(name), inputs, sizes)


def test_each_is_numpys() -> None:
    np.testing.assert_array_equal(run("copy", {"X": X})["Y"], X)
    np.testing.assert_allclose(run("multiply", {"X": X, "F": F})["Y"], X * F)
    np.testing.assert_allclose(run("multiply-rows", {"X": X, "R": ROWS})["Y"], X * ROWS[:, None])
    np.testing.assert_allclose(run("multiply-columns", {"X": X, "G": COLUMNS})["Y"], X * COLUMNS)
    np.testing.assert_allclose(run("row-sums", {"X": X})["S"], X.sum(1))
    np.testing.assert_allclose(run("spread-rows", {"R": ROWS}, d=5)["Y"], np.repeat(ROWS[:, None], 5, axis=1))


def test_the_steps_of_a_norm_make_the_norm() -> None:
    """Square, mean, scale and gain one after the other are what the fused cascade computes."""
    squares = run("multiply", {"X": X, "F": X})["Y"]
    scales = 1 / np.sqrt(run("row-sums", {"X": squares})["S"] / X.shape[1] + 1e-6)
    scaled = run("multiply-rows", {"X": X, "R": scales})["Y"]
    found = run("multiply-columns", {"X": scaled, "G": COLUMNS})["Y"]
    fused = run("rms-norm-statistics", {"X": X, "G": COLUMNS})
    np.testing.assert_allclose(found, fused["Y"], rtol=1e-12)
    np.testing.assert_allclose(scales, fused["R"], rtol=1e-12)


def test_the_steps_of_a_norms_gradient_make_its_gradient() -> None:
    """Through the mean of squares as autograd goes: what comes by the mean is -r^3 sum(dn x) / d times x."""
    scales = 1 / np.sqrt((X**2).mean(1) + 1e-6)
    d_scaled = run("multiply-columns", {"X": F, "G": COLUMNS})["Y"]
    direct = run("multiply-rows", {"X": d_scaled, "R": scales})["Y"]
    d_scales = run("row-sums", {"X": run("multiply", {"X": d_scaled, "F": X})["Y"]})["S"]
    d_means = run("spread-rows", {"R": -(scales**3) * d_scales / (2 * X.shape[1])}, d=X.shape[1])["Y"]
    by_mean = run("multiply", {"X": d_means, "F": 2 * X})["Y"]
    found = run("residual-add", {"X": direct, "F": by_mean})["Y"]
    fused = run("rms-norm-backward", {"X": X, "G": COLUMNS, "R": scales, "DY": F})["DX"]
    np.testing.assert_allclose(found, fused, rtol=1e-9)
