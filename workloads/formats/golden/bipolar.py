"""Bipolar integers: bit b of weight 2^i means (2b - 1) 2^i, so n bits give the odd numbers of +-(2^n - 1).

There is no zero, and the range is symmetric: value = 2 u - (2^n - 1) for the unsigned code u. A dot product needs
one-bit operations only: the sum over all pairs of planes (i of a, j of b) of 2^(i+j) (2 popcount(XNOR) - K)
(arXiv 2409.17870).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workloads.formats.golden.arrays import Floats, Integers, only_finite, refuse

__all__ = ["bipolar_codes", "bipolar_dot", "bipolar_planes", "bipolar_values"]

_POPCOUNT = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.int64)


def bipolar_values(codes: ArrayLike, bits: int) -> Integers:
    """2 u - (2^bits - 1).

    >>> bipolar_values(range(4), 2).tolist()
    [-3, -1, 1, 3]
    """
    words = np.asarray(codes, dtype=np.int64)
    refuse((words < 0) | (words >> bits != 0), f"a code has more than {bits} bits", f"{bits}-bit codes", "codes")
    return 2 * words - ((1 << bits) - 1)


def bipolar_codes(values: ArrayLike, bits: int, scale: float | Floats = 1.0) -> Integers:
    """Codes of the odd numbers nearest to ``values / scale``; ties (even numbers) go to the even code; clipped."""
    refuse(not 1 <= bits <= 8, f"{bits} bits", "1 to 8", "bits")
    steps = np.rint((only_finite(values) / scale + ((1 << bits) - 1)) / 2.0)
    return np.clip(steps, 0, (1 << bits) - 1).astype(np.int64)


def bipolar_planes(codes: ArrayLike, bits: int) -> NDArray[np.uint8]:
    """Bit planes (bits, ..., ceil(K / 8)) of codes (..., K), eight elements a byte, filled up with zeros."""
    words = np.asarray(codes, dtype=np.int64)
    refuse((words < 0) | (words >> bits != 0), f"a code has more than {bits} bits", f"{bits}-bit codes", "codes")
    planes = np.stack([words >> i & 1 for i in range(bits)]).astype(np.uint8)
    return np.packbits(planes, axis=-1, bitorder="little")


def bipolar_dot(a: NDArray[np.uint8], b: NDArray[np.uint8], length: int) -> Integers:
    """Exact products of planes ``a`` (bits, M, B) and ``b`` (bits, N, B) over ``length`` elements, as (M, N)."""
    wanted = -(-length // 8)
    for field, planes in (("a", a), ("b", b)):
        bad = planes.ndim != 3 or planes.shape[-1] != wanted
        refuse(bad, f"planes have the shape {planes.shape}", f"(bits, rows, {wanted})", field)
    # The filling must not count as agreement.
    mask = np.packbits(np.ones(length, dtype=np.uint8), bitorder="little")
    total = np.zeros((a.shape[1], b.shape[1]), dtype=np.int64)
    for i, plane_a in enumerate(a):
        for j, plane_b in enumerate(b):
            agree = ~(plane_a[:, None, :] ^ plane_b[None, :, :]) & mask
            total += (2 * _POPCOUNT[agree].sum(axis=-1) - length) << (i + j)
    return total
