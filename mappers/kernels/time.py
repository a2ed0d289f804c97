"""The time of kernels, for many shapes at once, and how far off it may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["KernelTime", "Spread"]

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """The factors on a best estimate between which 80 % of the rows it was checked on lie."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class KernelTime:
    """Seconds of kernels, an entry per shape: computing and moving at the same time, and beside them overhead.

    The spread of an entry is that of the class of shapes it belongs to.
    """

    compute_s: Seconds
    memory_s: Seconds
    overhead_s: Seconds

    @property
    def best_s(self) -> Seconds:
        """The estimate."""
        best: Seconds = np.maximum(self.compute_s, self.memory_s) + self.overhead_s
        return best
