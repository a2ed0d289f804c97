"""What the online-softmax attention engine computes, to the bit, and how far that may lie from the exact result.

Numbers of one row of attention: a query of ``head`` elements, and a key and a value at each position that counts. For
a code, e is its exponent field (1 for subnormals and zero), b the bias, m the mantissa bits and the significand an
integer with the hidden bit, so that the value is significand * 2^(e - b - m).

1. *Score.* The products of significands, exact, of the elements in one beat, are aligned to the largest sum of
   exponents E among them; ``score_fraction`` bits below E are kept and the rest of each magnitude is cut off; then
   they are added exactly. Beats of one position are added in the frame of their larger E, what lies below its last
   bit being floored. (A zero counts with the lowest exponent, so it raises no frame much above that of 1 * 1.)
2. *Logarithm of the weight.* The score times log2(e) / sqrt(head), a constant of 16 significant bits, floored to
   ``precision`` bits after the point and saturated to ``range_bits`` before it: t = n + f, n whole, 0 <= f < 1. (When
   E is so high that the last bit of the score is beyond the point, t is the largest value of the score's sign.)
3. *Weight.* w = 2^f rounded to ``precision`` bits after the point, from a table with linear interpolation; the weight
   is w * 2^n. The running maximum M is that of n, so rescaling by 2^(M - M') is a shift: no exponential is taken.
4. *Sums.* Weights are added in the frame of 2^M, weighted values in that of 2^(M + R) with R the highest exponent
   field that the values of those lanes had so far; ``fraction`` bits below the frame are kept. What of a term's
   magnitude lies below is cut off, and when a frame rises the sum is floored. The maximum of a block is taken before
   its terms are added, so that M rises at most once a block.
5. *Quotient.* Both sums are cut to ``quotient_bits`` bits from their highest; the reciprocal of the denominator is an
   integer quotient, floored; its product with the numerator is rounded once to the result's format (to nearest, ties
   to even, subnormals kept).

A row no position of which counts is zero. A NaN or an infinity in the query, or in a key that counts, makes the row
NaN; one in a value that counts makes that element NaN, and is a zero to the elements beside it.

**Bound.** Let t_j be exact, a_j the exact softmax weights, y the exact row. (1) cuts less than one last bit for each
product and each joining of beats, so the score is off by less than (head + parts - 1) * 2^(E - score_fraction), and t
by tau_j = that * log2(e) / sqrt(head). (2) The constant is off by a share d <= 2^-16, which scales every t_j alike and
so changes t_j - t_max by at most d * (t_max - t_j); flooring takes [0, 2^-precision) from t_j, that is
2^-(precision + 1) to either side of a shift common to all. (3) The chord of 2^f over a segment of h lies
above it by at most h^2 (ln 2)^2 / 8 of its value (the second derivative is (ln 2)^2 2^f); values of the table are off
by half of its last bit, so is the rise, and the result by half of the weight's. Hence |ln(w'_j / w_j)| <= r_j with

    r_j = ln 2 * (tau_j + d (t_max - t_j) + 2^-(precision + 1)) + e_3

up to a factor common to all, and weights perturbed by up to g_j = exp(r_j) - 1 move y by at most
sum a_j g_j |v_j - y| / (1 - sum a_j g_j). (4) A term loses less than one last bit; a floor when the frame rises loses
less than one, and halves what was lost before, so all of these together lose less than two: sums of c terms lose less
than (c + 2) 2^-fraction of their frame. The frame of weights is 2^M <= the largest weight; with A = sum w_j / w_max,
at least sum a_j / a_max * (1 - g) / (1 + g) and at least 1, the sum is off by a share of at most
s = (c + 2) 2^-fraction / A, the weighted values by s times 2^R, R the exponent of the largest value (at least of the
smallest normal number). (5) Each of three cuts takes a share
below 2^(1 - quotient_bits); the rounding at most half a unit in the last place.

The blocked online form is that of FlashAttention-2 (arXiv 2307.08691). Softermax (arXiv 2103.09301, abstract) replaces
the base and normalises online in hardware; ITA's integer softmax rescales by shifts (pulp-platform/ITA at ba96519,
PyITA/softmax.py). Here the maximum is a whole number of powers of two, so that the shift is exact but for what it cuts.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hw.rtl.attention.online_attention_parameters import SCALE_BITS, OnlineAttention
from workloads.formats.golden.arrays import Floats, Integers, floor_log2
from workloads.formats.golden.floats import FloatFormat, encode, steps

__all__ = ["attention_rows", "error_bound", "powers", "row_limit", "weight_error", "weight_logarithms"]

Flags = NDArray[np.bool_]

_FAR = 62
"""No 64-bit number has a bit left after so many shifts."""


def row_limit(p: OnlineAttention, length: int, position: int) -> int:
    """How many positions count, from the first."""
    return min(length, position + 1) if p.causal else length


def _split(codes: Integers, fmt: FloatFormat) -> tuple[Integers, Integers, Integers, Flags]:
    """Sign (1 or -1), exponent field (at least 1), significand, and whether the code is no number."""
    magnitude = codes & ((1 << (fmt.bits - 1)) - 1)
    field = magnitude >> fmt.mantissa_bits
    significand = (magnitude & ((1 << fmt.mantissa_bits) - 1)) + ((field > 0).astype(np.int64) << fmt.mantissa_bits)
    sign = 1 - 2 * (codes >> (fmt.bits - 1))
    return sign, np.maximum(field, 1), significand, magnitude > fmt.largest_code


def _scores(p: OnlineAttention, q: Integers, k: Integers) -> tuple[Integers, Integers]:
    """(group, count) sums of products and the exponents of their frames."""
    q_sign, q_field, q_size, _ = _split(q[:, None, :], p.query_format)
    k_sign, k_field, k_size, _ = _split(k[None, :, :], p.cache_format)
    products, exponents = q_size * k_size, q_field + k_field
    beats = (*products.shape[:2], p.parts, p.lanes)
    frames = exponents.reshape(beats).max(axis=3)
    drop = np.minimum(np.repeat(frames, p.lanes, axis=2) - exponents, _FAR)
    sums = (q_sign * k_sign * ((products << p.product_shift) >> drop)).reshape(beats).sum(axis=3)
    total, frame = sums[:, :, 0], frames[:, :, 0]
    for part in range(1, p.parts):
        joint = np.maximum(frame, frames[:, :, part])
        total = total >> np.minimum(joint - frame, _FAR)
        total = total + (sums[:, :, part] >> np.minimum(joint - frames[:, :, part], _FAR))
        frame = joint
    return total, frame


def weight_logarithms(p: OnlineAttention, q: Integers, k: Integers) -> Integers:
    """Logarithms to base 2 of the (group, count) weights, in 2^-precision."""
    totals, frames = _scores(p, q, k)
    top = 1 << (p.range_bits - 1 + p.precision)
    drop = p.score_anchor - frames
    inside = (totals * p.scale[0]) >> np.clip(drop, 0, _FAR)
    found: Integers = np.clip(np.where(drop < 0, np.sign(totals) * top, inside), -top, top - 1)
    return found


def powers(p: OnlineAttention, fractions: Integers) -> Integers:
    """2^f in 2^-precision for fractions f in 2^-precision."""
    rest_bits = p.precision - p.segment_bits
    values, rises = p.power_table
    segment, rest = fractions >> rest_bits, fractions & ((1 << rest_bits) - 1)
    exact = (values[segment] << rest_bits) + rises[segment] * rest
    cut = rest_bits + p.table_guard
    rounded: Integers = (exact + (1 << (cut - 1))) >> cut
    return rounded


def _sums(terms: Integers, drops: Integers) -> Integers:
    """Running sum of (count, n) ``terms`` that, before term j is added, is shifted right by ``drops[j]``, floored."""
    total = np.zeros(terms.shape[1], np.int64)
    edges = [0, *np.flatnonzero(drops.any(axis=1)).tolist(), len(terms)]
    for begin, end in pairwise(edges):  # nothing is shifted inside
        total = (total >> np.minimum(drops[begin], _FAR)) + terms[begin:end].sum(axis=0)
    return total


def _bit_length(values: Integers) -> Integers:
    """Bits of each of ``values``, none of them negative."""
    rounded = np.where(values > 0, floor_log2(values.astype(np.float64)) + 1, 0)
    # Beyond 2^53 the conversion may have rounded up to the next power of two.
    bits: Integers = rounded - ((values >> np.maximum(rounded - 1, 0)) == 0) * (values > 0)
    return bits


def _top(values: Integers, bits: int) -> tuple[Integers, Integers]:
    """The highest ``bits`` bits of ``values`` (zeros below where there are fewer), and how many bits there were."""
    length = _bit_length(values)
    return np.where(
        length > bits, values >> np.maximum(length - bits, 0), values << np.maximum(bits - length, 0)
    ), length


def attention_rows(p: OnlineAttention, q: Integers, k: Integers, v: Integers, limit: int) -> Integers:
    """Codes of the (group, head) rows for codes ``q`` (group, head), ``k`` and ``v`` (count, head), of which the first
    ``limit`` positions count."""
    count = min(limit, len(k))
    if count <= 0:
        return np.zeros((p.group, p.head), np.int64)
    k, v = k[:count], v[:count]
    logarithms = weight_logarithms(p, q, k)
    whole = logarithms >> p.precision  # (group, count)
    weights = powers(p, logarithms & ((1 << p.precision) - 1))

    ends = np.minimum((np.arange(count) // p.block + 1) * p.block, count) - 1
    peak = np.maximum.accumulate(whole, axis=1)[:, ends]
    rise = np.diff(peak, axis=1, prepend=peak[:, :1])
    drop = np.minimum(peak - whole, _FAR)
    weight_terms = (weights << (p.fraction - p.precision)) >> drop
    weight_sum = _sums(weight_terms.T, rise.T)  # (group,)

    sign, field, size, broken = _split(v, p.cache_format)
    field = np.where(broken, 1, field)  # it raises no frame; its own element becomes NaN
    top = np.maximum.accumulate(field.reshape(count, p.parts, p.lanes).max(axis=2), axis=0).repeat(p.lanes, axis=1)
    climb = np.diff(top, axis=0, prepend=top[:1])  # (count, head)
    room = p.fraction - p.precision - p.cache_format.mantissa_bits
    rows = np.zeros((p.group, p.head), np.int64)
    for head in range(p.group):
        fall = np.minimum(drop[head][:, None] + top - field, _FAR)
        terms = sign * (((weights[head][:, None] * size) << room) >> fall)
        value_sum = _sums(terms, rise[head][:, None] + climb)
        rows[head] = _quotient(p, value_sum, weight_sum[head], top[-1])
    lost = _split(q, p.query_format)[3].any(axis=1, keepdims=True) | _split(k, p.cache_format)[3].any()
    nan = p.result_format.nan_code
    assert nan is not None
    return np.where(lost | broken.any(axis=0), nan, rows)


def _quotient(p: OnlineAttention, numerator: Integers, denominator: np.int64, top: Integers) -> Integers:
    """Codes of numerator / denominator * 2^(top - bias)."""
    bits = p.quotient_bits
    bottom, bottom_length = _top(np.asarray(denominator), bits)
    reciprocal = (1 << (2 * bits - 1)) // bottom
    high, high_length = _top(np.abs(numerator), bits)
    bias = p.cache_format.bias
    assert bias is not None
    exponent = high_length - bottom_length - 2 * bits + 1 + top - bias
    return encode(np.ldexp((np.sign(numerator) * high * reciprocal).astype(np.float64), exponent), p.result_format)


def weight_error(p: OnlineAttention) -> float:
    """e_3 of the bound: how far the logarithm (base e) of a weight's w lies from f * ln 2 at most."""
    chord = (math.log(2) ** 2) / 8 * 4.0**-p.segment_bits
    table = 2 * 2.0 ** -(p.precision + p.table_guard + 1)
    rounding = 2.0 ** -(p.precision + 1)
    share = chord + table + rounding
    return share / (1 - share)


