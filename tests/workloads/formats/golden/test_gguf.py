"""GGUF blocks byte by byte: against slow decoders written as loops, and bytes laid out by hand."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workloads.errors import InputError
from workloads.formats import FORMATS
from workloads.formats.golden.gguf import (
    Q4_0_BYTES,
    Q4_K_BYTES,
    Q8_0_BYTES,
    decode_q4_0,
    decode_q4_k,
    decode_q8_0,
    encode_q4_0,
    encode_q4_k,
    encode_q8_0,
)

SINGLE = np.float32
VALUES = hnp.arrays(
    np.float64,
    (2, 64),
    elements=st.floats(-1000, 1000, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3),
)


def half(scale: float) -> bytes:
    return struct.pack("<e", scale)


def scales_and_minima(packed: bytes) -> list[tuple[int, int]]:
    """The twelve bytes read as one number per field, following the layout's picture."""
    pairs = []
    for j in range(8):
        if j < 4:
            pairs.append((packed[j] % 64, packed[j + 4] % 64))
        else:
            scale = packed[j + 4] % 16 + 16 * (packed[j - 4] // 64)
            minimum = packed[j + 4] // 16 + 16 * (packed[j] // 64)
            pairs.append((scale, minimum))
    return pairs


def slow_q4_k(block: bytes) -> list[float]:
    d, dmin = struct.unpack("<ee", block[:4])
    values = []
    for j, (scale, minimum) in enumerate(scales_and_minima(block[4:16])):
        quarter = block[16 + 32 * (j // 2) : 48 + 32 * (j // 2)]
        for byte in quarter:
            q = byte % 16 if j % 2 == 0 else byte // 16
            step, offset = SINGLE(d) * SINGLE(scale), SINGLE(dmin) * SINGLE(minimum)
            values.append(float(step * SINGLE(q) - offset))
    return values


def test_q8_0_by_hand() -> None:
    # Largest 127 over 127: d = 1; halves go away from zero.
    values = [127.0, -127.0, 0.5, -0.5, 2.5, 2.4] + [0.0] * 26
    data = encode_q8_0(values)
    assert data.tobytes() == half(1.0) + struct.pack("32b", 127, -127, 1, -1, 3, 2, *[0] * 26)
    assert decode_q8_0(data)[:6].tolist() == [127, -127, 1, -1, 3, 2]


def test_q4_0_by_hand() -> None:
    # The largest magnitude, -8, makes d = 1; +8 would be code 16 and is cut to 15, worth 7; halves go up.
    values = [-8.0, 8.0, 1.0, 0.5, -0.5, *[0.0] * 11, 3.0, *[0.0] * 15]
    data = encode_q4_0(values).tobytes()
    low = [0, 15, 9, 9, 8] + [8] * 11
    high = [11] + [8] * 15
    assert data == half(1.0) + bytes(a + 16 * b for a, b in zip(low, high, strict=True))
    decoded = decode_q4_0(np.frombuffer(data, np.uint8)[None])
    assert decoded[[0, 1, 2, 3, 4, 16]].tolist() == [-8, 7, 1, 1, 0, 3]


def test_q4_0_the_first_of_the_largest_decides_the_sign() -> None:
    assert encode_q4_0([4.0, -4.0] + [0.0] * 30)[0, :2].tobytes() == half(-0.5)
    assert encode_q4_0([-4.0, 4.0] + [0.0] * 30)[0, :2].tobytes() == half(0.5)


def test_zeros_have_scale_zero() -> None:
    assert decode_q8_0(encode_q8_0(np.zeros(32))).tolist() == [0.0] * 32
    assert decode_q4_k(encode_q4_k(np.zeros(256))).tolist() == [0.0] * 256
    data = encode_q4_0(np.zeros(32))
    assert data[0, 2:].tolist() == [0x88] * 16
    assert decode_q4_0(data).tolist() == [0.0] * 32


def test_every_q8_0_and_q4_0_code() -> None:
    blocks = np.arange(256, dtype=np.uint8).reshape(8, 32)
    scale = np.tile(np.frombuffer(half(0.375), np.uint8), (8, 1))
    signed = [code if code < 128 else code - 256 for code in range(256)]
    assert decode_q8_0(np.concatenate([scale, blocks], axis=1)).tolist() == [0.375 * code for code in signed]
    blocks = np.arange(256, dtype=np.uint8).reshape(16, 16)
    scale = np.tile(np.frombuffer(half(-2.5), np.uint8), (16, 1))
    decoded = decode_q4_0(np.concatenate([scale, blocks], axis=1)).reshape(16, 2, 16)
    for byte in range(256):
        assert decoded[byte // 16, :, byte % 16].tolist() == [-2.5 * (byte % 16 - 8), -2.5 * (byte // 16 - 8)]


def test_q4_k_by_hand() -> None:
    """Sub-blocks 0 and 5 alone: scales 63 and 0b110101, minima 1 and 0b101110."""
    packed = bytearray(12)
    packed[0], packed[4] = 63, 1
    packed[9] = 0b0101 | 0b1110 << 4
    packed[1] |= 0b11 << 6
    packed[5] |= 0b10 << 6
    codes = bytearray(128)
    codes[0] = 0x0F
    codes[64 + 3] = 0x70
    block = half(0.5) + half(2.0) + bytes(packed) + bytes(codes)
    assert scales_and_minima(bytes(packed))[0] == (63, 1)
    assert scales_and_minima(bytes(packed))[5] == (0b110101, 0b101110)
    decoded = decode_q4_k(np.frombuffer(block, np.uint8)[None])
    assert decoded[0] == 0.5 * 63 * 15 - 2.0 * 1
    assert decoded[1] == -2.0
    assert decoded[5 * 32 + 3] == 0.5 * 53 * 7 - 2.0 * 46
    assert decoded[32:64].tolist() == [0.0] * 32


def test_q4_k_against_the_slow_decoder() -> None:
    random = np.random.default_rng(0)
    data = random.integers(0, 256, (50, Q4_K_BYTES), dtype=np.uint8)
    data[:, :4] = (random.standard_normal((50, 2)) * 0.01).astype("<f2").view(np.uint8)
    decoded = decode_q4_k(data).reshape(50, 256)
    for row, block in zip(decoded, data, strict=True):
        assert row.tolist() == slow_q4_k(block.tobytes())


def test_q4_k_encoder_finds_the_scales_that_made_the_values() -> None:
    """Steps that are powers of two, a scale and a minimum of 63 in each block, both ends of each sub-block's range."""
    random = np.random.default_rng(2)
    d, dmin = 2.0**-6, 2.0**-9
    scales, minima = random.integers(1, 64, (20, 8)), random.integers(0, 64, (20, 8))
    scales[:, 3] = minima[:, 6] = 63
    codes = random.integers(0, 16, (20, 8, 32))
    codes[..., 0], codes[..., 31] = 0, 15
    values = d * scales[..., None] * codes - dmin * minima[..., None]
    data = encode_q4_k(values.reshape(20, 256))
    assert data.shape == (20, 1, Q4_K_BYTES)
    for block, wanted_scales, wanted_minima in zip(data[:, 0], scales, minima, strict=True):
        assert block[:4].tobytes() == half(d) + half(dmin)
        pairs = list(zip(wanted_scales.tolist(), wanted_minima.tolist(), strict=True))
        assert scales_and_minima(block[4:16].tobytes()) == pairs
    assert np.array_equal(decode_q4_k(data), values.reshape(20, 256))


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float64, (2, 256), elements=st.floats(-1000, 1000, width=32)))
def test_q4_k_errors_are_those_of_its_steps(values: np.ndarray) -> None:
    """Half a step, and what 6-bit scales and minima miss: fifteen times the scale's error and once the minimum's."""
    data = encode_q4_k(values)
    for row, wanted in zip(data[:, 0], values, strict=True):
        d, dmin = struct.unpack("<ee", row[:4].tobytes())
        decoded = np.array(slow_q4_k(row.tobytes())).reshape(8, 32)
        for (scale, minimum), found, cut in zip(
            scales_and_minima(row[4:16].tobytes()), decoded, wanted.reshape(8, 32), strict=True
        ):
            lowest = min(cut.min(), 0.0)
            step = (max(cut.max(), 0.0) - lowest) / 15
            missed = 15 * abs(d * scale - step) + abs(dmin * minimum + lowest)
            assert np.all(np.abs(found - cut) <= d * scale / 2 + missed + 1e-6 * np.abs(cut).max())


def test_storage_bits() -> None:
    assert FORMATS["q8_0"].bits_per_element == Q8_0_BYTES * 8 / 32 == encode_q8_0(np.ones(64)).size * 8 / 64
    assert FORMATS["q4_0"].bits_per_element == Q4_0_BYTES * 8 / 32 == encode_q4_0(np.ones(64)).size * 8 / 64
    assert FORMATS["q4_k"].bits_per_element == Q4_K_BYTES * 8 / 256 == encode_q4_k(np.ones(512)).size * 8 / 512


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_properties(values: np.ndarray) -> None:
    for encode, decode, levels in ((encode_q8_0, decode_q8_0, 127), (encode_q4_0, decode_q4_0, 8)):
        data = encode(values)
        decoded = decode(data)
        assert data.shape == (2, 2, 34 if levels == 127 else 18)
        assert np.array_equal(decode(encode(decoded)), decoded)
        step = np.repeat(np.abs(values.reshape(2, 2, 32)).max(axis=-1), 32, axis=-1).reshape(2, 64) / levels
        # Half precision's rounding of the scale adds levels * 2^-11 of a step; the code 16 of Q4_0 is cut to 15.
        slack = 0.5 + levels * 2.0**-11 + 1e-4
        assert np.all(np.abs(decoded - values) <= step * (slack if levels == 127 else 1.0 + slack - 0.5))
    assert np.array_equal(decode_q8_0(encode_q8_0(values[:, ::-1])), decode_q8_0(encode_q8_0(values))[:, ::-1])


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        decode_q4_0(np.zeros((2, 17), dtype=np.uint8))
    assert str(caught.value) == "data: blocks have the shape (2, 17); expected (..., blocks, 18)"
    with pytest.raises(InputError) as caught:
        encode_q8_0([1e9] * 32)
    assert str(caught.value) == "values: a scale is beyond half precision; expected values below 65520 scales"
    with pytest.raises(InputError) as caught:
        encode_q4_k([1e9] * 256)
    assert str(caught.value) == "values: a scale is beyond half precision; expected values below 65520 scales"
    with pytest.raises(InputError, match="a value is NaN or infinite"):
        encode_q4_0([math.nan] * 32)
