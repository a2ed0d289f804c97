"""NF4: sixteen values spaced by the quantiles of a normal distribution, and an FP32 largest magnitude per 64.

Dettmers et al., QLoRA, arXiv 2305.14314, appendix E gives the table. It is the mean quantile construction: eight
positive and seven negative quantiles of N(0, 1) from 1 - 0.9677083 to 0.5, and zero, divided by the largest. Rounding
is to the nearest value; on a midpoint to the lower one, as the library's comparison tree (strictly greater) does.

Double quantisation (QLoRA, section 3) keeps the maxima themselves in 8 bits: less their mean, in blocks of 256 with an
FP32 largest magnitude each. The 8 bits are the signed dynamic map of Dettmers et al., arXiv 2110.02861, as bitsandbytes
builds it (01327aa, functional.py, `create_dynamic_map`, and `quantize_4bit` with compressed statistics): for each of
seven decades 10^-6 .. 1 the means of 1, 2, 4 .. 64 equal cuts of [0.1, 1], either sign, and 0 and 1. Map and arithmetic
are FP32, each step rounded once (the library's mean and map may differ in the last place); on a midpoint the lower
value. 4 + 8/64 + 32/(64 * 256) = 4.127 bits a value, one FP32 mean a tensor left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Floats, Integers, blocks, only_finite
from workloads.formats.golden.floats import FP32, round_to

__all__ = [
    "NF4_BLOCK",
    "NF4_MAXIMA_BLOCK",
    "NF4_VALUES",
    "Nf4Double",
    "Nf4Tensor",
    "decode_nf4",
    "decode_nf4_double",
    "dynamic_map",
    "encode_nf4",
    "encode_nf4_double",
]

NF4_BLOCK = 64
NF4_MAXIMA_BLOCK = 256
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
        """Codes and 32 bits a maximum (`Nf4Double` has fewer)."""
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


@dataclass(frozen=True)
class Nf4Double:
    """``codes`` as of `Nf4Tensor`; ``maxima`` 0..255, one per 64 values, the last block of 256 maybe not full;
    ``largest`` one per 256 of those, and ``mean``, exact in FP32."""

    codes: Integers
    maxima: Integers
    largest: Floats
    mean: float

    @property
    def storage_bits(self) -> int:
        """Codes, 8 bits a maximum, 32 for each 256 of them; the tensor's mean is left out, as in bits per element."""
        return self.codes.size * 4 + self.maxima.size * 8 + self.largest.size * 32


def dynamic_map() -> Floats:
    """The 256 values of the signed dynamic 8-bit type in rising order, exact in FP32."""
    positive = [1.0]
    for decade in range(7):
        edges = np.linspace(0.1, 1.0, 2**decade + 1)
        positive += (10.0 ** (decade - 6) * (edges[:-1] + edges[1:]) / 2).tolist()
    return np.sort(round_to([0.0, *positive, *(-value for value in positive[1:])], FP32))


def encode_nf4_double(values: ArrayLike) -> Nf4Double:
    """``values`` (..., n), n a multiple of 64, finite; codes are those under the exact maxima."""
    tensor = encode_nf4(values)
    maxima = tensor.maxima.reshape(-1)
    mean = round_to(np.mean(maxima), FP32)
    centred = round_to(maxima - mean, FP32)
    groups = np.pad(centred, (0, -centred.size % NF4_MAXIMA_BLOCK)).reshape(-1, NF4_MAXIMA_BLOCK)
    largest = np.max(np.abs(groups), axis=1)
    normalised = round_to(groups / np.where(largest > 0.0, largest, 1.0)[:, None], FP32)
    table = dynamic_map()
    found = np.searchsorted((table[1:] + table[:-1]) / 2, normalised, side="left").reshape(-1)
    return Nf4Double(tensor.codes, found[: maxima.size].reshape(tensor.maxima.shape), largest, float(mean))


def decode_nf4_double(tensor: Nf4Double) -> Floats:
    """Values (..., n): table value times the maximum that the 8 bits give."""
    flat = dynamic_map()[tensor.maxima.reshape(-1)]
    scaled = round_to(flat * np.repeat(tensor.largest, NF4_MAXIMA_BLOCK)[: flat.size], FP32)
    maxima = round_to(scaled + tensor.mean, FP32)
    return decode_nf4(Nf4Tensor(tensor.codes, maxima.reshape(tensor.maxima.shape)))
