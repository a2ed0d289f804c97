"""What the FuseMax-style array computes, operation by operation, on codes; and a bound on its error.

The cascade is FuseMax's one pass over the keys (MICRO 2024, arXiv 2406.10491; `attention-1pass` of
`workloads.cascades`), in its names, p for the queries of a tile, n for the keys of a block, with 2^x in place of e^x:

    QS = Q * log2(e)/sqrt(E)   QK = sum_e QS K            LM = max_n QK
    RM' = max(RM, LM)          PRM = 2^(RM - RM')         SLN = 2^(QK - RM')
    SLD = sum_n SLN            RD' = RD PRM + SLD         SLNV = sum_n SLN V
    RNV' = RNV PRM + SLNV      AV = RNV / RD

Sums go in order of e and of n. A power of two is a subtraction and six multiply-adds: t = x - m, never positive, is
rounded to the ``mantissa_bits`` fraction bits of t = (u - 1) + whole with 1 <= u < 2; a polynomial of degree six in u
(Horner's rule) gives 2^(u-1), and ``whole`` goes to its exponent. What would be subnormal is +0. The reciprocal of RD
begins with the code 2 bias - RD in units of the exponent (at most 1/8 wrong, and exact at powers of two) and takes
Newton steps r + r (1 - RD r), each of which squares the error.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from workloads.formats.arith.floating import canonical_nan, float_convert, float_fma, float_maximum, float_multiply
from workloads.formats.golden.arrays import Integers
from workloads.formats.golden.floats import FloatFormat, decode, encode

__all__ = [
    "STEPS_OF_POWER",
    "attention_tile",
    "error_bound",
    "newton_steps",
    "power_coefficients",
    "power_reach",
    "reciprocal",
    "reciprocal_seed",
    "scale_code",
    "small_power",
    "split_power",
]

_DEGREE = 6
STEPS_OF_POWER = 1 + _DEGREE
"""Operations of a power of two: FuseMax's subtraction and six multiply-adds (artifact, action tables)."""


def power_coefficients(working: FloatFormat) -> list[int]:
    """Codes of the coefficients, that of u^6 first, of a polynomial that is 2^(u-1) for 1 <= u < 2.

    Derived: it interpolates at the Chebyshev nodes of [1, 2], which leaves at most (ln 2)^7 / 7! * 2 / 4^7 = 1.9e-9 of
    the least value, 1. Divided differences of Newton's form are multiplied out to powers of u.
    """
    nodes = [1.5 + 0.5 * math.cos((2 * n + 1) * math.pi / (2 * _DEGREE + 2)) for n in range(_DEGREE + 1)]
    slopes = [2.0 ** (u - 1.0) for u in nodes]
    for order in range(1, _DEGREE + 1):
        for n in range(_DEGREE, order - 1, -1):
            slopes[n] = (slopes[n] - slopes[n - 1]) / (nodes[n] - nodes[n - order])
    powers = [slopes[_DEGREE]]  # lowest power first
    for n in range(_DEGREE - 1, -1, -1):
        shifted = [0.0, *powers]
        powers = [a - nodes[n] * b for a, b in zip(shifted, [*powers, 0.0], strict=True)]
        powers[0] += slopes[n]
    return [int(code) for code in encode(np.array(powers[::-1]), working)]


def scale_code(head: int, working: FloatFormat) -> int:
    """log2(e) / sqrt(head): powers of two of scores so scaled are those of e."""
    return int(encode(np.array(math.log2(math.e) / math.sqrt(head)), working))


def newton_steps(working: FloatFormat) -> int:
    """Steps until an error of 1/8 is below half a unit of the last place: 3 * 2^steps >= mantissa bits + 1."""
    steps = 0
    while 3 << steps < working.mantissa_bits + 1:
        steps += 1
    return steps


