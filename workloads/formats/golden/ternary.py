"""Ternary weights {-1, 0, 1} under one scale, as 2-bit codes or as five base-3 digits per byte.

Quantiser: scale = mean magnitude, digit = round(value / scale) clipped to +-1 (BitNet b1.58, arXiv 2402.17764,
equations 1 to 3), ties to even. 3^5 = 243 fits a byte, so five digits take 8 bits: 1.6 bits each, against a floor of
log2 3 = 1.585 for equally likely digits. Stored digit = ternary + 1; in a byte the first digit is the lowest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workloads.formats.golden.arrays import Floats, Integers, only_finite, refuse
from workloads.formats.golden.packing import pack_bits, unpack_bits

__all__ = [
    "Ternary",
    "decode_ternary",
    "encode_ternary",
    "pack_base3",
    "pack_two_bit",
    "unpack_base3",
    "unpack_two_bit",
]

_POWERS = np.array([1, 3, 9, 27, 81])


@dataclass(frozen=True)
class Ternary:
    """``digits`` of any shape in {-1, 0, 1}; one ``scale`` for all."""

    digits: Integers
    scale: float


def encode_ternary(values: ArrayLike) -> Ternary:
    """Digits and scale of ``values``; all zeros have the scale 0."""
    array = only_finite(values)
    refuse(array.size == 0, "there are no values", "at least one", "values")
    scale = float(np.mean(np.abs(array)))
    digits = np.clip(np.rint(array / (scale if scale > 0.0 else 1.0)), -1, 1).astype(np.int64)
    return Ternary(digits, scale)


def decode_ternary(tensor: Ternary) -> Floats:
    """Digits times the scale."""
    return tensor.digits * np.float64(tensor.scale)


def pack_two_bit(digits: ArrayLike) -> NDArray[np.uint8]:
    """Four digits a byte, the first lowest; the code 3 never occurs."""
    return pack_bits(_stored(digits), 2)


def unpack_two_bit(data: ArrayLike, count: int) -> Integers:
    """``count`` digits of a stream of `pack_two_bit`."""
    codes = unpack_bits(data, 2, count)
    refuse(codes == 3, "code 3 is no ternary digit", "codes 0 to 2", "data")
    return codes - 1


def pack_base3(digits: ArrayLike) -> NDArray[np.uint8]:
    """Five digits a byte, the first lowest; the last byte is filled up with stored zeros (digit -1).

    >>> pack_base3([-1, 0, 1, -1, 1]).tolist() == [0 * 1 + 1 * 3 + 2 * 9 + 0 * 27 + 2 * 81]
    True
    """
    stored = _stored(digits)
    filled = np.pad(stored, (0, -stored.size % 5)).reshape(-1, 5)
    data: NDArray[np.uint8] = (filled * _POWERS).sum(axis=1).astype(np.uint8)
    return data


def unpack_base3(data: ArrayLike, count: int) -> Integers:
    """``count`` digits of bytes of `pack_base3`."""
    words = np.asarray(data, dtype=np.int64).reshape(-1)
    refuse(words > 242, "a byte is above 242", "3^5 values", "data")
    refuse(words.size * 5 < count, f"{words.size} bytes are too few for {count} digits", f"{-(-count // 5)}", "data")
    digits: Integers = (words[:, None] // _POWERS % 3).reshape(-1)[:count] - 1
    return digits


def _stored(digits: ArrayLike) -> Integers:
    array = np.asarray(digits, dtype=np.int64).reshape(-1)
    refuse(np.abs(array) > 1, "a digit is not -1, 0 or 1", "ternary digits", "digits")
    return array + 1
