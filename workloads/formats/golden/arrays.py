"""Array types of the golden formats, and the cutting of a tensor into the blocks that share a scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workloads.errors import InputError

__all__ = ["Floats", "Integers", "as_floats", "blocks", "floor_log2", "only_finite", "refuse"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def as_floats(values: ArrayLike) -> Floats:
    """``values`` in float64, which holds every value of every format here exactly."""
    with np.errstate(invalid="ignore"):  # widening a signalling NaN is no fault of the caller's
        return np.asarray(values, dtype=np.float64)


def refuse(bad: object, problem: str, expected: str, field: str) -> None:
    """Raise `InputError` when anything in ``bad`` is true."""
    if np.any(np.asarray(bad)):
        raise InputError(problem, expected, field)


def only_finite(values: ArrayLike, field: str = "values") -> Floats:
    """``values`` in float64; `InputError` for a NaN or an infinity (formats without any cannot say what to store)."""
    array = as_floats(values)
    refuse(~np.isfinite(array), "a value is NaN or infinite", "finite values", field)
    return array


def blocks(values: Floats, block: int, field: str = "values") -> Floats:
    """``values`` as (..., last axis / ``block``, ``block``): blocks lie along the last axis, without a remainder."""
    length = values.shape[-1] if values.ndim else 0
    refuse(
        length == 0 or length % block,
        f"the last axis has {length} values",
        f"a positive multiple of the block of {block}",
        field,
    )
    return values.reshape(*values.shape[:-1], length // block, block)


def floor_log2(magnitudes: Floats) -> Integers:
    """floor(log2 v) exactly, from the exponent field; for v = 0 some very low number."""
    fraction, exponent = np.frexp(magnitudes)
    return np.where(fraction == 0.0, -(1 << 20), exponent.astype(np.int64) - 1)
