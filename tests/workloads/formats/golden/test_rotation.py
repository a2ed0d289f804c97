"""Hadamard transforms that cancel, and roundings whose mean is the value."""

from __future__ import annotations

import numpy as np
import pytest

from workloads.errors import InputError
from workloads.formats.golden.floats import E2M1, decode
from workloads.formats.golden.microscaling import decode_mx, encode_mx
from workloads.formats.golden.rotation import (
    CLIP_MARGIN,
    encode_mxfp4_stochastic,
    encode_stochastic,
    hadamard,
    random_hadamard,
    random_signs,
)


@pytest.mark.parametrize("size", [1, 2, 32, 256])
def test_orthonormal_and_flat(size: int) -> None:
    matrix = hadamard(size)
    assert np.allclose(matrix @ matrix.T, np.eye(size), atol=1e-12)
    assert np.allclose(np.abs(matrix), size**-0.5)


def test_products_are_unchanged() -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((8, 256)), random.standard_normal((16, 256))
    signs = random_signs(256, random)
    assert set(signs.tolist()) == {-1.0, 1.0}
    rotated = random_hadamard(a, signs, 64) @ random_hadamard(b, signs, 64).T
    assert np.allclose(rotated, a @ b.T, atol=1e-10)


def test_a_lone_outlier_is_spread_evenly() -> None:
    values = np.zeros(64)
    values[5] = 80.0
    assert np.allclose(np.abs(random_hadamard(values, np.ones(64), 64)), 10.0)


def test_element_rounding_is_unbiased() -> None:
    """Each mean of n draws within 5 standard errors; at most half a step of 2 is one draw's deviation."""
    random = np.random.default_rng(1)
    values = np.array([0.0, 0.1, -0.3, 0.5, 0.8, 1.1, -1.6, 2.2, 3.9, -4.5, 5.9, 6.0])
    draws = 20_000
    got = decode(encode_stochastic(np.tile(values, (draws, 1)), E2M1, random), E2M1)
    table = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    for column, value in enumerate(np.abs(values)):
        below, above = table[table <= value].max(), table[table >= value].min()
        assert set(np.abs(got[:, column]).tolist()) <= {float(below), float(above)}
        deviation = np.sqrt((value - below) * (above - value))
        assert abs(np.abs(got[:, column]).mean() - value) <= 5 * deviation / np.sqrt(draws)
    assert np.array_equal(np.signbit(got[0]), np.signbit(values))


def test_mxfp4_is_unbiased_where_nearest_is_not() -> None:
    """The largest of a block at 7.9 of its scale: nearest clips it to 6 always; the stochastic mean is 3/4 of it."""
    random = np.random.default_rng(2)
    values = np.linspace(-7.9, 7.9, 32)
    draws = 20_000
    got = decode_mx(encode_mxfp4_stochastic(np.tile(values, (draws, 1)), random))
    # One draw deviates by at most half of E2M1's widest step, 2.
    assert np.all(np.abs(got.mean(axis=0) - CLIP_MARGIN * values) <= 5 * 1.0 / np.sqrt(draws))
    assert np.abs(got).max() <= 6.0
    nearest = decode_mx(encode_mx(values, "mxfp4"))
    assert nearest[-1] - values[-1] == pytest.approx(-1.9)


def test_a_product_is_estimated_at_nine_sixteenths() -> None:
    random = np.random.default_rng(3)
    a, b = random.standard_normal(128), random.standard_normal(128)
    signs = random_signs(128, random)
    left, right = random_hadamard(a, signs, 32), random_hadamard(b, signs, 32)
    draws = 4_000
    products = np.sum(
        decode_mx(encode_mxfp4_stochastic(np.tile(left, (draws, 1)), random))
        * decode_mx(encode_mxfp4_stochastic(np.tile(right, (draws, 1)), random)),
        axis=-1,
    )
    error = products.mean() / CLIP_MARGIN**2 - a @ b
    assert abs(error) <= 5 * products.std() / CLIP_MARGIN**2 / np.sqrt(draws)


def test_rotation_lowers_the_variance_under_scattered_outliers() -> None:
    """The paper's setting (its figure on variance): normal values, a few of which get a far wider normal added."""
    random = np.random.default_rng(4)
    shape = (400, 512)
    a, b = (
        random.standard_normal(shape) + (random.random(shape) < 0.05) * random.standard_normal(shape) * 5.0
        for _ in range(2)
    )
    signs = random_signs(512, random)

    def variance(left: np.ndarray, right: np.ndarray) -> float:
        codes = encode_mxfp4_stochastic(left, random), encode_mxfp4_stochastic(right, random)
        products = np.sum(decode_mx(codes[0]) * decode_mx(codes[1]), axis=-1) / CLIP_MARGIN**2
        return float(np.mean((products - np.sum(a * b, axis=-1)) ** 2))

    assert variance(random_hadamard(a, signs, 64), random_hadamard(b, signs, 64)) < variance(a, b)


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        hadamard(48)
    assert str(caught.value) == "size: size 48; expected a power of two"
