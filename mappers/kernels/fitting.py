"""Constants from timings: the least robust error of the logarithm, within bounds that mean something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mappers.kernels.time import SIZE_CLASSES, Spread, size_classes

__all__ = ["fit", "spread_of"]

Seconds = NDArray[np.float64]
Family = TypeVar("Family")

_OUTLIER = 0.1
_COVERED = 0.8
_LEAST_ROWS = 8


def fit(
    start: Family,
    bounds: Mapping[str, tuple[float, float]],
    predict: Callable[[Family], Seconds],
    measured_s: Seconds,
) -> Family:
    """The constants nearest to ``measured_s``: those named in ``bounds`` are free, the others stay as in ``start``.

    Least soft-L1 loss of ln(predicted / measured), so that errors beyond 10 % count by their size, not its square. The
    same input gives the same constants.
    """
    from scipy.optimize import least_squares

    names = list(bounds)
    fixed = asdict(start)  # type: ignore[call-overload]
    low, high = (np.log([bounds[name][side] for name in names]) for side in (0, 1))

    def made(point: Seconds) -> Family:
        return type(start)(**{**fixed, **dict(zip(names, np.exp(point).tolist(), strict=True))})

    def residuals(point: Seconds) -> Seconds:
        apart: Seconds = np.log(predict(made(point)) / measured_s)
        return apart

    first = np.clip(np.log([max(fixed[name], bounds[name][0]) for name in names]), low + 1e-6, high - 1e-6)
    found = least_squares(residuals, first, bounds=(low, high), loss="soft_l1", f_scale=_OUTLIER, diff_step=1e-2)
    return made(found.x)


def spread_of(predicted_s: Seconds, measured_s: Seconds) -> dict[str, Spread]:
    """Factors between which 80 % of measured / predicted lie, by size class; classes of few rows take those of all."""
    ratio, classes = measured_s / predicted_s, size_classes(predicted_s)
    spread = {}
    for index, name in enumerate(SIZE_CLASSES):
        own = ratio[classes == index]
        low, high = _middle(own if len(own) >= _LEAST_ROWS else ratio)
        spread[name] = Spread(min(low, 1.0), max(high, 1.0))
    return spread


def _middle(ratio: Seconds) -> tuple[float, float]:
    tail = (1 - _COVERED) / 2
    # Expected shares of new rows beyond the ends, not of these.
    low, high = np.quantile(ratio, [tail, 1 - tail], method="weibull")
    return float(low), float(high)
