"""One row of attention in integers alone, in one pass over keys and values.

Scores are requantised dot products, scaled so that 2^``fraction`` of their steps are an octave: softmax is taken to
base 2, with log2(e) in the scale. A score s = octave * 2^fraction + f has the weight table[f] * 2^octave with
table[f] = 2^(``weight`` - 1 + f / 2^fraction), rounded. The row's highest octave is the reference: a position's weight
is shifted down (floor) by its distance to it, and where it rises, sum and accumulators are shifted down (floor) by the
rise: a whole number of octaves, so that nothing is rounded there and no drift builds up over many rises, as it does
where rises are rounded (`workloads.formats.arith.integer_softmax`). At the end every accumulator is multiplied with
floor(2^(weight - 1 + digits) / sum), 2^digits - 1 at most, and requantised.

Requantising is x * multiplier / 2^shift, rounded half up, clipped to ``width`` bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Floats, Integers

__all__ = [
    "AttentionNumerics",
    "integer_attention",
    "integer_attention_bound",
    "real_attention",
    "requantised",
    "weight_table",
]


@dataclass(frozen=True)
class AttentionNumerics:
    """Widths and scales: ``width`` bits of queries, keys, values, scores and outputs; rows of up to ``length``
    positions; scores are dot products times ``multiplier`` / 2^``shift``, outputs likewise scaled."""

    width: int = 8
    fraction: int = 4
    weight: int = 12
    length: int = 64
    multiplier: int = 164
    shift: int = 16
    output_multiplier: int = 181
    output_shift: int = 7

    @property
    def digits(self) -> int:
        """Bits of the reciprocal: cut off by less than 1 of its 2^digits / (2 * length) at least, it moves an output of
        less than 2^(width - 1) by less than 1/8 step."""
        return self.width + 3 + (self.length - 1).bit_length()

    @property
    def sum_bits(self) -> int:
        """Every weight is below 2^weight."""
        return self.weight + (self.length - 1).bit_length()

    @property
    def accumulator_bits(self) -> int:
        """Products are at most 2^(width - 1) (2^weight - 1), and shifting down makes no magnitude larger."""
        return self.width + self.weight + (self.length - 1).bit_length()


def weight_table(numerics: AttentionNumerics) -> tuple[int, ...]:
    """Weights of the scores of one octave, relative to its lowest."""
    steps = 1 << numerics.fraction
    return tuple(min((1 << numerics.weight) - 1, round(2.0 ** (numerics.weight - 1 + f / steps))) for f in range(steps))


def requantised(values: Integers, multiplier: int, shift: int, width: int) -> Integers:
    """``values`` * ``multiplier`` / 2^``shift``, rounded half up and clipped to signed ``width`` bits."""
    scaled = (values * multiplier + ((1 << shift) >> 1)) >> shift
    clipped: Integers = np.clip(scaled, -(1 << (width - 1)), (1 << (width - 1)) - 1)
    return clipped


def integer_attention(q: ArrayLike, k: ArrayLike, v: ArrayLike, numerics: AttentionNumerics) -> Integers:
    """Output (head,) for a query (head,) and keys and values (positions, head) of signed ``width`` bits."""
    query, keys, values = (np.asarray(x, dtype=np.int64) for x in (q, k, v))
    scores = requantised(keys @ query, numerics.multiplier, numerics.shift, numerics.width)
    octaves, places = scores >> numerics.fraction, scores & ((1 << numerics.fraction) - 1)
    table = np.array(weight_table(numerics))
    reference, total, accumulators = int(octaves[0]), 0, np.zeros(len(query), np.int64)
    for octave, place, value in zip(octaves.tolist(), places.tolist(), values, strict=True):
        rise = max(0, octave - reference)
        reference += rise
        weight = int(table[place]) >> (reference - octave)
        total = (total >> rise) + weight
        accumulators = (accumulators >> min(rise, 62)) + weight * value
    inverse = min((1 << numerics.digits) - 1, (1 << (numerics.weight - 1 + numerics.digits)) // total)
    shift = numerics.weight - 1 + numerics.digits + numerics.output_shift
    return requantised(accumulators, inverse * numerics.output_multiplier, shift, numerics.width)


def real_attention(q: ArrayLike, k: ArrayLike, v: ArrayLike, numerics: AttentionNumerics) -> tuple[Floats, Floats]:
    """What `integer_attention` stands for, in float64: the output before any rounding, clipped only where integers are,
    and the weights of the positions relative to the highest."""
    query, keys, values = (np.asarray(x, dtype=np.float64) for x in (q, k, v))
    low, high = -(1 << (numerics.width - 1)), (1 << (numerics.width - 1)) - 1
    scores = np.clip(keys @ query * numerics.multiplier / (1 << numerics.shift), low, high)
    weights = 2.0 ** ((scores - scores.max()) / (1 << numerics.fraction))
    output = weights @ values / weights.sum() * numerics.output_multiplier / (1 << numerics.output_shift)
    return np.clip(output, low, high), weights


def integer_attention_bound(q: ArrayLike, k: ArrayLike, v: ArrayLike, numerics: AttentionNumerics) -> Floats:
    """Bound (head,) of |`integer_attention` - `real_attention`|, from the real weights alone.

    Let O be the exact sum of weights in units in which the reference octave begins at 2^(weight - 1), o the exact
    output before it is scaled. A score rounds by half a step, a weight's table by 2^-weight of it: its factor is off by
    d = 2^(0.5 / 2^fraction) (1 + 2^-weight) - 1 at most. Shifting a weight down floors less than 1. Rises floor less
    than 1 of the sum and of an accumulator each, and every later rise halves that: less than 2 altogether. With
    a = accumulator, l = sum, a - o l is a sum of (v - o) times the errors of weights, as exact weights cancel:
    |a - o l| <= max |v - o| (d O + n) + 2 + 2 |o|, and l >= O (1 - d) - n - 2, and l >= 2^(weight - 1). The reciprocal
    is cut by 1 at most; rounding the output costs half a step; clipping brings no two numbers farther apart. The
    reference octave may begin up to one octave (and half a step) below the highest score.
    """
    values = np.asarray(v, dtype=np.float64)
    _, weights = real_attention(q, k, v, numerics)
    exact = weights @ values / weights.sum()
    unit = float(1 << (numerics.weight - 1))
    spread = 2.0 ** (0.5 / (1 << numerics.fraction))
    off = spread * (1 + 2.0**-numerics.weight) - 1
    positions = len(weights)
    bounds = []
    for top in (1.0 / spread, 2.0 * spread):  # of the highest weight, in units of the reference octave's begin
        whole = weights.sum() * unit * top
        least = max(unit, whole * (1 - off) - positions - 2)
        away = np.abs(values - exact).max(axis=0) * (off * whole + positions) + 2 + 2 * np.abs(exact)
        cut = (np.abs(exact) * whole * (1 + off) + away) / (unit * (1 << numerics.digits))
        bounds.append(away / least + cut)
    gain = numerics.output_multiplier / (1 << numerics.output_shift)
    bound: Floats = gain * np.maximum(*bounds) + 0.5
    return bound
