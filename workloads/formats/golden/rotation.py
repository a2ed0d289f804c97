"""Unbiased MXFP4 for gradients: stochastic rounding, made low-variance by random Hadamard transforms.

Tseng, Yu and Park, "Training LLMs with MXFP4", arXiv 2502.20586: rounding to nearest under the MX scale clips what
lies above the largest element and is biased. Values are therefore scaled by 3/4 below the block's power of two, which
puts the largest magnitude, in [4, 8) of the scale, below 6, and rounded up or down with probabilities that keep the
mean; the result estimates 3/4 of the input, a product of two such operands 9/16 of the product. The transform spreads
outliers over its block of ``size`` and cancels in a product over that axis: (H S a) . (H S b) = a . b.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Floats, Integers, as_floats, blocks, floor_log2, only_finite, refuse
from workloads.formats.golden.floats import E2M1, FloatFormat
from workloads.formats.golden.microscaling import MX_BLOCK, MxTensor, decode_e8m0, mx_scales

__all__ = [
    "CLIP_MARGIN",
    "encode_mxfp4_stochastic",
    "encode_stochastic",
    "hadamard",
    "random_hadamard",
    "random_signs",
]

CLIP_MARGIN = 0.75


def hadamard(size: int) -> Floats:
    """The orthonormal Sylvester-Hadamard matrix of a power-of-two ``size``: its own inverse.

    >>> (hadamard(2) * 2**0.5).round().tolist()
    [[1.0, 1.0], [1.0, -1.0]]
    """
    refuse(size < 1 or size & (size - 1), f"size {size}", "a power of two", "size")
    matrix = np.ones((1, 1))
    while matrix.shape[0] < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return as_floats(matrix / np.sqrt(size))


def random_signs(length: int, random: np.random.Generator) -> Floats:
    """``length`` signs, +1 or -1 with even odds: to be shared by both operands of a product."""
    return as_floats(random.integers(0, 2, length) * 2 - 1)


def random_hadamard(values: ArrayLike, signs: ArrayLike, size: int = 64) -> Floats:
    """``values`` (..., n) times ``signs`` (n,), then transformed in blocks of ``size`` along the last axis."""
    array = as_floats(values)
    flips = as_floats(signs)
    refuse(flips.shape != array.shape[-1:], f"signs have the shape {flips.shape}", f"{array.shape[-1:]}", "signs")
    return (blocks(array * flips, size) @ hadamard(size)).reshape(array.shape)


def encode_stochastic(values: ArrayLike, fmt: FloatFormat, random: np.random.Generator) -> Integers:
    """Codes of a neighbour above or below each value, so that the mean is the value; beyond the largest: the largest.

    The chance of the larger magnitude is the distance from the smaller one over the step; numbers stay as they are.
    """
    array = only_finite(values)
    magnitude = np.minimum(np.abs(array), fmt.maximum)
    exponent = np.maximum(floor_log2(magnitude), fmt.minimum_exponent)
    scaled = np.ldexp(magnitude, (fmt.mantissa_bits - exponent).astype(np.int32))
    below = np.floor(scaled)
    significand = below + (random.random(array.shape) < scaled - below)
    code = ((exponent - fmt.minimum_exponent) << fmt.mantissa_bits) + significand.astype(np.int64)
    return code | np.signbit(array).astype(np.int64) << (fmt.bits - 1)


def encode_mxfp4_stochastic(values: ArrayLike, random: np.random.Generator) -> MxTensor:
    """MXFP4 of 3/4 of ``values`` (..., n), n a multiple of 32: decoded, its mean is 3/4 of the values.

    So it is for all blocks whose scale lies within [2^-127, 2^127]; larger ones are clipped.
    """
    array = only_finite(values)
    scales = mx_scales(array, "mxfp4")
    scaled = blocks(array, MX_BLOCK) * CLIP_MARGIN / decode_e8m0(scales)[..., None]
    codes = encode_stochastic(scaled, E2M1, random)
    return MxTensor("mxfp4", codes.reshape(array.shape), scales)
