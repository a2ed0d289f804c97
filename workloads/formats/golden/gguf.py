"""GGUF blocks as the bytes of a file: Q8_0, Q4_0 and Q4_K, encoded and decoded.

Layouts and arithmetic are ggml's (ggml-common.h `block_q8_0`, `block_q4_0`, `block_q4_K`; ggml-quants.c
`quantize_row_q8_0_ref`, `quantize_row_q4_0_ref`, `dequantize_row_*`), in float32 where ggml computes in float32, so
bytes and values agree bit for bit. Half-precision scales are little-endian and rounded to nearest even.

- Q8_0, 34 bytes for 32 weights: d, 32 signed bytes; w = d q, d = largest magnitude / 127, rounding half away from 0.
- Q4_0, 18 bytes for 32: d, 16 bytes; low nibbles are weights 0..15, high nibbles 16..31; w = (q - 8) d, where d is the
  value of largest magnitude (the first such, with its sign) / -8; q = min(15, truncate(w / d + 8.5)).
- Q4_K, 144 bytes for 256: d, dmin, 12 bytes with eight 6-bit scales and eight 6-bit minima, 128 bytes; each 32 bytes
  hold sub-block 2k in their low and 2k + 1 in their high nibbles; w = d sc q - dmin m.

Encoders of Q8_0 and Q4_0 divide by the scale before it is rounded to half precision, as ggml's do. That of Q4_K is
not ggml's, which searches among scales by a weighted error. Here a sub-block spans from its smallest value (or 0) to
its largest, scale = span / 15 and minimum = -smallest; d and dmin are the largest of eight scales and minima over 63,
in half precision, 6-bit scales and minima the nearest multiples (ties to even), and codes the nearest to the values
under what is stored. Any bytes decode as ggml decodes them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workloads.formats.golden.arrays import Floats, blocks, only_finite, refuse

__all__ = [
    "Q4_0_BYTES",
    "Q4_K_BYTES",
    "Q8_0_BYTES",
    "decode_q4_0",
    "decode_q4_k",
    "decode_q8_0",
    "encode_q4_0",
    "encode_q4_k",
    "encode_q8_0",
]

Bytes = NDArray[np.uint8]
_Singles = NDArray[np.float32]

Q8_0_BYTES = 34
Q4_0_BYTES = 18
Q4_K_BYTES = 144
_ONE = np.float32(1.0)


def encode_q8_0(values: ArrayLike) -> Bytes:
    """``values`` (..., n), n a multiple of 32, as bytes (..., n / 32, 34)."""
    cut = _single_blocks(values)
    scales = np.max(np.abs(cut), axis=-1) / np.float32(127.0)
    scaled = (cut * _inverse(scales)[..., None]).astype(np.float64)
    codes = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int8)
    return np.concatenate([_half_bytes(scales), codes.view(np.uint8)], axis=-1)


def decode_q8_0(data: ArrayLike) -> Floats:
    """Values (..., 32 b) of bytes (..., b, 34)."""
    raw = _raw(data, Q8_0_BYTES)
    codes = np.ascontiguousarray(raw[..., 2:]).view(np.int8).astype(np.float32)
    return _flat(codes * _half(raw[..., 0:2])[..., None])


def encode_q4_0(values: ArrayLike) -> Bytes:
    """``values`` (..., n), n a multiple of 32, as bytes (..., n / 32, 18)."""
    cut = _single_blocks(values)
    # The first of the largest magnitudes decides the sign of the scale.
    first = np.argmax(np.abs(cut), axis=-1)
    scales = np.take_along_axis(cut, first[..., None], axis=-1)[..., 0] / np.float32(-8.0)
    codes = np.minimum(np.trunc(cut * _inverse(scales)[..., None] + np.float32(8.5)), 15).astype(np.uint8)
    return np.concatenate([_half_bytes(scales), codes[..., :16] | codes[..., 16:] << 4], axis=-1)


def decode_q4_0(data: ArrayLike) -> Floats:
    """Values (..., 32 b) of bytes (..., b, 18)."""
    raw = _raw(data, Q4_0_BYTES)
    codes = np.concatenate([raw[..., 2:] & 15, raw[..., 2:] >> 4], axis=-1).astype(np.float32)
    return _flat((codes - np.float32(8.0)) * _half(raw[..., 0:2])[..., None])


def encode_q4_k(values: ArrayLike) -> Bytes:
    """``values`` (..., n), n a multiple of 256, as bytes (..., n / 256, 144)."""
    array = only_finite(values)
    cut = blocks(array, 256).reshape(*array.shape[:-1], -1, 8, 32)
    lowest = np.minimum(cut.min(axis=-1), 0.0)
    step, scales = _sixths((np.maximum(cut.max(axis=-1), 0.0) - lowest) / 15)
    offset, minima = _sixths(-lowest)
    width = (step[..., None] * scales)[..., None]
    shifted = cut + (offset[..., None] * minima)[..., None]
    codes = np.clip(np.rint(shifted / np.where(width > 0.0, width, 1.0)), 0, 15).astype(np.uint8)
    packed = np.zeros((*step.shape, 12), dtype=np.uint8)
    packed[..., 0:4] = scales[..., :4] | scales[..., 4:] >> 4 << 6
    packed[..., 4:8] = minima[..., :4] | minima[..., 4:] >> 4 << 6
    packed[..., 8:12] = scales[..., 4:] & 15 | (minima[..., 4:] & 15) << 4
    nibbles = (codes[..., 0::2, :] | codes[..., 1::2, :] << 4).reshape(*step.shape, 128)
    return np.concatenate([_half_bytes(step), _half_bytes(offset), packed, nibbles], axis=-1)


def _sixths(wanted: Floats) -> tuple[Floats, Bytes]:
    """Of eight numbers >= 0 (last axis) a common step in half precision and each as a 6-bit multiple of it."""
    step = wanted.max(axis=-1) / 63
    refuse(step >= 65520.0, "a scale is beyond half precision", "values below 65520 scales", "values")
    step = step.astype("<f2").astype(np.float64)
    multiples = np.rint(wanted / np.where(step > 0.0, step, 1.0)[..., None])
    return step, np.clip(multiples, 0, 63).astype(np.uint8)


def decode_q4_k(data: ArrayLike) -> Floats:
    """Values (..., 256 b) of bytes (..., b, 144)."""
    raw = _raw(data, Q4_K_BYTES)
    packed = raw[..., 4:16]
    low, middle, high = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    scales = np.concatenate([low & 63, high & 15 | low >> 6 << 4], axis=-1).astype(np.float32)
    minima = np.concatenate([middle & 63, high >> 4 | middle >> 6 << 4], axis=-1).astype(np.float32)
    quads = raw[..., 16:].reshape(*raw.shape[:-1], 4, 1, 32)
    codes = np.concatenate([quads & 15, quads >> 4], axis=-2).reshape(*raw.shape[:-1], 8, 32).astype(np.float32)
    steps = (_half(raw[..., 0:2])[..., None] * scales)[..., None]
    offsets = (_half(raw[..., 2:4])[..., None] * minima)[..., None]
    values = steps * codes - offsets
    return _flat(values.reshape(*raw.shape[:-1], 256))


def _single_blocks(values: ArrayLike) -> _Singles:
    array = only_finite(values)
    refuse(np.abs(array) > np.finfo(np.float32).max, "a value is beyond float32", "float32 values", "values")
    return blocks(array, 32).astype(np.float32)


def _inverse(scales: _Singles) -> _Singles:
    zero = scales == 0
    # A subnormal scale has no finite inverse in float32; ggml's codes would be undefined there.
    refuse(~zero & (np.abs(scales) < np.finfo(np.float32).tiny), "a scale is subnormal", "larger values", "values")
    return np.where(zero, np.float32(0.0), _ONE / np.where(zero, _ONE, scales)).astype(np.float32)


def _half_bytes(scales: NDArray[np.floating]) -> Bytes:
    refuse(np.abs(scales) >= 65520.0, "a scale is beyond half precision", "values below 65520 scales", "values")
    return scales.astype("<f2")[..., None].view(np.uint8)


def _half(two_bytes: Bytes) -> _Singles:
    halves = np.ascontiguousarray(two_bytes).view("<f2")[..., 0]
    return halves.astype(np.float32)


def _raw(data: ArrayLike, size: int) -> Bytes:
    raw = np.asarray(data, dtype=np.uint8)
    refuse(
        raw.ndim < 2 or raw.shape[-1] != size, f"blocks have the shape {raw.shape}", f"(..., blocks, {size})", "data"
    )
    return raw


def _flat(values: _Singles) -> Floats:
    return values.astype(np.float64).reshape(*values.shape[:-2], -1)
