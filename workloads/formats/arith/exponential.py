"""exp of floating-point numbers, bit for bit as the hardware unit gives it.

With y = x log2(e) in fixed point, exp(x) = 2^floor(y) 2^(y - floor(y)). The power of the fraction comes from a table of
2^(i/N) and, between two entries, a chord (results of up to 10 mantissa bits) or the parabola through both entries and
the power half-way (longer ones). The one rounding to nearest even comes last, also for subnormal results.

NaN gives NaN, -infinity +0, +infinity infinity; a result beyond the largest number overflows as in
`workloads.formats.golden.floats.encode`; exp(0) is exactly 1. Between entries a chord never falls, so that with chords
exp is monotonic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Integers, refuse
from workloads.formats.golden.floats import FloatFormat, decode, encode

__all__ = ["ExponentialPlan", "exponential", "exponential_error", "exponential_plan"]

_LONGEST_WITH_CHORDS = 10
_CURVE_BITS = 16


@dataclass(frozen=True)
class ExponentialPlan:
    """Widths and tables for one pair of formats.

    |x| < 2^``reach`` is computed, what lies beyond over- or underflows for certain. y and the power of its fraction
    have ``fraction_bits`` fraction bits; log2(e) is ``scale`` / 2^``scale_bits``. ``starts``, ``rises`` and ``bends``
    are the table, in 2^-``fraction_bits``: of segment i (the upper ``index_bits`` of the fraction) and the place
    u in [0, 1) in it the power is start + u (rise - bend (1 - u)), with ``curve_bits`` bits of 1 - u. Bends are
    empty for chords.
    """

    reach: int
    fraction_bits: int
    index_bits: int
    scale: int
    starts: tuple[int, ...]
    rises: tuple[int, ...]
    bends: tuple[int, ...]

    @property
    def scale_bits(self) -> int:
        """So many that its rounding moves y by 2^-(fraction_bits + 2) at most."""
        return self.fraction_bits + self.reach + 1

    @property
    def place_bits(self) -> int:
        """Bits of the place in a segment."""
        return self.fraction_bits - self.index_bits

    @property
    def curve_bits(self) -> int:
        """Bits of 1 - u that meet the bend."""
        return min(_CURVE_BITS, self.place_bits)


@cache
def exponential_plan(result: FloatFormat) -> ExponentialPlan:
    """Widths and tables for results in ``result``; `InputError` for a format without NaN."""
    refuse(result.specials == "none", f"exp into {result.name}, which has no NaN", "a format with NaN", "result")
    mantissa = result.mantissa_bits
    chords = mantissa <= _LONGEST_WITH_CHORDS
    fraction_bits = mantissa + (9 if chords else 5)
    index_bits = (mantissa + 4) // 2 if chords else math.ceil((mantissa - 5) / 3)
    farthest = max(result.maximum_exponent + 1, mantissa + 1 - result.minimum_exponent)
    reach = math.ceil(math.log2(farthest * math.log(2)))
    entries = 1 << index_bits
    powers = [2.0 ** (fraction_bits + n / (2 * entries)) for n in range(2 * entries + 1)]
    knots = [round(power) for power in powers[::2]]
    bends = [round(2 * (a + b - 2 * half)) for a, half, b in zip(powers[::2], powers[1::2], powers[2::2], strict=False)]
    return ExponentialPlan(
        reach,
        fraction_bits,
        index_bits,
        round(2.0 ** (fraction_bits + reach + 1) / math.log(2)),
        tuple(knots[:-1]),
        tuple(b - a for a, b in pairwise(knots)),
        () if chords else tuple(bends),
    )


def exponential_error(result: FloatFormat) -> float:
    """Bound of the relative error before the result is rounded: |given - exp x| <= this * exp x + half a step.

    y is cut off below 2^-F and its constant moves it by 2^-(F+2) more, which costs a factor of 2^(1.25 2^-F). A power
    of at least 1 then errs by the segment's shape, with h = ln2 / N: chord h^2/8 of the power at its upper end,
    exp(h); parabola h^3 / (72 sqrt 3), likewise (the remainders of interpolation). The table's rounding adds half a
    unit 2^-F (both ends err, what lies between errs by no more), the product's floor one; with a bend its rounding
    (1/8), the cut of 1 - u (bend 2^-curve_bits, and as much below for the ones' complement) and a second floor.
    """
    plan = exponential_plan(result)
    step = math.log(2) / (1 << plan.index_bits)
    units = 1.5
    shape = step * step / 8
    if plan.bends:
        shape = step**3 / (72 * math.sqrt(3))
        units += 1 / 8 + 1 + 2 * max(plan.bends) * 2.0**-plan.curve_bits
    power = shape * math.exp(step) + math.ldexp(units, -plan.fraction_bits)
    return (1 + power) * math.exp(math.log(2) * math.ldexp(1.25, -plan.fraction_bits)) - 1


def exponential(codes: ArrayLike, source: FloatFormat, result: FloatFormat) -> Integers:
    """Codes in ``result`` of exp of the ``codes`` in ``source``, any shape."""
    plan = exponential_plan(result)
    words = np.asarray(codes, dtype=np.int64)
    values = decode(words, source)
    field = (words >> source.mantissa_bits) & ((1 << source.exponent_bits) - 1)
    significand = (words & ((1 << source.mantissa_bits) - 1)) + np.where(field > 0, 1 << source.mantissa_bits, 0)
    exponent = np.maximum(field, 1) - 1 + source.minimum_exponent
    near = np.abs(values) < 2.0**plan.reach  # NaN is not near
    shift = source.mantissa_bits + plan.scale_bits - plan.fraction_bits - np.where(near, exponent, 0)
    scaled = (significand * plan.scale) >> np.minimum(shift, 63)
    scaled = np.where(values < 0, -scaled, scaled)
    whole, fraction = scaled >> plan.fraction_bits, scaled & ((1 << plan.fraction_bits) - 1)
    power = np.ldexp(_power(fraction, plan).astype(np.float64), (whole - plan.fraction_bits).astype(np.int32))
    with np.errstate(invalid="ignore"):
        far = np.where(values > 0, np.inf, 0.0)
    return encode(np.where(np.isnan(values), np.nan, np.where(near, power, far)), result)


def _power(fraction: Integers, plan: ExponentialPlan) -> Integers:
    segment = fraction >> plan.place_bits
    place = fraction & ((1 << plan.place_bits) - 1)
    slope = np.array(plan.rises)[segment]
    if plan.bends:
        left = ((1 << plan.place_bits) - 1 - place) >> (plan.place_bits - plan.curve_bits)
        slope = slope - ((np.array(plan.bends)[segment] * left) >> plan.curve_bits)
    power: Integers = np.array(plan.starts)[segment] + ((slope * place) >> plan.place_bits)
    return power
