"""Rounding float64 values to the values of a narrower float format, to nearest with ties to even."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROUNDINGS"]

Array = NDArray[np.float64]


def _round_minifloat(x: Array, *, fraction_bits: int, least_exponent: int, largest: float, saturates: bool) -> Array:
    """Nearest value with ``fraction_bits`` after the leading one; subnormals below 2**least_exponent."""
    exponent = np.maximum(np.frexp(x)[1] - 1, least_exponent)
    step = np.exp2((exponent - fraction_bits).astype(np.float64))
    rounded = np.where(np.isfinite(x), np.rint(x / step) * step, x)
    beyond = np.abs(rounded) > largest
    limit = np.copysign(largest if saturates else np.inf, x)
    return np.where(beyond & (np.isfinite(x) | saturates), limit, rounded)


def _minifloat(fraction_bits: int, least_exponent: int, largest: float, saturates: bool) -> Callable[[Array], Array]:
    return partial(
        _round_minifloat,
        fraction_bits=fraction_bits,
        least_exponent=least_exponent,
        largest=largest,
        saturates=saturates,
    )


def _identity(x: Array) -> Array:
    return x


ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "float64": _identity,
    "float32": _minifloat(23, -126, float(np.finfo(np.float32).max), False),
    "float16": _minifloat(10, -14, 65504.0, False),
    "bfloat16": _minifloat(7, -126, float.fromhex("0x1.fep+127"), False),
    "float8_e4m3": _minifloat(3, -6, 448.0, True),
    "float8_e5m2": _minifloat(2, -14, 57344.0, False),
}
"""Rounding by format name: IEEE 754 binary formats, bfloat16, and the FP8 formats of the OCP 8-bit specification
(2023).

E4M3 has no infinity, so it saturates; the others overflow to infinity as IEEE 754 does.
"""
