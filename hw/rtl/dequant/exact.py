"""Sums of scaled integers in binary floating point: the exact value in Python's integers, rounded once.

The golden side of the block dot products. It knows nothing of shifters: a value is integer * 2^exponent, a sum brings
both to the lower exponent, and rounding is a division with remainder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from workloads.formats.golden.floats import FloatFormat

__all__ = ["BlockSum", "add_rounded", "round_exact", "sum_of_blocks"]

Special = Literal["nan", "+inf", "-inf"]


@dataclass(frozen=True)
class BlockSum:
    """integer * 2^exponent, or ``special``; ``closes``: the sum over blocks ends behind it."""

    integer: int
    exponent: int
    special: Special | None = None
    closes: bool = False


def round_exact(integer: int, exponent: int, fmt: FloatFormat) -> int:
    """Code of integer * 2^exponent: to nearest, ties to even, overflow to infinity; 0 is +0, and what rounds to
    zero keeps its sign.

    >>> from workloads.formats.golden.floats import FP16
    >>> [hex(round_exact(n, e, FP16)) for n, e in ((2049, 0), (2051, 0), (-1, -25), (1, 16))]
    ['0x6800', '0x6802', '0x8000', '0x7c00']
    """
    sign = int(integer < 0) << (fmt.bits - 1)
    magnitude = abs(integer)
    # The last place kept: of the value's own binade, or of the subnormals.
    place = max(magnitude.bit_length() - 1 + exponent, fmt.minimum_exponent) - fmt.mantissa_bits
    if place <= exponent:
        units = magnitude << (exponent - place)
    else:
        units, rest = divmod(magnitude, 1 << (place - exponent))
        twice, whole = 2 * rest, 1 << (place - exponent)
        units += twice > whole or (twice == whole and units % 2 == 1)
    if units == 0:
        return sign
    code = ((place + fmt.mantissa_bits - fmt.minimum_exponent) << fmt.mantissa_bits) + units
    return sign | min(code, fmt.largest_code + 1)


def _parts(code: int, fmt: FloatFormat) -> BlockSum:
    magnitude = code & ((1 << (fmt.bits - 1)) - 1)
    negative = code != magnitude
    if magnitude > fmt.largest_code + 1:
        return BlockSum(0, 0, "nan")
    if magnitude == fmt.largest_code + 1:
        return BlockSum(0, 0, "-inf" if negative else "+inf")
    field, mantissa = divmod(magnitude, 1 << fmt.mantissa_bits)
    integer = mantissa + ((1 << fmt.mantissa_bits) if field else 0)
    return BlockSum(-integer if negative else integer, max(field, 1) - 1 + fmt.minimum_exponent - fmt.mantissa_bits)


def add_rounded(code: int, block: BlockSum, fmt: FloatFormat) -> int:
    """Code of (value of ``code``) + ``block``, rounded once. A sum of exactly zero is +0; opposite infinities and
    NaN give the positive quiet NaN."""
    held = _parts(code, fmt)
    specials = {held.special, block.special} - {None}
    if specials:
        if "nan" in specials or len(specials) == 2:
            assert fmt.nan_code is not None
            return fmt.nan_code
        return fmt.largest_code + 1 | int("-inf" in specials) << (fmt.bits - 1)
    low = min(held.exponent, block.exponent)
    total = (held.integer << (held.exponent - low)) + (block.integer << (block.exponent - low))
    return round_exact(total, low, fmt)


def sum_of_blocks(blocks: Iterable[BlockSum], fmt: FloatFormat) -> list[int]:
    """Codes of the closed sums, each begun at +0 and rounded behind every block, in order."""
    sums, held = [], 0
    for block in blocks:
        held = add_rounded(held, block, fmt)
        if block.closes:
            sums.append(held)
            held = 0
    return sums
