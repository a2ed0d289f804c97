"""Bit streams, and how GPTQ and AWQ checkpoints lay 4-bit codes out in 32-bit words.

Sub-byte streams have no padding between elements: element i of b bits lies in bits [i b, (i + 1) b) of a
little-endian stream, the packing Tilus (arXiv 2504.12984) reinterprets instead of shuffling.

GPTQ (AutoGPTQ `qlinear`): ``qweight`` (K / 8, N), word k holds rows 8k..8k+7 of a column from the lowest nibble up;
``qzeros`` (groups, N / 8) runs along N in plain order and, in the first version of the layout, stores zero - 1.
AWQ (`WQLinear_GEMM`): ``qweight`` (K, N / 8) and ``qzeros`` (groups, N / 8), nibble i of a word from the lowest up
holds column (0, 2, 4, 6, 1, 3, 5, 7)[i] of its eight; zeros are stored plain. Both: w = scale * (q - zero).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workloads.formats.golden.arrays import Floats, Integers, as_floats, refuse

__all__ = [
    "AWQ_ORDER",
    "dequantize",
    "pack_awq",
    "pack_bits",
    "pack_gptq_weights",
    "pack_gptq_zeros",
    "unpack_awq",
    "unpack_bits",
    "unpack_gptq_weights",
    "unpack_gptq_zeros",
]

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_PLAIN = (0, 1, 2, 3, 4, 5, 6, 7)

Words32 = NDArray[np.uint32]


def pack_bits(codes: ArrayLike, bits: int) -> NDArray[np.uint8]:
    """Codes of 1 to 32 bits, flattened, as a little-endian bit stream; the last byte is filled up with zeros.

    >>> pack_bits([0b101, 0b011, 0b110], 3).tolist() == [0b10_011_101, 0b1]
    True
    """
    refuse(not 1 <= bits <= 32, f"{bits} bits", "1 to 32", "bits")
    words = np.asarray(codes, dtype=np.int64).reshape(-1)
    refuse((words < 0) | (words >> bits != 0), f"a code has more than {bits} bits", f"{bits}-bit codes", "codes")
    planes = (words[:, None] >> np.arange(bits)) & 1
    return np.packbits(planes.astype(np.uint8).reshape(-1), bitorder="little")


def unpack_bits(data: ArrayLike, bits: int, count: int) -> Integers:
    """The first ``count`` codes of a stream made by `pack_bits`."""
    refuse(not 1 <= bits <= 32, f"{bits} bits", "1 to 32", "bits")
    stream = np.unpackbits(np.asarray(data, dtype=np.uint8).reshape(-1), bitorder="little")
    short = stream.size < count * bits
    refuse(short, f"{stream.size} bits are too few for {count} codes", f"{count * bits} bits", "data")
    planes = stream[: count * bits].reshape(count, bits).astype(np.int64)
    codes: Integers = (planes << np.arange(bits)).sum(axis=1)
    return codes


def pack_gptq_weights(codes: ArrayLike) -> Words32:
    """4-bit codes (K, N) as words (K / 8, N)."""
    return _pack(np.asarray(codes, dtype=np.int64).T, _PLAIN).T


def unpack_gptq_weights(words: ArrayLike) -> Integers:
    """Codes (K, N) of words (K / 8, N)."""
    return _unpack(np.asarray(words).T, _PLAIN).T


def pack_gptq_zeros(zeros: ArrayLike, *, minus_one: bool = True) -> Words32:
    """Zero points (groups, N) as words (groups, N / 8): 1 to 16 when stored ``minus_one``, else 0 to 15."""
    return _pack(np.asarray(zeros, dtype=np.int64) - int(minus_one), _PLAIN)


def unpack_gptq_zeros(words: ArrayLike, *, minus_one: bool = True) -> Integers:
    """Zero points (groups, N) of words (groups, N / 8)."""
    return _unpack(np.asarray(words), _PLAIN) + int(minus_one)


def pack_awq(codes: ArrayLike) -> Words32:
    """4-bit codes or zero points (rows, N) as words (rows, N / 8), columns in AWQ's order."""
    return _pack(np.asarray(codes, dtype=np.int64), AWQ_ORDER)


def unpack_awq(words: ArrayLike) -> Integers:
    """Codes (rows, N) of words (rows, N / 8) in AWQ's order."""
    return _unpack(np.asarray(words), AWQ_ORDER)


def dequantize(codes: ArrayLike, zeros: ArrayLike, scales: ArrayLike, group: int) -> Floats:
    """Weights (K, N) of codes (K, N), zero points and scales (K / ``group``, N)."""
    steps = np.asarray(codes, dtype=np.int64)
    groups = steps.shape[0] // group
    wanted = (groups, steps.shape[1])
    refuse(groups * group != steps.shape[0], f"{steps.shape[0]} rows", f"a multiple of the group of {group}", "codes")
    for field, array in (("zeros", np.asarray(zeros)), ("scales", np.asarray(scales))):
        refuse(array.shape != wanted, f"shape {array.shape}", f"{wanted}", field)
    zero = np.repeat(np.asarray(zeros, dtype=np.int64), group, axis=0)
    return as_floats(steps - zero) * np.repeat(as_floats(scales), group, axis=0)


def _pack(codes: Integers, order: tuple[int, ...]) -> Words32:
    refuse((codes < 0) | (codes > 15), "a code has more than 4 bits", "0 to 15", "codes")
    bad = codes.ndim != 2 or codes.shape[1] % 8 != 0
    refuse(bad, f"shape {codes.shape}", "two axes, the packed one a multiple of 8", "codes")
    nibbles = codes.reshape(codes.shape[0], -1, 8)[..., list(order)].astype(np.uint32)
    words: Words32 = np.bitwise_or.reduce(nibbles << np.arange(0, 32, 4, dtype=np.uint32), axis=-1)
    return words


def _unpack(words: NDArray[np.generic], order: tuple[int, ...]) -> Integers:
    # Checkpoints hold signed words; the nibbles are what matters.
    unsigned = words.astype(np.int64) & 0xFFFFFFFF
    nibbles = (unsigned[..., None] >> np.arange(0, 32, 4)) & 15
    codes = np.empty_like(nibbles)
    codes[..., list(order)] = nibbles
    return codes.reshape(words.shape[0], -1)
