"""1/x of floating-point numbers, correctly rounded.

1/(+-0) overflows to an infinity of that sign, 1/(+-infinity) is a zero of that sign, NaN gives the format's one NaN
(positive). Every result is the number nearest to the exact quotient, ties to even, subnormal results included: IEEE
754-2019 division of 1 (its error is half a step).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Integers, refuse
from workloads.formats.golden.floats import FloatFormat, decode, encode

__all__ = ["reciprocal"]


def reciprocal(codes: ArrayLike, source: FloatFormat, result: FloatFormat | None = None) -> Integers:
    """Codes in ``result`` (None: ``source``) of 1/x of the ``codes`` in ``source``, any shape.

    Rounding float64's quotient once more is exact: x has a significand of at most 24 bits, so that 1/x, where it is
    no power of two, lies 2^-49 (relative) or more from every midpoint of numbers of 24 bits or fewer, and float64
    errs by 2^-53. `InputError` for a result format without NaN.
    """
    result = source if result is None else result
    refuse(result.specials == "none", f"1/x into {result.name}, which has no NaN", "a format with NaN", "result")
    values = decode(codes, source)
    with np.errstate(divide="ignore"):
        return encode(np.where(np.isnan(values), np.nan, 1.0 / values), result)  # the one NaN there is, unsigned
