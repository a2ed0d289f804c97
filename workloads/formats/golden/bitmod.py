"""BitMoD: 3- and 4-bit floats whose spare code, -0, is one of four special values chosen per group of 128.

Chen et al., "BitMoD: Bit-serial Mixture-of-Datatype LLM Acceleration", HPCA 2025, arXiv 2411.11745, and the published
numerics of abdelfattah-lab/BitMoD-HPCA-25 at e445a5f. Its authors state that the method is subject to a patent
application by Cornell University; this is an independent implementation of the numerics, to check hardware and models
against, and grants no right to the method.

Base values: FP3 0, +-1, +-2, +-4; FP4 (E2M1 doubled) 0, +-1, 2, 3, 4, 6, 8, 12. Specials, in the order they are tried:
FP3 +3, -3, +6, -6; FP4 +10, -10, +16, -16. Scale = the group's largest magnitude / the largest magnitude among the
values (4 or 6; 12 or 16), within [1e-5, 1e4], in half precision; each weight goes to the nearest value, on a midpoint
to the lower; the special with the least mean squared error wins, the first of equals. All else is in float64. The
published code starts its search at an error of 1000 and returns zeros for a group that never gets below it; here the
best of the four is always taken.

A code is sign and magnitude: 0 is zero, 1..m the positive base values in rising order, 2^(bits-1) the special value
of the group, 2^(bits-1) + 1.. the negative ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Floats, Integers, blocks, only_finite, refuse
from workloads.formats.golden.floats import FP16, round_to

__all__ = ["BITMOD_GROUP", "BITMOD_SPECIALS", "BitmodTensor", "bitmod_values", "decode_bitmod", "encode_bitmod"]

BITMOD_GROUP = 128
_MAGNITUDES = {3: (1.0, 2.0, 4.0), 4: (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)}
BITMOD_SPECIALS: dict[int, tuple[float, ...]] = {3: (3.0, -3.0, 6.0, -6.0), 4: (10.0, -10.0, 16.0, -16.0)}
_SELECTOR_BITS = 2


@dataclass(frozen=True)
class BitmodTensor:
    """``codes`` (..., n); per group ``selectors`` 0..3 into the specials, and ``scales`` exact in FP16."""

    codes: Integers
    selectors: Integers
    scales: Floats
    bits: int
    group: int

    def storage_bits(self, scale_bits: int = 8, *, selectors: bool = True) -> int:
        """Bits with scales of ``scale_bits`` (8 in the paper's machine); its own count leaves the selectors out."""
        per_group = scale_bits + (_SELECTOR_BITS if selectors else 0)
        return self.codes.size * self.bits + self.scales.size * per_group


def bitmod_values(bits: int, selector: int) -> Floats:
    """The 2^bits values by code, the special in place of -0.

    >>> bitmod_values(3, 2).tolist()
    [0.0, 1.0, 2.0, 4.0, 6.0, -1.0, -2.0, -4.0]
    """
    refuse(bits not in _MAGNITUDES, f"{bits} bits", "3 or 4", "bits")
    refuse(not 0 <= selector < 4, f"selector {selector}", "0 to 3", "selector")
    base = _MAGNITUDES[bits]
    return np.array([0.0, *base, BITMOD_SPECIALS[bits][selector], *(-value for value in base)])


def encode_bitmod(values: ArrayLike, bits: int, group: int = BITMOD_GROUP) -> BitmodTensor:
    """``values`` (..., n), n a multiple of ``group`` along the input channels, finite."""
    array = only_finite(values)
    cut = blocks(array, group)
    largest = np.max(np.abs(cut), axis=-1)
    codes = np.zeros(cut.shape, dtype=np.int64)
    scales = np.zeros(largest.shape)
    selectors = np.zeros(largest.shape, dtype=np.int64)
    least = np.full(largest.shape, np.inf)
    for selector in range(4):
        table = bitmod_values(bits, selector)
        order = np.argsort(table)
        ranked = table[order]
        scale = round_to(np.clip(largest / np.max(np.abs(table)), 1e-5, 1e4), FP16)
        place = np.searchsorted((ranked[1:] + ranked[:-1]) / 2, cut / scale[..., None], side="left")
        error = np.mean((ranked[place] * scale[..., None] - cut) ** 2, axis=-1)
        better = error < least
        least = np.where(better, error, least)
        codes = np.where(better[..., None], order[place], codes)
        scales = np.where(better, scale, scales)
        selectors = np.where(better, selector, selectors)
    return BitmodTensor(codes.reshape(array.shape), selectors, scales, bits, group)


def decode_bitmod(tensor: BitmodTensor) -> Floats:
    """Values (..., n), exact in float64."""
    tables = np.stack([bitmod_values(tensor.bits, selector) for selector in range(4)])
    codes = tensor.codes.reshape(*tensor.scales.shape, tensor.group)
    values = tables[tensor.selectors[..., None], codes] * tensor.scales[..., None]
    return values.reshape(tensor.codes.shape)
