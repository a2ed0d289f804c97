"""Floating-point arithmetic on codes: every result is the exact real one, rounded once.

Codes are integers of a `workloads.formats.golden.floats.FloatFormat`, any shape, broadcast against each other; results
are int64 codes. IEEE 754-2019, default attributes: round to nearest, ties to even; subnormals in and out; x + -x = +0;
infinity - infinity, 0 * infinity and any NaN operand give NaN. Every NaN given is the format's one canonical NaN
(positive, quiet, no payload). What overflows in a format without infinity becomes NaN, and the largest number where
there is no NaN either; NaN in a format without any becomes -0, which is what ml_dtypes 0.6 makes of a positive NaN.

Method: an operand, and a product of two operands (at most 48 bits), is exact in float64. A sum of two float64 numbers
is split into its float64 value and its exact error (Knuth's TwoSum: The Art of Computer Programming 2, 4.2.2, theorem
B); the error sets the last bit of the value, which is rounding to odd, and rounding that to at most 51 bits is the one
rounding of the exact sum (Boldo and Melquiond, IEEE Transactions on Computers 57(4), 2008). Magnitudes lie between
2^-298 and 2^256, so nothing is subnormal or infinite in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Floats, Integers
from workloads.formats.golden.floats import FloatFormat, decode, encode

__all__ = [
    "canonical_nan",
    "float_add",
    "float_convert",
    "float_equal",
    "float_fma",
    "float_less",
    "float_maximum",
    "float_multiply",
    "float_negate",
    "float_subtract",
    "float_unordered",
    "int_to_float",
    "scaled_to_float",
    "sum_to_odd",
]


def canonical_nan(fmt: FloatFormat) -> int:
    """The code that stands for NaN in results of ``fmt``: its quiet positive NaN, or -0 where it has none.

    >>> from workloads.formats.golden.floats import BF16, E2M1
    >>> hex(canonical_nan(BF16)), bin(canonical_nan(E2M1))
    ('0x7fc0', '0b1000')
    """
    return 1 << (fmt.bits - 1) if fmt.nan_code is None else fmt.nan_code


def _rounded(values: Floats, fmt: FloatFormat, saturate: bool = False) -> Integers:
    codes = encode(values, fmt, saturate=saturate, nan_code=canonical_nan(fmt))
    if fmt.specials == "none":
        return codes
    nan = (codes & ((1 << (fmt.bits - 1)) - 1)) > fmt.largest_code + (fmt.specials == "ieee")
    quiet: Integers = np.where(nan, canonical_nan(fmt), codes).astype(np.int64)
    return quiet


def sum_to_odd(a: Floats, b: Floats) -> Floats:
    """a + b in float64, rounded to odd: what is inexact has its last bit set, so it is no tie of any shorter format."""
    with np.errstate(invalid="ignore"):  # of infinities and NaN, whose sum is right as it is
        total = np.asarray(a + b, dtype=np.float64)
        of_b = total - a
        error = (a - (total - of_b)) + (b - of_b)
        inexact = np.isfinite(total) & (error != 0.0)
    bits = np.ascontiguousarray(total).view(np.int64)
    away = np.where(np.signbit(error) == np.signbit(total), 1, -1)
    odd = np.where(inexact & (bits & 1 == 0), bits + away, bits)
    result: Floats = odd.view(np.float64).reshape(total.shape)
    return result


def _broadcast(*codes: ArrayLike) -> tuple[Integers, ...]:
    return tuple(np.broadcast_arrays(*(np.asarray(one, dtype=np.int64) for one in codes)))


def float_add(a: ArrayLike, b: ArrayLike, fmt: FloatFormat) -> Integers:
    """a + b.

    >>> from workloads.formats.golden.floats import FP16
    >>> hex(float_add(0x3C00, 0x1000, FP16)), hex(float_add(0x3C01, 0x1000, FP16))  # 2^-11 is a tie at 1
    ('0x3c00', '0x3c02')
    """
    first, second = _broadcast(a, b)
    return _rounded(sum_to_odd(decode(first, fmt), decode(second, fmt)), fmt)


def float_negate(a: ArrayLike, fmt: FloatFormat) -> Integers:
    """-a: the other sign, of zeros too; NaN stays the canonical one."""
    return _rounded(-decode(a, fmt), fmt)


def float_subtract(a: ArrayLike, b: ArrayLike, fmt: FloatFormat) -> Integers:
    """a - b = a + (-b)."""
    first, second = _broadcast(a, b)
    return _rounded(sum_to_odd(decode(first, fmt), -decode(second, fmt)), fmt)


def float_multiply(a: ArrayLike, b: ArrayLike, fmt: FloatFormat, into: FloatFormat | None = None) -> Integers:
    """a * b, the exact product rounded to ``into`` (``fmt`` when None)."""
    first, second = _broadcast(a, b)
    with np.errstate(invalid="ignore"):
        product = decode(first, fmt) * decode(second, fmt)
    return _rounded(product, into or fmt)


def float_fma(a: ArrayLike, b: ArrayLike, c: ArrayLike, fmt: FloatFormat, into: FloatFormat | None = None) -> Integers:
    """a * b + c rounded once; ``a`` and ``b`` in ``fmt``, ``c`` and the result in ``into`` (``fmt`` when None)."""
    first, second, third = _broadcast(a, b, c)
    with np.errstate(invalid="ignore"):
        product = decode(first, fmt) * decode(second, fmt)
    return _rounded(sum_to_odd(product, decode(third, into or fmt)), into or fmt)


def float_maximum(a: ArrayLike, b: ArrayLike, fmt: FloatFormat) -> Integers:
    """The larger of a and b with -0 < +0; NaN if either is NaN (IEEE 754-2019, 9.6, maximum)."""
    first, second = _broadcast(a, b)
    x, y = decode(first, fmt), decode(second, fmt)
    larger = np.where((x > y) | ((x == y) & ~np.signbit(x)), first, second)
    chosen: Integers = np.where(np.isnan(x) | np.isnan(y), canonical_nan(fmt), larger)
    return chosen


def float_less(a: ArrayLike, b: ArrayLike, fmt: FloatFormat) -> Integers:
    """1 where a < b, else 0: of NaN never, and -0 is not less than +0."""
    first, second = _broadcast(a, b)
    less: Integers = (decode(first, fmt) < decode(second, fmt)).astype(np.int64)
    return less


def float_equal(a: ArrayLike, b: ArrayLike, fmt: FloatFormat) -> Integers:
    """1 where a = b, else 0: of NaN never, and -0 equals +0."""
    first, second = _broadcast(a, b)
    equal: Integers = (decode(first, fmt) == decode(second, fmt)).astype(np.int64)
    return equal


def float_unordered(a: ArrayLike, b: ArrayLike, fmt: FloatFormat) -> Integers:
    """1 where a or b is NaN, else 0."""
    first, second = _broadcast(a, b)
    unordered: Integers = (np.isnan(decode(first, fmt)) | np.isnan(decode(second, fmt))).astype(np.int64)
    return unordered


def float_convert(codes: ArrayLike, source: FloatFormat, target: FloatFormat, *, saturate: bool = False) -> Integers:
    """The numbers of ``codes`` rounded to ``target``; with ``saturate`` what overflows, and infinity, becomes the
    largest number of its sign.

    >>> from workloads.formats.golden.floats import E4M3, FP16
    >>> [hex(float_convert(0x5F40, FP16, E4M3, saturate=flag)) for flag in (False, True)]  # 464 is a tie at 448
    ['0x7e', '0x7e']
    """
    return _rounded(decode(codes, source), target, saturate)


def int_to_float(values: ArrayLike, fmt: FloatFormat) -> Integers:
    """Integers (int64) rounded to ``fmt``; zero becomes +0."""
    return scaled_to_float(values, 0, fmt)


def scaled_to_float(significands: ArrayLike, exponents: ArrayLike, fmt: FloatFormat) -> Integers:
    """significand * 2^exponent rounded once; ``significands`` int64, ``exponents`` from -900 to 900."""
    whole, exponent = _broadcast(significands, exponents)
    scale = exponent.astype(np.int32)
    high, low = (whole >> 32) << 32, whole & 0xFFFFFFFF
    parts = (np.ldexp(part.astype(np.float64), scale) for part in (high, low))
    return _rounded(sum_to_odd(*parts), fmt)
