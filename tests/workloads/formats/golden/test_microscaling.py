"""OCP Microscaling blocks: the scale rule by hand, bounds, and what must not change the result."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workloads.errors import InputError
from workloads.formats import FORMATS
from workloads.formats.golden.floats import decode, steps
from workloads.formats.golden.microscaling import (
    MX_ELEMENTS,
    MxTensor,
    decode_e8m0,
    decode_mx,
    encode_e8m0,
    encode_mx,
    mx_scales,
)

VALUES = hnp.arrays(np.float64, (2, 64), elements=st.floats(-1e30, 1e30, allow_subnormal=False))
NAMES = list(MX_ELEMENTS)


def block(*values: float) -> np.ndarray:
    return np.array([*values, *[0.0] * (32 - len(values))])


def test_all_e8m0_codes() -> None:
    codes = np.arange(256)
    values = decode_e8m0(codes)
    assert values[:255].tolist() == [2.0 ** (code - 127) for code in range(255)]
    assert math.isnan(values[255])
    assert encode_e8m0(values).tolist() == codes.tolist()


def slow_block(values: list[float], element: str) -> list[Fraction]:
    """One block in exact fractions: the scale by counting powers of two, elements by searching the whole table."""
    bits, emax, step = {
        "mxfp4": (4, 2, None),
        "mxfp6_e2m3": (6, 2, None),
        "mxfp6_e3m2": (6, 4, None),
        "mxint8": (8, 0, Fraction(1, 64)),
    }[element]
    largest = max(abs(Fraction(value)) for value in values)
    exponent = 0
    while largest >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while largest < Fraction(2) ** exponent:
        exponent -= 1
    scale = Fraction(2) ** (exponent - emax)
    if step is None:
        fmt = MX_ELEMENTS[element]
        table = [Fraction(value) for value in decode(range(1 << (bits - 1)), fmt).tolist()]
    else:
        table = [step * code for code in range(128)]
    decoded = []
    for value in values:
        inner = abs(Fraction(value)) / scale
        # Of two equally near numbers the one with the even code comes first.
        code = min(range(len(table)), key=lambda code: (abs(table[code] - inner), code % 2))
        decoded.append((-1 if value < 0 else 1) * table[code] * scale)
    return decoded


@pytest.mark.parametrize("element", ["mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "mxint8"])
def test_against_exact_fractions(element: str) -> None:
    """Random blocks, and blocks on a coarse grid, which are full of ties."""
    random = np.random.default_rng(0)
    values = random.standard_normal((24, 32)) * 2.0 ** random.integers(-20, 20, (24, 1))
    values[12:] = random.integers(-255, 256, (12, 32)) / 32.0
    decoded = decode_mx(encode_mx(values, element))
    for row, got in zip(values.tolist(), decoded.tolist(), strict=True):
        assert [Fraction(value) for value in got] == slow_block(row, element)


def test_the_e8m0_cast_rounds_ties_up_and_has_no_zero() -> None:
    cast = decode_e8m0(encode_e8m0([1.5, 2.9, 3.0, 1e300, 1e-300, math.inf, 0.0, -1.0]))
    assert cast[:6].tolist() == [2.0, 2.0, 4.0, 2.0**127, 2.0**-127, 2.0**127]
    assert np.isnan(cast[6:]).all()


@pytest.mark.parametrize(
    ("element", "largest", "exponent"),
    [
        # floor(log2 largest) - emax by hand; 7.9 and 4 lie in one binade, and floor differs from rounding at 7.9.
        ("mxfp4", 4.0, 0),
        ("mxfp4", 7.9, 0),
        ("mxfp4", 8.0, 1),
        ("mxfp4", 0.03, -8),
        ("mxfp6_e2m3", 1.0, -2),
        ("mxfp6_e3m2", 1.0, -4),
        ("mxfp8_e4m3", 1.0, -8),
        ("mxfp8_e5m2", 1.0, -15),
        ("mxint8", 1.0, 0),
        ("mxint8", 1.99, 0),
        ("mxint8", 2.0, 1),
        ("mxfp4", 2.0**-126, -127),
        ("mxfp4", 0.0, -127),
    ],
)
def test_the_scale_is_a_floor(element: str, largest: float, exponent: int) -> None:
    assert mx_scales(block(0.0, -largest), element).tolist() == [exponent + 127]


def test_elements_by_hand() -> None:
    # Scale 1: 7.9 saturates at 6, 2.5 is a tie between 2 and 3 (2 is even), 0.25 ties to 0.
    got = decode_mx(encode_mx(block(7.9, 2.5, -0.25, 0.26, 5.1), "mxfp4"))
    assert got[:5].tolist() == [6.0, 2.0, -0.0, 0.5, 6.0]
    # Scale 1/64 steps: 1.999 would round to 2, which the symmetric range clips to 127/64.
    got = decode_mx(encode_mx(block(1.999, -1.999, 1 / 128, 3 / 128), "mxint8"))
    assert got[:4].tolist() == [127 / 64, -127 / 64, 0.0, 2 / 64]


def test_all_int8_codes() -> None:
    codes = np.arange(256).reshape(8, 32)
    values = decode_mx(MxTensor("mxint8", codes, np.full((8, 1), 127)))
    assert values.reshape(-1).tolist() == [(code if code < 128 else code - 256) / 64 for code in range(256)]


def test_all_products_of_fp4_codes_and_scales() -> None:
    """16 x 256 = 4,096 pairs against the definition."""
    table = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
    codes = np.tile(np.arange(16), (256, 2))
    values = decode_mx(MxTensor("mxfp4", codes, np.arange(256)[:, None]))
    for scale in range(255):
        assert values[scale, :16].tolist() == [math.ldexp(element, scale - 127) for element in table]
    assert np.isnan(values[255]).all()


def test_nan_and_infinity_spoil_their_block_only() -> None:
    values = np.ones((3, 64))
    values[0, 3], values[1, 40] = math.nan, math.inf
    got = decode_mx(encode_mx(values, "mxfp8_e4m3"))
    assert np.isnan(got).reshape(3, 2, 32).all(axis=-1).tolist() == [[True, False], [False, True], [False, False]]
    assert np.isnan(got).sum() == 64


@pytest.mark.parametrize("element", NAMES)
def test_storage_bits(element: str) -> None:
    name = element.split("_")[0]
    tensor = encode_mx(np.ones((4, 128)), element)
    assert tensor.storage_bits == FORMATS[name].bits_per_element * 4 * 128


@settings(max_examples=30, deadline=None)
@given(VALUES, st.sampled_from(NAMES), st.randoms(use_true_random=False))
def test_properties(values: np.ndarray, element: str, random: object) -> None:
    tensor = encode_mx(values, element)
    decoded = decode_mx(tensor)
    # Nothing more is lost by doing it again.
    again = encode_mx(decoded, element)
    assert np.array_equal(decode_mx(again), decoded)
    # Half a step at most, where the element does not saturate.
    scale = np.repeat(decode_e8m0(tensor.scales), 32, axis=-1)
    fmt = MX_ELEMENTS[element]
    inner = values / scale
    in_range = np.abs(inner) <= (fmt.maximum if fmt else 127 / 64)
    half = steps(inner, fmt) / 2 if fmt else np.full(inner.shape, 1 / 128)
    assert np.all(np.abs(decoded - values)[in_range] <= (half * scale)[in_range])
    assert np.all(np.abs(decoded) <= np.abs(values) + half * scale)
    # Larger values in a block never become smaller ones.
    order = np.argsort(values.reshape(-1, 32), axis=-1)
    assert np.all(np.diff(np.take_along_axis(decoded.reshape(-1, 32), order, axis=-1), axis=-1) >= 0)
    # The order within a block is of no concern.
    permutation = list(range(32))
    random.shuffle(permutation)  # type: ignore[attr-defined]
    shuffled = values.reshape(2, 2, 32)[..., permutation].reshape(2, 64)
    assert np.array_equal(
        decode_mx(encode_mx(shuffled, element)), decoded.reshape(2, 2, 32)[..., permutation].reshape(2, 64)
    )


def test_wrong_shapes_and_names() -> None:
    with pytest.raises(InputError) as caught:
        encode_mx(np.ones(33), "mxfp4")
    assert str(caught.value) == "values: the last axis has 33 values; expected a positive multiple of the block of 32"
    with pytest.raises(InputError, match="unknown MX format 'mxfp5'"):
        encode_mx(np.ones(32), "mxfp5")
