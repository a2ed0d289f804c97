"""How far written resistive cells are from what was asked: phase-change and oxide cells, as measured and fitted.

The polynomials are the defaults of aihwkit (IBM/aihwkit 4545f11), fitted by its authors to measured arrays; ``g`` is
the conductance asked for over the greatest, 25 uS for phase change and 40 uS for oxide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hw.spec.source import Source
from workloads.errors import unknown_name

__all__ = ["SPREADS", "SPREAD_SOURCE", "Spread", "drift_factor", "read_spread", "write_spread"]

Spread = Literal["constant", "pcm", "reram", "reram_day"]
SPREADS: tuple[str, ...] = get_args(Spread)
SPREAD_SOURCE = Source("fitted", "defaults of aihwkit (IBM/aihwkit 4545f11), fitted to measured arrays by its authors")

_PCM_US, _RERAM_US = 25.0, 40.0
_POLYNOMIALS: dict[str, tuple[float, tuple[float, ...]]] = {
    "pcm": (_PCM_US, (0.26348, 1.9650, -1.1731)),
    "reram": (_RERAM_US, (0.348, 16.03, -43.853, 45.393, -16.815)),
    "reram_day": (_RERAM_US, (0.701, 22.086, -50.773, 47.095, -16.458)),
}
_DRIFT_FROM_S = 20.0
_READ_S = 250e-9

Values = NDArray[np.float64]


def write_spread(spread: Spread) -> Callable[[Values], Values]:
    """Standard deviation of a written cell, in parts of the conductance range, as a function of ``g``.

    ``reram`` is one second, ``reram_day`` one day after writing. Raises `InputError` for a name without a polynomial.
    """
    if spread not in _POLYNOMIALS:
        raise unknown_name("spread", spread, _POLYNOMIALS, field="spread")
    greatest_us, coefficients = _POLYNOMIALS[spread]

    def sigma(g: Values) -> Values:
        g = np.clip(g, 0.0, 1.0)
        total = sum((c * g**k for k, c in enumerate(coefficients)), np.zeros_like(g))
        return np.maximum(total, 0.0) / greatest_us

    return sigma


def drift_factor(g: Values, age_s: float, random: np.random.Generator) -> Values:
    """What is left of a phase-change cell's conductance ``age_s`` after writing: (t / 20 s)^-nu, nu different by cell.

    Nothing drifts in the first 20 s.
    """
    if age_s <= _DRIFT_FROM_S:
        return np.ones_like(g)
    log = np.log(np.clip(g, 1e-4, 1.0))
    mean = np.clip(-0.0155 * log + 0.0244, 0.049, 0.1)
    sigma = np.clip(-0.0125 * log - 0.0059, 0.008, 0.045)
    exponent = np.abs(mean + sigma * random.normal(0.0, 1.0, g.shape))
    return np.asarray((age_s / _DRIFT_FROM_S) ** -exponent, dtype=np.float64)


def read_spread(g: Values, age_s: float) -> Values:
    """Standard deviation of one read of a phase-change cell over its conductance, ``age_s`` after writing."""
    size = np.minimum(0.0088 * np.clip(g, 1e-4, 1.0) ** -0.65, 0.2)
    return np.asarray(size * np.sqrt(np.log((age_s + _READ_S) / (2 * _READ_S))), dtype=np.float64)
