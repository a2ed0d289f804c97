"""What is known of many designs after they were evaluated: arrays, one entry for each design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAILED", "INFEASIBLE", "OK", "Outcomes", "joined"]

OK, INFEASIBLE, FAILED = 0, 1, 2
"""Status of a design: evaluated and within all limits; beyond one, or not to be built; a defect of ours."""


@dataclass(frozen=True)
class Outcomes:
    """``ordinals`` of designs with their ``status`` and, where that is not OK, the ``reason`` (else empty).

    ``metrics`` holds NaN where a design was not simulated, or the metric cannot be had; ``bottleneck`` is what most of
    the time of the design is charged to.
    """

    ordinals: NDArray[np.int64]
    status: NDArray[np.int8]
    reason: NDArray[np.object_]
    bottleneck: NDArray[np.object_]
    metrics: dict[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.ordinals)

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Outcomes:
        """The designs at ``which`` places."""
        return Outcomes(
            self.ordinals[which],
            self.status[which],
            self.reason[which],
            self.bottleneck[which],
            {name: values[which] for name, values in self.metrics.items()},
        )


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Several outcomes, one after another; they have the same metrics."""
    return Outcomes(
        np.concatenate([part.ordinals for part in parts]),
        np.concatenate([part.status for part in parts]),
        np.concatenate([part.reason for part in parts]),
        np.concatenate([part.bottleneck for part in parts]),
        {name: np.concatenate([part.metrics[name] for part in parts]) for name in parts[0].metrics},
    )
