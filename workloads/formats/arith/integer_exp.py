"""exp of non-positive integers times a scale, in integers alone: i-exp of I-BERT.

Kim et al., I-BERT (ICML 2021, arXiv 2101.01321), algorithms 1 and 2: exp(-dS) = 2^-z exp(p) with z = floor(d / q_ln2)
and p in (-ln2, 0], and exp(p) is near a (p + b)^2 + c with a = 0.3585, b = 1.353, c = 0.344. All constants are floored
in units of the scale: q_ln2 = floor(ln2/S), q_b = floor(b/S), q_c = floor(c/(a S^2)). The argument comes as its
distance d >= 0 below zero; the result is in units of a S^2 / 2^extra, ``extra`` bits kept beyond the paper's before the
shift by z cuts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Integers, refuse

__all__ = ["IntegerExponential", "integer_exponential", "integer_exponential_constants", "integer_exponential_error"]

_A, _B, _C = 0.3585, 1.353, 0.344
_POLYNOMIAL_ERROR = 2.13e-3
"""Largest difference of the polynomial from exp on (-ln2, 0], where 2a(p + b) = exp(p): 2.128e-3 at p = -0.138
with the coefficients as they are printed. The paper gives 1.9e-3."""


@dataclass(frozen=True)
class IntegerExponential:
    """Integer constants for one scale, and the ``unit`` of the results."""

    octave: int
    offset: int
    constant: int
    extra: int
    unit: float

    @property
    def largest(self) -> int:
        """The result for a distance of 0."""
        return (self.offset * self.offset + self.constant) << self.extra


def integer_exponential_constants(scale: float, extra: int = 0) -> IntegerExponential:
    """Constants of a ``scale`` (value of one step of d) from 2^-14 to ln2, and 0 to 16 ``extra`` bits."""
    refuse(not 2.0**-14 <= scale <= math.log(2), f"a scale of {scale}", "from 2^-14 to ln2", "scale")
    refuse(not 0 <= extra <= 16, f"{extra} extra bits", "from 0 to 16", "extra")
    square = _A * scale * scale
    return IntegerExponential(
        math.floor(math.log(2) / scale), math.floor(_B / scale), math.floor(_C / square), extra, square / (1 << extra)
    )


def integer_exponential(distances: ArrayLike, scale: float, extra: int = 0) -> Integers:
    """exp(-d ``scale``) in units, for distances d >= 0 of any shape."""
    constants = integer_exponential_constants(scale, extra)
    d = np.asarray(distances, dtype=np.int64)
    refuse(d < 0, "a distance is negative", "distances below the maximum, 0 or more", "distances")
    halvings, rest = np.divmod(d, constants.octave)
    result: Integers = (((constants.offset - rest) ** 2 + constants.constant) << extra) >> np.minimum(halvings, 62)
    return result


def integer_exponential_error(scale: float, extra: int = 0) -> float:
    """Bound of |given * unit - exp(-dS)| over all d.

    The polynomial's own error; flooring b moves the square by at most 2ab times what is lost of b, and c by what is
    lost of it; an octave of q_ln2 S instead of ln2 makes 2^-z differ from exp(-z q_ln2 S) by at most
    z (ln2 - q_ln2 S) exp(-z q_ln2 S), whose largest value is (ln2 - q_ln2 S) / (e q_ln2 S); the shift cuts one unit.
    """
    constants = integer_exponential_constants(scale, extra)
    octave = constants.octave * scale
    lost_b = _B - constants.offset * scale
    lost_c = _C - constants.constant * constants.unit * (1 << extra)
    lost_octave = (math.log(2) - octave) / (math.e * octave)
    return _POLYNOMIAL_ERROR + 2 * _A * _B * lost_b + lost_c + lost_octave + constants.unit
