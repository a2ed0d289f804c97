"""Softmax to base 2 of integers with shifts alone, in one pass over a row: the numerics of ITA's streaming softmax.

Islamoglu et al., ITA (ISLPED 2023); facts from pulp-platform/ITA, PyITA/softmax.py (streamingPartialSoftmax) at commit
ba96519. A row comes in blocks. A block's maximum may raise the row's; then the sum so far is shifted down by the rise.
Every element adds 2^bits shifted down by its distance to the maximum as it stands. Distances and rises are in octaves:
differences of scores over 2^``fraction``, rounded half up. At the row's end the reciprocal is
floor((2^bits - 1) 2^bits / sum), and an element's probability that, shifted down by its distance to the final maximum;
2^bits - 1 stands for 1. ITA has 8 bits, blocks of 16, and (in the code) octaves of one step. Each term is floored
before it is added, as hardware must; ITA's other golden model floors the whole sum and answers differently.

A sum of n elements is at most 2^bits n, which all equal ones reach: ``integer_softmax_sum_bits``. It is at least
2^bits, since an element at the last maximum came no earlier than that. Elements that do not count give 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Floats, Integers

__all__ = ["integer_softmax", "integer_softmax_bounds", "integer_softmax_sum", "integer_softmax_sum_bits"]


def integer_softmax_sum_bits(elements: int, bits: int = 8) -> int:
    """Width of the sum of a row of so many elements.

    >>> integer_softmax_sum_bits(2048)
    20
    """
    return (elements << bits).bit_length()


def _octaves(differences: Integers, fraction: int) -> Integers:
    # Beyond 62 octaves nothing is left of any weight or sum, and numpy shifts no further.
    rounded: Integers = np.minimum((differences + ((1 << fraction) >> 1)) >> fraction, 62)
    return rounded


def integer_softmax_sum(
    scores: ArrayLike, counted: ArrayLike | None = None, *, block: int, fraction: int, bits: int = 8
) -> tuple[int, int, int]:
    """Sum, maximum and number of rises after the first counted element of one row of ``bits``-bit scores."""
    row = np.asarray(scores, dtype=np.int64)
    takes_part = np.ones(len(row), bool) if counted is None else np.asarray(counted, bool)
    lowest = -(1 << (bits - 1))
    total, maximum, rises = 0, lowest, 0
    for at in range(0, len(row), block):
        part, here = row[at : at + block], takes_part[at : at + block]
        highest = max(maximum, int(part[here].max(initial=lowest)))
        rises += total > 0 and highest > maximum
        total >>= int(_octaves(np.array(highest - maximum), fraction))
        maximum = highest
        total += int((np.int64(1 << bits) >> _octaves(maximum - part[here], fraction)).sum())
    return total, maximum, rises


def integer_softmax(
    scores: ArrayLike, counted: ArrayLike | None = None, *, block: int, fraction: int, bits: int = 8
) -> Integers:
    """Probabilities of one row of ``bits``-bit signed scores that comes in blocks of ``block``; ``counted`` tells which
    of them take part (None: all)."""
    row = np.asarray(scores, dtype=np.int64)
    takes_part = np.ones(len(row), bool) if counted is None else np.asarray(counted, bool)
    total, maximum, _ = integer_softmax_sum(row, takes_part, block=block, fraction=fraction, bits=bits)
    if not total:
        return np.zeros(len(row), np.int64)
    inverse = np.int64((((1 << bits) - 1) << bits) // total)
    shifts = _octaves(np.where(takes_part, maximum - row, 0), fraction)
    return np.where(takes_part, inverse >> shifts, 0)


def integer_softmax_bounds(
    scores: ArrayLike, counted: ArrayLike | None = None, *, block: int, fraction: int, bits: int = 8
) -> tuple[Floats, Floats]:
    """Between what the probabilities of one row lie, from its exact softmax to base 2, t / T with t = 2^-distance.

    Rounding to whole octaves moves each weight by a factor of at most sqrt 2 either way, and so does each of k rises
    what was summed before it; each element's term and each rise floors off less than 1 of the sum. So 2^bits T
    2^(-(k+1)/2) - n - k < sum <= 2^bits T 2^((k+1)/2), and never is it below 2^bits. The reciprocal and the last shift
    floor off less than 1 each.
    """
    row = np.asarray(scores, dtype=np.float64)
    takes_part = np.ones(len(row), bool) if counted is None else np.asarray(counted, bool)
    total, maximum, rises = integer_softmax_sum(scores, counted, block=block, fraction=fraction, bits=bits)
    if not total:
        return np.zeros(len(row)), np.zeros(len(row))
    weights = np.where(takes_part, 2.0 ** ((row - maximum) / (1 << fraction)), 0.0)
    whole, one = weights.sum() * (1 << bits), float(1 << bits)
    spread = 2.0 ** ((rises + 1) / 2)
    least = max(one, whole / spread - takes_part.sum() - rises)
    scale = (one - 1) * one * weights
    low: Floats = np.maximum(scale / np.sqrt(2) / (whole * spread) - 2, 0.0)
    high: Floats = scale * np.sqrt(2) / least
    return low, high
