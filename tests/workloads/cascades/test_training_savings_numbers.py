"""Cascades of training with fewer bits and channels, against numpy, the golden formats and central differences."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from workloads.cascades import load_cascade
from workloads.einsum import operation_counts, run_cascade
from workloads.formats.golden.floats import E2M1, E4M3, decode, encode
from workloads.formats.golden.rotation import hadamard, random_hadamard, random_signs

Array = NDArray[np.float64]


def run(name: str, inputs: dict[str, Array], **sizes: float) -> dict[str, Array]:
    return run_cascade(load_cascade(name), inputs, sizes)


@pytest.mark.parametrize("size", [2, 16, 64])
def test_a_blockwise_transform_is_the_golden_one(size: int) -> None:
    rng = np.random.default_rng(1)
    values, signs = rng.normal(size=(3, 128)), random_signs(128, rng)
    found = run("hadamard", {"X": values, "SG": signs, "H": hadamard(size)}, k=size)["Y"]
    np.testing.assert_allclose(found, random_hadamard(values, signs, size), atol=1e-12)


def test_a_blockwise_transform_cancels_in_a_product() -> None:
    rng = np.random.default_rng(2)
    a, b, signs = rng.normal(size=(4, 64)), rng.normal(size=(5, 64)), random_signs(64, rng)
    turned = [run("hadamard", {"X": x, "SG": signs, "H": hadamard(32)}, k=32)["Y"] for x in (a, b)]
    np.testing.assert_allclose(turned[0] @ turned[1].T, a @ b.T, atol=1e-12)


def test_a_transform_takes_two_operations_for_each_element_and_row_of_its_block() -> None:
    counts = operation_counts(load_cascade("hadamard"), {"t": 8, "n": 256, "k": 64})
    assert sum(counts["YB"].values()) == pytest.approx(2 * 64 * 8 * 256, rel=1 / 64)


def test_rounding_to_a_format_is_the_golden_one() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(4, 64)) * np.exp(rng.normal(size=(4, 64)) * 3)
    expected = decode(encode(np.clip(values / 2, -448, 448), E4M3), E4M3)
    np.testing.assert_array_equal(run("quantise", {"X": values}, scale=2.0)["Y"], expected)


def test_rounding_by_noise_keeps_to_the_grid_and_to_three_quarters_on_average() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(2, 64))
    steps = 512
    total = np.zeros_like(values)
    grid = set(decode(np.arange(16), E2M1).tolist())
    for step in range(steps):
        noise = np.full_like(values, (step + 0.5) / steps)
        found = run("quantise-blocks", {"X": values, "N": noise})
        assert set(np.unique(found["Y"]).tolist()) <= grid
        total += found["Y"] * np.repeat(found["S"], 32, axis=1)
    # Each of the steps of noise moves a number by at most one place of the grid: the largest is 2 of the scale.
    np.testing.assert_allclose(total / steps, 0.75 * values, atol=2 * float(found["S"].max()) / steps)


def channel_inputs() -> dict[str, Array]:
    rng = np.random.default_rng(5)
    return {name: rng.normal(size=(3, 8)) for name in ("G", "U")}


def top_k(gate: Array, up: Array, kept: int) -> Array:
    result = np.zeros_like(gate)
    for row in range(len(gate)):
        for channel in np.argsort(-gate[row], kind="stable")[:kept]:
            result[row, channel] = gate[row, channel] / (1 + np.exp(-gate[row, channel])) * up[row, channel]
    return result


@pytest.mark.parametrize("kept", [1, 3, 8])
def test_the_largest_gates_go_on(kept: int) -> None:
    v = channel_inputs()
    found = run("swiglu-top-k", v, k=kept)
    np.testing.assert_allclose(found["H"], top_k(v["G"], v["U"], kept), atol=1e-12)
    picked = {name: found[name] for name in ("GK", "UK", "CI")}
    np.testing.assert_allclose(run("swiglu-top-k-again", picked, s=8)["H"], found["H"], atol=1e-12)
    back = run("channels-back", {"ZK": found["ZK"], "CI": found["CI"]}, s=8)["H"]
    np.testing.assert_allclose(back, found["H"], atol=1e-12)


@pytest.mark.parametrize("kept", [1, 3, 8])
def test_gradients_of_the_channels_kept(kept: int) -> None:
    v = channel_inputs()
    weight = np.random.default_rng(6).normal(size=(3, 8))
    picked = {name: run("swiglu-top-k", v, k=kept)[name] for name in ("GK", "UK", "CI")}
    found = run("swiglu-top-k-backward", picked | {"DH": weight})
    for name in "GU":
        expected = np.zeros_like(weight)
        for place in np.ndindex(weight.shape):
            moved = [v | {name: v[name] + step * (np.arange(24).reshape(3, 8) == place[0] * 8 + place[1])}
                     for step in (1e-6, -1e-6)]  # fmt: skip
            sides = [float((top_k(w["G"], w["U"], kept) * weight).sum()) for w in moved]
            expected[place] = (sides[0] - sides[1]) / 2e-6
        np.testing.assert_allclose(found[f"D{name}"], expected, rtol=1e-5, atol=1e-6)
