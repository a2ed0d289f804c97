"""Bit streams and checkpoint words, by hand and there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.formats.golden.packing import (
    AWQ_ORDER,
    dequantize,
    pack_awq,
    pack_bits,
    pack_gptq_weights,
    pack_gptq_zeros,
    unpack_awq,
    unpack_bits,
    unpack_gptq_weights,
    unpack_gptq_zeros,
)


@settings(deadline=None)
@given(st.integers(1, 8), st.lists(st.integers(0, 255), max_size=40))
def test_streams_have_no_padding(bits: int, values: list[int]) -> None:
    codes = [value % (1 << bits) for value in values]
    data = pack_bits(codes, bits)
    number = sum(code << (bits * index) for index, code in enumerate(codes))
    assert data.size == -(-len(codes) * bits // 8)
    assert int.from_bytes(data.tobytes(), "little") == number
    assert unpack_bits(data, bits, len(codes)).tolist() == codes


def test_gptq_words_by_hand() -> None:
    codes = np.array([[1, 9], [2, 0], [3, 0], [4, 0], [5, 0], [6, 0], [7, 0], [8, 15]])
    assert [hex(word) for word in pack_gptq_weights(codes)[0]] == ["0x87654321", "0xf0000009"]
    # Zero points of 8 are stored as sevens in the first version of the layout.
    assert [hex(word) for word in pack_gptq_zeros(np.full((1, 8), 8))[0]] == ["0x77777777"]
    assert [hex(word) for word in pack_gptq_zeros(np.full((1, 8), 8), minus_one=False)[0]] == ["0x88888888"]


def test_awq_words_by_hand() -> None:
    codes = np.arange(8)[None]
    assert hex(int(pack_awq(codes)[0, 0])) == "0x75316420"
    # Undoing it reads column c from nibble (0, 4, 1, 5, 2, 6, 3, 7)[c].
    assert [AWQ_ORDER.index(column) for column in range(8)] == [0, 4, 1, 5, 2, 6, 3, 7]
    assert unpack_awq(pack_awq(codes)).tolist() == codes.tolist()


def test_there_and_back_also_from_signed_words() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 16, (64, 24))
    assert np.array_equal(unpack_gptq_weights(pack_gptq_weights(codes).view(np.int32)), codes)
    assert np.array_equal(unpack_awq(pack_awq(codes).view(np.int32)), codes)
    zeros = random.integers(1, 17, (2, 24))
    assert np.array_equal(unpack_gptq_zeros(pack_gptq_zeros(zeros).view(np.int32)), zeros)
    plain = zeros - 1
    assert np.array_equal(unpack_gptq_zeros(pack_gptq_zeros(plain, minus_one=False), minus_one=False), plain)


def test_both_layouts_mean_the_same_weights() -> None:
    random = np.random.default_rng(1)
    codes, zeros = random.integers(0, 16, (256, 16)), random.integers(1, 16, (2, 16))
    scales = random.random((2, 16)).astype(np.float16).astype(np.float64)
    weights = dequantize(codes, zeros, scales, 128)
    for row, column in ((0, 0), (127, 3), (128, 3), (255, 15)):
        group = row // 128
        assert weights[row, column] == scales[group, column] * (codes[row, column] - zeros[group, column])
    gptq = dequantize(
        unpack_gptq_weights(pack_gptq_weights(codes)), unpack_gptq_zeros(pack_gptq_zeros(zeros)), scales, 128
    )
    awq = dequantize(unpack_awq(pack_awq(codes)), unpack_awq(pack_awq(zeros)), scales, 128)
    assert np.array_equal(gptq, weights)
    assert np.array_equal(awq, weights)


def test_bits_per_weight() -> None:
    """Group 128: 4 bits, and 16 of scale and 4 of zero point per 128: 4.15625."""
    codes, zeros = np.ones((256, 8)), np.ones((2, 8))
    bits = 32 * (pack_gptq_weights(codes).size + pack_gptq_zeros(zeros).size) + 16 * zeros.size
    assert bits / codes.size == 4.15625


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        pack_awq(np.zeros((2, 12)))
    assert str(caught.value) == "codes: shape (2, 12); expected two axes, the packed one a multiple of 8"
    with pytest.raises(InputError) as caught:
        pack_gptq_zeros(np.zeros((1, 8)))
    assert str(caught.value) == "codes: a code has more than 4 bits; expected 0 to 15"
    with pytest.raises(InputError) as caught:
        unpack_bits([1], 3, 4)
    assert str(caught.value) == "data: 8 bits are too few for 4 codes; expected 12 bits"
    with pytest.raises(InputError) as caught:
        dequantize(np.zeros((4, 8)), np.zeros((2, 8)), np.zeros((2, 7)), 2)
    assert str(caught.value) == "scales: shape (2, 7); expected (2, 8)"
