"""Fitting the host of a serving engine to measured rows of it: the three numbers of `simulator.serving.host.Host`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dse.validation.end_to_end import predict_phase
from dse.validation.machines import Skipped
from dse.validation.measurements import Measurement
from simulator.serving.host import Host
from workloads.errors import InputError

__all__ = ["fit_host", "host_error"]

_START = (1e-3, 50e-6, 20e-6)

_STEPS = (1.5, -0.5, 0.3)
"""Sizes of the simplices, one after the other: a mean of absolute values has edges, on which a simplex can stall."""


def host_error(rows: Sequence[Measurement], host: Host) -> float:
    """Mean |ln(predicted / measured)| of those rows that have a prediction with ``host``."""
    found = [(predict_phase(row, host=host), row.latency_s) for row in rows]
    ratios = [seconds / measured for seconds, measured in found if not isinstance(seconds, Skipped)]
    if not ratios:
        raise InputError("no row has a prediction", "rows of phases of models that are known", "rows")
    return float(np.mean(np.abs(np.log(ratios))))


def fit_host(
    rows: Sequence[Measurement],
    launch: Literal["graph", "eager"],
    *,
    start: tuple[float, float, float] = _START,
    calls: int = 80,
    name: str = "fitted",
) -> tuple[Host, float]:
    """The host with the least `host_error` on ``rows`` of one engine and machine, and that error.

    ``start`` gives seconds per step, per sequence and per launch to begin with; simplices of Nelder and Mead (The
    Computer Journal 7(4), 1965) take up to ``calls`` evaluations.
    """
    from scipy.optimize import minimize  # heavy

    def host(scale: np.ndarray) -> Host:
        step_s, sequence_s, launch_s = (
            float(given * max(0.0, factor)) for given, factor in zip(start, scale, strict=True)
        )
        return Host(name, step_s, sequence_s, launch_s, launch)

    best = np.ones(3)
    for step in _STEPS:
        found = minimize(
            lambda scale: host_error(rows, host(scale)),
            best,
            method="Nelder-Mead",
            options={
                "maxfev": calls // len(_STEPS),
                "initial_simplex": np.array([best, *(best + step * axis for axis in np.eye(3))]),
                "xatol": 1e-3,
                "fatol": 1e-5,
            },
        )
        best = found.x
    return host(best), float(found.fun)
