"""The time of kernels, for many shapes at once, and how far off it may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIZE_CLASSES", "KernelTime", "Spread", "class_name", "intervals", "size_classes"]

Seconds = NDArray[np.float64]

SIZE_CLASSES = {"short": 30e-6, "medium": 300e-6, "long": np.inf}
"""Classes of kernels by the estimate of their time: up to so many seconds. Errors differ between them."""


@dataclass(frozen=True)
class Spread:
    """The factors on a best estimate between which 80 % of the rows it was checked on lie."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class KernelTime:
    """Seconds of kernels, an entry per shape: computing and moving at the same time, and beside them overhead."""

    compute_s: Seconds
    memory_s: Seconds
    overhead_s: Seconds

    @property
    def best_s(self) -> Seconds:
        """The estimate."""
        best: Seconds = np.maximum(self.compute_s, self.memory_s) + self.overhead_s
        return best


def size_classes(best_s: Seconds) -> NDArray[np.intp]:
    """The index in `SIZE_CLASSES` of each estimate."""
    found: NDArray[np.intp] = np.searchsorted(np.array(list(SIZE_CLASSES.values())), best_s)
    return found


def class_name(best_s: float) -> str:
    """The size class of one estimate.

    >>> class_name(100e-6)
    'medium'
    """
    return next(name for name, longest in SIZE_CLASSES.items() if best_s <= longest)


def intervals(best_s: Seconds, spread: Mapping[str, Spread]) -> tuple[Seconds, Seconds]:
    """Low and high seconds around each estimate, by the spread of its size class."""
    classes = size_classes(best_s)
    low = np.array([spread[name].low for name in SIZE_CLASSES])
    high = np.array([spread[name].high for name in SIZE_CLASSES])
    return best_s * low[classes], best_s * high[classes]
