"""Group-wise integers: by hand, properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workloads.errors import InputError
from workloads.formats import FORMATS
from workloads.formats.golden.integers import decode_integers, encode_integers, quantize_with

VALUES = hnp.arrays(np.float64, (2, 64), elements=st.floats(-1000, 1000, allow_subnormal=False))


def test_symmetric_by_hand() -> None:
    # Largest 7 over 7 levels: scale 1; ties go to even.
    tensor = encode_integers([7.0, -7.0, 2.5, 3.5], 4, group=4, symmetric=True)
    assert (tensor.scales.tolist(), tensor.codes.tolist()) == ([1.0], [7, -7, 2, 4])


def test_asymmetric_by_hand() -> None:
    # From -5 to 10 over 15 levels: scale 1, zero point 5.
    tensor = encode_integers([-5.0, 10.0, 0.0, 3.2], 4, group=4)
    assert tensor.zeros is not None
    assert (tensor.scales.tolist(), tensor.zeros.tolist(), tensor.codes.tolist()) == ([1.0], [5], [0, 15, 5, 8])
    assert decode_integers(tensor).tolist() == [-5.0, 10.0, 0.0, 3.0]


def test_the_range_spans_zero() -> None:
    # 10..25 has room for a finer scale, but zero must stay representable: scale 25/15 = 1.6667 in half precision.
    tensor = encode_integers([10.0, 25.0], 4, group=2)
    assert tensor.zeros is not None
    assert (tensor.scales.tolist(), tensor.zeros.tolist()) == ([float(np.float16(25 / 15))], [0])


@pytest.mark.parametrize(
    ("name", "bits", "group", "symmetric"),
    [
        ("int8_g128", 8, 128, True),
        ("int4_g128", 4, 128, False),
        ("int3_g128", 3, 128, False),
        ("int2_g64", 2, 64, False),
    ],
)
def test_storage_bits(name: str, bits: int, group: int, symmetric: bool) -> None:
    tensor = encode_integers(np.ones((3, 256)), bits, group, symmetric=symmetric)
    assert tensor.storage_bits == FORMATS[name].bits_per_element * 3 * 256


@settings(max_examples=40, deadline=None)
@given(VALUES, st.integers(2, 8), st.booleans())
def test_properties(values: np.ndarray, bits: int, symmetric: bool) -> None:
    tensor = encode_integers(values, bits, 32, symmetric=symmetric)
    decoded = decode_integers(tensor)
    again = quantize_with(decoded, tensor.scales, tensor.zeros, bits, 32)
    assert np.array_equal(again.codes, tensor.codes)
    scale = np.repeat(tensor.scales, 32, axis=-1)
    zero = 0 if tensor.zeros is None else np.repeat(tensor.zeros, 32, axis=-1)
    low, high = (-(1 << (bits - 1)) + 1, (1 << (bits - 1)) - 1) if symmetric else (0, (1 << bits) - 1)
    in_range = (values >= (low - zero) * scale) & (values <= (high - zero) * scale)
    assert np.all(np.abs(decoded - values)[in_range] <= scale[in_range] / 2 * (1 + 1e-12))
    # Outside it, half precision's rounding of the scale and the zero point's rounding cost less than one step more.
    normal = scale > 2.0**-14
    assert np.all((np.abs(decoded - values) <= scale * 1.5)[normal])
    order = np.argsort(values.reshape(-1, 32), axis=-1)
    assert np.all(np.diff(np.take_along_axis(decoded.reshape(-1, 32), order, axis=-1), axis=-1) >= 0)
    backwards = encode_integers(values[:, ::-1], bits, 32, symmetric=symmetric)
    assert np.array_equal(decode_integers(backwards), decoded[:, ::-1])
    if symmetric:
        mirrored = decode_integers(encode_integers(-values, bits, 32, symmetric=True))
        assert np.array_equal(mirrored, -decoded)
    else:
        assert np.array_equal(decoded[values == 0.0], values[values == 0.0])


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        encode_integers(np.ones(128), 9)
    assert str(caught.value) == "bits: 9 bits; expected 2 to 8"
