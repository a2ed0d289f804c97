"""Bipolar integers: values by their definition, one-bit products equal to integer ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.formats.golden.bipolar import bipolar_codes, bipolar_dot, bipolar_planes, bipolar_values


@pytest.mark.parametrize("bits", range(1, 9))
def test_values_are_the_sum_over_planes(bits: int) -> None:
    values = bipolar_values(range(1 << bits), bits)
    expected = [sum((2 * (code >> i & 1) - 1) << i for i in range(bits)) for code in range(1 << bits)]
    assert values.tolist() == expected
    assert values.tolist() == list(range(-(1 << bits) + 1, 1 << bits, 2))
    assert bipolar_codes(values, bits).tolist() == list(range(1 << bits))


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_products_are_exact(bits_a: int, bits_b: int, length: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.integers(0, 1 << bits_a, (3, length)), random.integers(0, 1 << bits_b, (4, length))
    got = bipolar_dot(bipolar_planes(a, bits_a), bipolar_planes(b, bits_b), length)
    assert np.array_equal(got, bipolar_values(a, bits_a) @ bipolar_values(b, bits_b).T)


@settings(deadline=None)
@given(st.floats(-20, 20), st.integers(1, 4))
def test_nearest_odd_number(value: float, bits: int) -> None:
    limit = (1 << bits) - 1
    got = int(bipolar_values(bipolar_codes(value, bits), bits))
    assert got % 2 == 1
    assert abs(got) <= limit
    nearest = min(abs(value - odd) for odd in range(-limit, limit + 1, 2))
    assert abs(value - got) == pytest.approx(nearest, abs=1e-12)


def test_storage_is_the_bits_alone() -> None:
    assert bipolar_planes(np.zeros((4, 64)), 3).size * 8 == 3 * 4 * 64


def test_ties_and_scale() -> None:
    # -2, 0 and 2 lie between odd numbers with codes 0|1, 1|2, 2|3: the even code is taken.
    assert bipolar_codes([-2.0, 0.0, 2.0], 2).tolist() == [0, 2, 2]
    assert bipolar_codes([0.3, -0.1], 2, 0.1).tolist() == [3, 1]


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        bipolar_dot(np.zeros((1, 2, 1), np.uint8), np.zeros((1, 2, 2), np.uint8), 9)
    assert str(caught.value) == "a: planes have the shape (1, 2, 1); expected (bits, rows, 2)"
