"""Group-wise integers of 2 to 8 bits: a half-precision scale per group, with or without a zero point.

Symmetric: value = scale * code, codes within +-(2^(bits-1) - 1), scale = largest magnitude / (2^(bits-1) - 1).
Asymmetric: value = scale * (code - zero), codes 0..2^bits - 1; the range always spans zero, scale = (max - min) /
(2^bits - 1), zero = round(-min / scale): the min-max quantiser of GPTQ (arXiv 2210.17323, `quant.py` of its code).
The scale is rounded to half precision before it is used, so codes fit the scale that is stored; rounding to nearest,
ties to even; what lies outside is clipped. A scale below half precision's smallest number becomes that number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Floats, Integers, blocks, only_finite, refuse
from workloads.formats.golden.floats import FP16, round_to

__all__ = ["GroupedIntegers", "decode_integers", "encode_integers", "quantize_with"]


@dataclass(frozen=True)
class GroupedIntegers:
    """``codes`` (..., n), ``scales`` (..., n / group) exact in FP16, ``zeros`` alike, or None when symmetric."""

    codes: Integers
    scales: Floats
    zeros: Integers | None
    bits: int
    group: int

    @property
    def storage_bits(self) -> int:
        """Codes, 16 bits a scale, and a zero point of the codes' width where there is one."""
        return self.codes.size * self.bits + self.scales.size * (16 + (self.bits if self.zeros is not None else 0))


def encode_integers(values: ArrayLike, bits: int, group: int = 128, *, symmetric: bool = False) -> GroupedIntegers:
    """``values`` (..., n), n a multiple of ``group``, in integers of ``bits`` bits."""
    refuse(not 2 <= bits <= 8, f"{bits} bits", "2 to 8", "bits")
    array = only_finite(values)
    cut = blocks(array, group)
    if symmetric:
        scales = _half(np.max(np.abs(cut), axis=-1) / ((1 << (bits - 1)) - 1))
        zeros = None
    else:
        low, high = np.minimum(np.min(cut, axis=-1), 0.0), np.maximum(np.max(cut, axis=-1), 0.0)
        levels = (1 << bits) - 1
        scales = _half((high - low) / levels)
        zeros = np.clip(np.rint(-low / scales), 0, levels).astype(np.int64)
    return quantize_with(array, scales, zeros, bits, group)


def quantize_with(values: ArrayLike, scales: Floats, zeros: Integers | None, bits: int, group: int) -> GroupedIntegers:
    """Codes of ``values`` under given scales and zero points, each (..., n / group)."""
    array = only_finite(values)
    steps = np.rint(blocks(array, group) / scales[..., None])
    if zeros is None:
        limit = (1 << (bits - 1)) - 1
        codes = np.clip(steps, -limit, limit)
    else:
        codes = np.clip(steps + zeros[..., None], 0, (1 << bits) - 1)
    return GroupedIntegers(codes.astype(np.int64).reshape(array.shape), scales, zeros, bits, group)


def decode_integers(tensor: GroupedIntegers) -> Floats:
    """Values (..., n), exact in float64."""
    steps = blocks(tensor.codes.astype(np.float64), tensor.group, "codes")
    if tensor.zeros is not None:
        steps = steps - tensor.zeros[..., None]
    return (steps * tensor.scales[..., None]).reshape(tensor.codes.shape)


def _half(scales: Floats) -> Floats:
    return np.maximum(round_to(scales, FP16, saturate=True), FP16.smallest)
