"""NF4: sixteen values spaced by the quantiles of a normal distribution, and an FP32 largest magnitude per 64.

Dettmers et al., QLoRA, arXiv 2305.14314, appendix E gives the table. It is the mean quantile construction: eight
positive and seven negative quantiles of N(0, 1) from 1 - 0.9677083 to 0.5, and zero, divided by the largest. Rounding
is to the nearest value; on a midpoint to the lower one, as the library's comparison tree (strictly greater) does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Floats, Integers, blocks, only_finite
from workloads.formats.golden.floats import FP32, round_to

__all__ = ["NF4_BLOCK", "NF4_VALUES", "Nf4Tensor", "decode_nf4", "encode_nf4"]

NF4_BLOCK = 64
NF4_VALUES: tuple[float, ...] = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


@dataclass(frozen=True)
class Nf4Tensor:
    """``codes`` (..., n), 0..15 in rising order of value; ``maxima`` (..., n / 64), exact in FP32."""

    codes: Integers
    maxima: Floats

    @property
    def storage_bits(self) -> int:
        """Codes and 32 bits a maximum (double quantisation of the maxima is not part of this format)."""
        return self.codes.size * 4 + self.maxima.size * 32


def encode_nf4(values: ArrayLike) -> Nf4Tensor:
    """``values`` (..., n), n a multiple of 64, finite; a block of zeros gets the maximum 0."""
    array = only_finite(values)
    cut = blocks(array, NF4_BLOCK)
    maxima = round_to(np.max(np.abs(cut), axis=-1), FP32, saturate=True)
    table = np.array(NF4_VALUES)
    normalised = cut / np.where(maxima > 0.0, maxima, 1.0)[..., None]
    codes = np.searchsorted((table[1:] + table[:-1]) / 2, normalised, side="left")
    return Nf4Tensor(codes.astype(np.int64).reshape(array.shape), maxima)


def decode_nf4(tensor: Nf4Tensor) -> Floats:
    """Values (..., n): table value times the block's maximum, exact in float64."""
    cut = blocks(np.array(NF4_VALUES)[tensor.codes], NF4_BLOCK, "codes")
    return (cut * tensor.maxima[..., None]).reshape(tensor.codes.shape)
