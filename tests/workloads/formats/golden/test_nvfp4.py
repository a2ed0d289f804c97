"""NVFP4's two scales by hand, exhaustively, and as properties."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workloads.errors import InputError
from workloads.formats import FORMATS
from workloads.formats.golden.floats import E2M1, E4M3, decode, steps
from workloads.formats.golden.nvfp4 import (
    Nvfp4Tensor,
    decode_nvfp4,
    encode_nvfp4,
    nvfp4_tensor_scale,
    pack_nvfp4,
)

VALUES = hnp.arrays(np.float64, (2, 32), elements=st.floats(-1e4, 1e4, allow_subnormal=False))


def test_scales_by_hand() -> None:
    values = np.zeros(32)
    values[0] = 448.0 * 6.0
    values[16:20] = [12.0, 6.0, -1.0, 5.0]
    tensor = encode_nvfp4(values)
    assert tensor.tensor_scale == 1.0
    assert decode(tensor.scales, E4M3).tolist() == [448.0, 2.0]
    # Under the scale 2: 6, 3, -0.5 and 2.5, a tie that goes to 2.
    assert decode_nvfp4(tensor)[[0, 16, 17, 18, 19]].tolist() == [2688.0, 12.0, 6.0, -1.0, 4.0]


def test_all_products_of_codes_and_positive_scales() -> None:
    """16 x 126 pairs against the definition."""
    table = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
    scales = np.arange(1, 127)[:, None]
    values = decode_nvfp4(Nvfp4Tensor(np.tile(np.arange(16), (126, 1)), scales, 0.75))
    for code in range(1, 127):
        mantissa, field = code & 7, code >> 3
        scale = (mantissa + (8 if field else 0)) * 2.0 ** (max(field, 1) - 10)
        assert values[code - 1].tolist() == [element * scale * 0.75 for element in table]


def test_against_exact_fractions() -> None:
    """Random tensors: both scales and every element by search through the tables, in exact fractions."""
    random = np.random.default_rng(0)
    values = random.standard_normal((6, 32)) * 2.0 ** random.integers(-3, 3, (6, 1))
    tensor = encode_nvfp4(values)
    decoded = decode_nvfp4(tensor).reshape(-1, 16)
    largest = max(abs(value) for value in values.reshape(-1).tolist())
    assert tensor.tensor_scale == float(np.float32(largest / 2688.0))
    whole = Fraction(tensor.tensor_scale)
    scales = [
        Fraction(mantissa + 8 * (field > 0)) * Fraction(2) ** (max(field, 1) - 10)
        for field in range(16)
        for mantissa in range(8)
    ][:127]
    elements = [Fraction(value) for value in (0, 0.5, 1, 1.5, 2, 3, 4, 6)]

    def nearest(value: Fraction, table: list[Fraction]) -> Fraction:
        return table[min(range(len(table)), key=lambda code: (abs(table[code] - value), code % 2))]

    for row, got in zip(values.reshape(-1, 16).tolist(), decoded.tolist(), strict=True):
        scale = whole * nearest(max(abs(Fraction(value)) for value in row) / 6 / whole, scales)
        expected = [(-1 if value < 0 else 1) * scale * nearest(abs(Fraction(value)) / scale, elements) for value in row]
        assert [Fraction(value) for value in got] == expected


def test_zeros_keep_positive_scales() -> None:
    tensor = encode_nvfp4(np.zeros(32))
    assert (tensor.tensor_scale, tensor.scales.tolist(), decode_nvfp4(tensor).any()) == (1.0, [1, 1], False)


def test_storage_bits_and_packing() -> None:
    tensor = encode_nvfp4(np.ones((4, 64)))
    assert tensor.storage_bits == FORMATS["nvfp4"].bits_per_element * 4 * 64 == 4.5 * 256
    assert pack_nvfp4([[1, 2], [15, 0]]).tolist() == [[0x21], [0x0F]]


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_properties(values: np.ndarray) -> None:
    tensor = encode_nvfp4(values)
    decoded = decode_nvfp4(tensor)
    scale = np.repeat(decode(tensor.scales, E4M3), 16, axis=-1) * tensor.tensor_scale
    inner = values / scale
    in_range = np.abs(inner) <= 6.0
    assert np.all(np.abs(decoded - values)[in_range] <= 0.5 * (steps(inner, E2M1) * scale)[in_range] * (1 + 1e-15))
    # A normal block scale moves by 2^-4 at most, so little is cut off above 6: 6 / (1 - 2^-4) = 6.4.
    normal = np.repeat(tensor.scales, 16, axis=-1) >= 8
    assert np.all(np.abs(inner)[normal] <= 6.4 * (1 + 1e-7))
    # Given the tensor's scale, doing it again changes no block with a normal scale.
    again = decode_nvfp4(encode_nvfp4(decoded, tensor.tensor_scale))
    assert np.array_equal(again[normal], decoded[normal])
    backwards = values.reshape(2, 2, 16)[..., ::-1].reshape(2, 32)
    expected = decoded.reshape(2, 2, 16)[..., ::-1].reshape(2, 32)
    assert np.array_equal(decode_nvfp4(encode_nvfp4(backwards)), expected)
    order = np.argsort(values.reshape(-1, 16), axis=-1)
    assert np.all(np.diff(np.take_along_axis(decoded.reshape(-1, 16), order, axis=-1), axis=-1) >= 0)


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        encode_nvfp4([np.nan] * 16)
    assert str(caught.value) == "values: a value is NaN or infinite; expected finite values"
    with pytest.raises(InputError) as caught:
        encode_nvfp4(np.ones(16), 0.1)
    assert str(caught.value) == "tensor_scale: tensor scale 0.1; expected a positive FP32 number"
    assert nvfp4_tensor_scale([2688.0, -5376.0]) == 2.0