def split_power(codes: Integers, working: FloatFormat) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """Of t not above zero: the code of u, the whole part, and whether 2^t is too small for a normal number of any
    fraction (t at or below -2^k, the least power of two that is not less than -minimum_exponent).

    Positive t count as zero; NaN gives u = NaN.
    """
    values = decode(codes, working)
    one = int(encode(np.array(1.0), working))
    nan = np.isnan(values)
    limit = 2.0 ** power_reach(working)
    far = values <= -limit
    held = np.where(nan | far | (values > 0), 0.0, values)
    fixed = np.rint(held * 2.0**working.mantissa_bits).astype(np.int64)
    fraction = fixed & ((1 << working.mantissa_bits) - 1)
    return np.where(nan, canonical_nan(working), one + fraction), fixed >> working.mantissa_bits, far


def power_reach(working: FloatFormat) -> int:
    """k of the 2^k from which on below zero a power of two is always too small."""
    return (-working.minimum_exponent - 1).bit_length()


def _scaled(codes: Integers, whole: Integers, far: NDArray[np.bool_], working: FloatFormat) -> Integers:
    """codes * 2^whole, +0 where that is not normal; NaN stays."""
    field = codes >> working.mantissa_bits
    moved = codes + (whole << working.mantissa_bits)
    small = far | (field + whole < 1)
    special = field == (1 << working.exponent_bits) - 1
    return np.where(special, codes, np.where(small, 0, moved))


def small_power(codes: Integers, working: FloatFormat) -> Integers:
    """2^t of t not above zero, by the array's steps."""
    first, *others = power_coefficients(working)
    u, whole, far = split_power(codes, working)
    value: Integers = np.full(u.shape, first, np.int64)
    for coefficient in others:
        value = float_fma(value, u, coefficient, working)
    return _scaled(value, whole, far, working)


def reciprocal_seed(codes: Integers, working: FloatFormat) -> Integers:
    """The first guess: with d = 2^e (1 + m) it is 2^-e (1 - m/2), too large by m (1 - m) / 2 <= 1/8 of 1/d."""
    assert working.bias is not None
    return ((2 * working.bias << working.mantissa_bits) - codes) & ((1 << working.bits) - 1)


def reciprocal(codes: Integers, working: FloatFormat) -> Integers:
    """1/d by the array's steps."""
    one = int(encode(np.array(1.0), working))
    guess = reciprocal_seed(codes, working)
    negative = codes ^ (1 << (working.bits - 1))
    for _ in range(newton_steps(working)):
        rest = float_fma(negative, guess, one, working)
        guess = float_fma(guess, rest, guess, working)
    return guess


def attention_tile(
    q: Integers, k: Integers, v: Integers, live: NDArray[np.int64], operand: FloatFormat, working: FloatFormat
) -> Integers:
    """Codes of AV [queries, F] out of Q [queries, E], K and V [blocks, columns, E or F] and which keys are ``live``
    [blocks, columns]; the first block has a live key."""
    minus_one, zero = int(encode(np.array(-1.0), working)), 0
    lowest = int(encode(np.array(-np.inf), working))
    queries, head = q.shape
    scaled = float_multiply(float_convert(q, operand, working), scale_code(head, working), working)
    keys, values = float_convert(k, operand, working), float_convert(v, operand, working)
    columns, wide = values.shape[1:]
    maximum = np.full(queries, lowest)
    total, numerator = np.zeros(queries, np.int64), np.zeros((queries, wide), np.int64)
    for block, (its_keys, its_values, its_live) in enumerate(zip(keys, values, live, strict=True)):
        scores = np.zeros((queries, columns), np.int64)
        for e in range(head):
            scores = float_fma(scaled[:, e : e + 1], its_keys[None, :, e], scores, working)
        local = np.full(queries, lowest)
        for n in np.flatnonzero(its_live).tolist():
            local = float_maximum(scores[:, n], local, working)
        risen = float_maximum(maximum, local, working) if block else local
        before = maximum if block else local
        correction = small_power(float_fma(risen, minus_one, before, working), working)
        weights = small_power(float_fma(risen[:, None], minus_one, scores, working), working)
        weights = np.where(its_live[None, :] != 0, weights, zero)
        sums, products = np.zeros(queries, np.int64), np.zeros((queries, wide), np.int64)
        for n in range(columns):
            sums = float_fma(weights[:, n], minus_one ^ (1 << (working.bits - 1)), sums, working)
            products = float_fma(weights[:, n : n + 1], its_values[None, n], products, working)
        total = float_fma(total, correction, sums, working)
        numerator = float_fma(numerator, correction[:, None], products, working)
        maximum = risen
    return float_multiply(numerator, reciprocal(total, working)[:, None], working)