def error_bound(p: OnlineAttention, q: Floats, k: Floats, v: Floats, exact: Floats) -> Floats:
    """(group, head): the most by which `attention_rows` may differ from ``exact``, the exact rows.

    ``q`` (group, head), ``k`` and ``v`` (count, head) are values, all of which count. Infinite where the weights are so
    uncertain that nothing can be said, and where a score may saturate.
    """
    exponents = floor_log2(np.maximum(np.abs(q), p.query_format.smallest_normal))[:, None, :]
    exponents = exponents + floor_log2(np.maximum(np.abs(k), p.cache_format.smallest_normal))[None, :, :]
    exponents = exponents.max(axis=2)
    scale = math.log2(math.e) / math.sqrt(p.head)
    tau = (p.head + p.parts - 1) * np.exp2((exponents - p.score_fraction).astype(np.float64)) * scale
    t = (q @ k.T) * scale  # (group, count)
    below = t.max(axis=1, keepdims=True) - t
    r = math.log(2) * (tau + 2.0**-SCALE_BITS * below + 2.0 ** -(p.precision + 1)) + weight_error(p)
    a = np.exp2(-below)
    total = a.sum(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        moves = np.exp(r - math.log(2) * below) / total - a / total  # a g, also where g alone is beyond all bounds
    spread = np.abs(v[None, :, :] - exact[:, None, :])  # (group, count, head)
    moved = np.einsum("gc,gch->gh", moves, spread)
    uncertain = moves.sum(axis=1, keepdims=True)
    g = np.where(a > 2.0**-60, np.expm1(np.minimum(r, 1.0)), 0.0).max(axis=1, keepdims=True)
    bias = p.query_format.minimum_exponent + p.cache_format.minimum_exponent - 2  # of the sum of two exponents
    inside = (exponents - bias <= p.score_anchor) & (np.abs(t) + tau + 1 < 2.0 ** (p.range_bits - 1))
    sure = (uncertain < 0.5) & (g < 0.5) & inside.all(axis=1, keepdims=True)
    ratio = np.maximum(1.0, total * (1 - g) / (1 + g))
    with np.errstate(invalid="ignore", over="ignore"):
        moved = moved / np.where(sure, 1 - uncertain, 1.0)
        largest = np.abs(v).reshape(len(v), p.parts, p.lanes).max(axis=(0, 2))
        largest = np.maximum(largest, p.cache_format.smallest_normal)
        frame = np.exp2(floor_log2(largest).astype(np.float64)).repeat(p.lanes)[None, :]
        share = (len(v) + 2) * 2.0**-p.fraction / ratio
        sums = share * (np.abs(exact) + moved + frame) / (1 - share)
        cuts = 3.01 * 2.0 ** (1 - p.quotient_bits)
        inner = moved + sums
        inner = inner + cuts * (np.abs(exact) + inner)
        bound = inner + steps(np.abs(exact) + inner, p.result_format) / 2
    return np.where(sure, bound, np.inf)
