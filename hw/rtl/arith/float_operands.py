"""Operands for floating-point units: drawn so that the rare things happen, and what happened told from the results."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hw.rtl.arith.function_stimulus import float_parameter, special_codes
from workloads.errors import InputError
from workloads.formats.golden.arrays import Floats, Integers
from workloads.formats.golden.floats import FloatFormat, decode, encode, steps

__all__ = [
    "all_tuples",
    "corner_codes",
    "draw_codes",
    "draw_partners",
    "is_subnormal",
    "limits",
    "result_goals",
    "two_formats",
]


def limits(**ranges: tuple[int, int, int]) -> None:
    """`InputError` for the first (value, low, high) whose value is not from low to high."""
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise InputError(f"{value} {name}", f"from {low} to {high}", name)


def two_formats(name: str, into: str) -> tuple[FloatFormat, FloatFormat]:
    """The format of the operands and that of the result, "same" being the operands'."""
    fmt = float_parameter(name, "format")
    return fmt, fmt if into == "same" else float_parameter(into, "into")


def corner_codes(fmt: FloatFormat, *, few: bool = False) -> Integers:
    """`special_codes`, and the neighbours of one, of the largest and of the smallest normal number; ``few`` of them
    where all triples are wanted."""
    if few:
        least = [0, 1, 1 << fmt.mantissa_bits, int(encode(1.0, fmt)), fmt.largest_code]
        codes = [*least, *([fmt.largest_code + 1] if fmt.largest_code + 1 < 1 << (fmt.bits - 1) else [])]
        return np.array([code | sign << (fmt.bits - 1) for sign in (0, 1) for code in codes])
    one = int(encode(1.0, fmt))
    near = [one + 1, one - 1, one + (1 << fmt.mantissa_bits), fmt.largest_code - 1, (1 << fmt.mantissa_bits) + 1]
    more = [code | sign << (fmt.bits - 1) for sign in (0, 1) for code in near]
    return np.unique(np.concatenate([special_codes(fmt), np.array(more)]))


def all_tuples(choices: Sequence[Integers], lanes: int) -> list[Integers]:
    """Every tuple of one code out of each of ``choices``, as one (beats, lanes) array for each; the last beat is
    filled from the beginning."""
    tuples = np.array(list(itertools.product(*choices)))
    size = -(-len(tuples) // lanes) * lanes
    return [np.resize(column, size).reshape(-1, lanes) for column in tuples.T]


def draw_codes(rng: np.random.Generator, fmt: FloatFormat, shape: tuple[int, ...]) -> Integers:
    """Codes of which half are any, the rest within few binades of one or special; half with their lower mantissa bits
    cleared from some place on, so that sums and products end in ties."""
    codes = rng.integers(0, 1 << fmt.bits, shape)
    one = int(encode(1.0, fmt))
    spread = 3 << fmt.mantissa_bits
    around = np.clip(one + rng.integers(-spread, spread, shape), 0, fmt.largest_code)
    around |= rng.integers(0, 2, shape) << (fmt.bits - 1)
    codes = np.where(rng.random(shape) < 0.4, around, codes)
    cleared = rng.integers(0, fmt.mantissa_bits + 1, shape)
    codes = np.where(rng.random(shape) < 0.5, (codes >> cleared) << cleared, codes)
    return np.where(rng.random(shape) < 0.1, rng.choice(corner_codes(fmt), shape), codes)


def draw_partners(rng: np.random.Generator, codes: Integers, fmt: FloatFormat) -> Integers:
    """A second operand for each of ``codes``: a third the same or a close neighbour, of either sign, a third within a
    few binades, a third drawn apart."""
    magnitude = codes & ((1 << (fmt.bits - 1)) - 1)
    sign = rng.integers(0, 2, codes.shape) << (fmt.bits - 1)
    top = (1 << (fmt.bits - 1)) - 1
    close = np.clip(magnitude + rng.integers(-2, 3, codes.shape), 0, top) | sign
    spread = (fmt.mantissa_bits + 3) << fmt.mantissa_bits
    near = np.clip(magnitude + rng.integers(-spread, spread + 1, codes.shape), 0, top)
    cleared = rng.integers(0, fmt.mantissa_bits + 1, codes.shape)
    near = ((near >> cleared) << cleared) | sign
    kind = rng.random(codes.shape)
    return np.where(kind < 0.33, close, np.where(kind < 0.66, near, draw_codes(rng, fmt, codes.shape)))


def is_subnormal(codes: Integers, fmt: FloatFormat) -> NDArray[np.bool_]:
    """Which codes are subnormal and not zero."""
    magnitude = codes & ((1 << (fmt.bits - 1)) - 1)
    found: NDArray[np.bool_] = (magnitude > 0) & (magnitude < 1 << fmt.mantissa_bits)
    return found


def result_goals(exact: Floats, codes: Integers, fmt: FloatFormat) -> dict[str, bool]:
    """What can befall a rounded result; ``exact`` in float64, exact or rounded to odd."""
    with np.errstate(invalid="ignore"):
        values = decode(codes, fmt)
        finite = np.isfinite(exact) & np.isfinite(values)
        distance = np.where(finite, values - exact, 0.0)
        tie = finite & (2.0 * np.abs(distance) == steps(np.where(finite, exact, 1.0), fmt)) & (distance != 0.0)
        outward = np.sign(distance) == np.sign(exact)
        beyond = np.isfinite(exact) & (np.abs(exact) > fmt.maximum)
    goals = {
        "tie rounded outward": bool((tie & outward).any()),
        "tie rounded inward": bool((tie & ~outward).any()),
        "inexact": bool((distance != 0.0).any()),
        "exact": bool((finite & (distance == 0.0)).any()),
        "overflow": bool((beyond & (values != exact)).any()),
        "positive and negative zero": len(set(codes[values == 0.0].tolist())) == 2,
        "largest number": bool((np.abs(values) == fmt.maximum).any()),
    }
    if fmt.mantissa_bits:
        goals["subnormal result"] = bool(is_subnormal(codes, fmt).any())
    if fmt.nan_code is not None:
        goals["NaN"] = bool(np.isnan(values).any())
    if fmt.specials == "ieee":
        goals["both infinities"] = bool(np.isposinf(values).any() and np.isneginf(values).any())
    return goals
