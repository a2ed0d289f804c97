"""NVFP4: E2M1 elements, one E4M3 scale per 16 of them, and one FP32 scale per tensor.

value = element * block scale * tensor scale. NVIDIA, "Introducing NVFP4", 2025, and the ModelOpt and NeMo
documentation: tensor scale = largest magnitude / (448 * 6); block scale = block's largest magnitude / 6 / tensor scale
in E4M3. The packed checkpoint keeps the even column in the low nibble.

Chosen here: scales are divided out in float64 (a float32 kernel may differ on exact ties); a block scale which would
round to zero becomes the smallest positive one, 2^-9, so that hardware sees the 126 positive scales only; a tensor of
zeros gets the tensor scale 1. NaN and infinity are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Floats, Integers, blocks, only_finite, refuse
from workloads.formats.golden.floats import E2M1, E4M3, FP32, decode, encode, round_to

__all__ = ["NVFP4_BLOCK", "Nvfp4Tensor", "decode_nvfp4", "encode_nvfp4", "nvfp4_tensor_scale", "pack_nvfp4"]

NVFP4_BLOCK = 16


@dataclass(frozen=True)
class Nvfp4Tensor:
    """``codes`` (..., n) of E2M1, ``scales`` (..., n / 16) of E4M3 (1 to 126), ``tensor_scale`` exact in FP32."""

    codes: Integers
    scales: Integers
    tensor_scale: float

    @property
    def storage_bits(self) -> int:
        """Bits of elements and block scales; the tensor's own 32 bits are left out, as in bits per element."""
        return self.codes.size * 4 + self.scales.size * 8


def nvfp4_tensor_scale(values: ArrayLike) -> float:
    """Largest magnitude / (448 * 6), rounded to FP32; 1 when that is zero."""
    array = only_finite(values)
    refuse(array.size == 0, "there are no values", "at least one", "values")
    scale = float(round_to(np.max(np.abs(array)) / (E4M3.maximum * E2M1.maximum), FP32, saturate=True))
    return scale if scale > 0.0 else 1.0


def encode_nvfp4(values: ArrayLike, tensor_scale: float | None = None) -> Nvfp4Tensor:
    """``values`` (..., n), n a multiple of 16; a ``tensor_scale`` given (FP32, positive) replaces the tensor's own."""
    array = only_finite(values)
    if tensor_scale is None:
        tensor_scale = nvfp4_tensor_scale(array)
    usable = 0.0 < tensor_scale < np.inf and float(round_to(tensor_scale, FP32)) == tensor_scale
    refuse(not usable, f"tensor scale {tensor_scale}", "a positive FP32 number", "tensor_scale")
    cut = blocks(array, NVFP4_BLOCK)
    largest = np.max(np.abs(cut), axis=-1)
    scales = np.maximum(encode(largest / (E2M1.maximum * tensor_scale), E4M3, saturate=True), 1)
    codes = encode(cut / (decode(scales, E4M3) * tensor_scale)[..., None], E2M1)
    return Nvfp4Tensor(codes.reshape(array.shape), scales, tensor_scale)


def decode_nvfp4(tensor: Nvfp4Tensor) -> Floats:
    """Values (..., n): the product of three floats of 2, 4 and 24 significant bits is exact in float64."""
    elements = blocks(decode(tensor.codes, E2M1), NVFP4_BLOCK)
    return (elements * (decode(tensor.scales, E4M3) * tensor.tensor_scale)[..., None]).reshape(tensor.codes.shape)


def pack_nvfp4(codes: ArrayLike) -> Integers:
    """E2M1 codes (..., n) as bytes (..., n / 2): the even column in the low nibble.

    >>> [hex(byte) for byte in pack_nvfp4([1, 2, 3, 15])]
    ['0x21', '0xf3']
    """
    pairs = blocks(np.asarray(codes, dtype=np.float64), 2, "codes").astype(np.int64)
    refuse((pairs < 0) | (pairs > 15), "a code has more than 4 bits", "0 to 15", "codes")
    return pairs[..., 0] | pairs[..., 1] << 4