def error_bound(
    q: NDArray[np.float64], k: NDArray[np.float64], v: NDArray[np.float64], columns: int, working: FloatFormat
) -> NDArray[np.float64]:
    """How far AV [queries, F] may be from softmax(Q K^T / sqrt(E)) V, all keys live, no score beyond ``working``.

    With u = 2^-(mantissa_bits + 1), E the head, N the columns, B the blocks, and T how far a score lies below the
    query's highest, in units of log2:

    - A score is E multiply-adds of products with an operand rounded twice (the factor, and Q with it): off by
      (E + 2) u sum |QS K|.
    - A weight 2^(QK - RM') is carried on by corrections whose exponents add up to T with its own: the subtractions
      put u T on it. Maxima are numbers that the array has, so no other error comes with them.
    - A power of two has u ln 2 from the fraction. Horner's rule on positive terms C_j x^j, x <= 2, rounds the tails
      from each power on: sum of (1 + j) C_j x^j = (1 + x ln 2) 2^(x-1), so 2.4 u; the coefficients are off by u; the
      polynomial by 2e-9. In all 4.1 u + 2e-9, for the weight and each of B corrections.
    - These act on numerator and denominator alike: with factors f = e^(+-eta) on weights p the result moves by
      sum p (f - 1) (v - AV) over sum p f.
    - Sums are N adds and B multiply-adds: (N + B) u of the magnitudes, in numerator and in denominator.
    - The reciprocal's last step is off by u, as is its rounding, and so is the product with it: 3 u.
    - A weight is dropped, at once or with a correction, only if it is below the least normal number, of a denominator
      of at least about 1; subnormal terms lose half a unit each.
    """
    unit = 2.0 ** -(working.mantissa_bits + 1)
    (_, head), blocks = q.shape, -(-len(k) // columns)
    scaled = q * math.log2(math.e) / math.sqrt(head)
    scores = scaled @ k.T
    below = scores.max(axis=1, keepdims=True) - scores
    weights = np.exp2(-below)
    weights /= weights.sum(axis=1, keepdims=True)
    exact = weights @ v
    score = (head + 2) * unit * (np.abs(scaled) @ np.abs(k).T)
    eta = math.log(2) * (score + unit * below) + (blocks + 1) * (4.1 * unit + 2e-9)
    dropped = below >= -working.minimum_exponent - 1
    moves = np.where(dropped, 1.0, np.expm1(np.minimum(eta, 300.0)))
    apart = np.abs(v[None, :, :] - exact[:, None, :])
    least = (weights * np.where(dropped, 0.0, np.exp(-eta))).sum(axis=1)[:, None]
    sums = (columns + blocks) * unit * (weights @ np.abs(v) + np.abs(exact)) + 3 * unit * np.abs(exact)
    lost = 2 * len(k) * 2.0 ** (working.minimum_exponent - working.mantissa_bits - 1) * (1 + np.abs(exact))
    bound = (np.einsum("pm,pmf->pf", weights * moves, apart) + 1.01 * sums + lost) / least
    result: NDArray[np.float64] = np.minimum(bound, 2.01 * np.abs(v).max())
    return result
