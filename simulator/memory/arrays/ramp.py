"""A ramp converter whose steps are memristors, so that its code is a function of the column's value.

Mechanism (arXiv 2411.18271, Nature Communications 16:1136): a column's output is held while cells of one more column
are switched on one a clock; each adds its conductance to the ramp, and the code is the number of steps the ramp took to
pass the output. With step k at f^-1(k / 2^B) the code is floor(2^B f(value)), for any rising f: no digital evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.cost.converters import Converter, RampConverter
from workloads.errors import InputError, unknown_name

__all__ = ["FUNCTIONS", "ActivationArms", "Ramp", "RampFunction", "activation_arms", "make_ramp", "ramp_function"]


@dataclass(frozen=True)
class RampFunction:
    """A rising function onto (0, 1) and its inverse; ``low`` and ``high`` bound the values the array gives."""

    forward: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    inverse: Callable[[float], float]
    low: float
    high: float


FUNCTIONS: dict[str, RampFunction] = {
    "linear": RampFunction(lambda v: v, lambda p: p, 0.0, 1.0),
    "sigmoid": RampFunction(lambda v: 1 / (1 + np.exp(-v)), lambda p: math.log(p / (1 - p)), -6.0, 6.0),
    "tanh": RampFunction(lambda v: (np.tanh(v) + 1) / 2, lambda p: math.atanh(2 * p - 1), -3.0, 3.0),
}


def ramp_function(name: str) -> RampFunction:
    """``linear``, ``sigmoid`` or ``tanh`` (its range moved to 0 to 1); `InputError` for another name."""
    if name not in FUNCTIONS:
        raise unknown_name("function", name, FUNCTIONS)
    return FUNCTIONS[name]


@dataclass(frozen=True)
class Ramp:
    """The ramp as written: ``ideal`` and true ``thresholds``, one for each code above zero, ascending."""

    bits: int
    function: RampFunction
    ideal: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    def convert(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Codes of ``values``: how many thresholds each has reached."""
        return np.searchsorted(self.thresholds, values, side="right").astype(np.int64)

    def nonlinearity_lsb(self) -> NDArray[np.float64]:
        """How far each threshold's function value is from where it should be, in steps of the code (INL)."""
        levels = np.arange(1, 1 << self.bits)
        return self.function.forward(self.thresholds) * (1 << self.bits) - levels


def make_ramp(
    bits: int, function: RampFunction, *, write_sigma: float = 0.0, calibrated: bool = True, seed: int = 0
) -> Ramp:
    """A ramp of 2^bits - 1 thresholds; each cell's step is off by a normal error.

    ``write_sigma`` is in parts of the largest step, the greatest conductance a cell must take. ``calibrated`` moves the
    ramp as a whole so that its middle threshold is right, as the paper's bias cells do. Raises `InputError` for fewer
    than 1 or more than 12 bits or a negative spread.
    """
    if not 1 <= bits <= 12:
        raise InputError(f"bits is {bits}", "between 1 and 12", "bits")
    if not write_sigma >= 0:
        raise InputError(f"write_sigma is {write_sigma:g}", "at least 0", "write_sigma")
    ideal = np.array([function.inverse(k / (1 << bits)) for k in range(1, 1 << bits)])
    steps = np.diff(ideal, prepend=function.low)
    if write_sigma:
        random = np.random.default_rng(seed)
        # A cell adds conductance or nothing: a step is never negative, so codes stay in order.
        steps = np.maximum(steps + random.normal(0.0, write_sigma * steps.max(), steps.shape), 0.0)
    thresholds = function.low + np.cumsum(steps)
    if calibrated:
        middle = len(ideal) // 2
        thresholds = thresholds + (ideal[middle] - thresholds[middle])
    return Ramp(bits, function, ideal, thresholds)


@dataclass(frozen=True)
class ActivationArms:
    """Energy in J and time in s of one set of non-linear outputs: by ramp, and by converter and digital unit."""

    ramp_j: float
    ramp_s: float
    digital_j: float
    digital_s: float

    @property
    def energy_gain(self) -> float:
        """Digital over ramp."""
        return self.digital_j / self.ramp_j

    @property
    def time_gain(self) -> float:
        """Digital over ramp."""
        return self.digital_s / self.ramp_s


def activation_arms(
    ramp: RampConverter,
    adc: Converter,
    *,
    columns: int,
    mean_code: float,
    adcs: int,
    activation_j: float,
    activation_s: float,
    units: int,
) -> ActivationArms:
    """Both ways to ``columns`` non-linear outputs.

    The digital way converts with ``adcs`` linear converters and passes each result through one of ``units`` digital
    units that take ``activation_j`` and ``activation_s``; conversion and evaluation do not overlap. What a unit takes
    is the caller's to know: the paper's own table was not available to us. Raises `InputError` for counts below one.
    """
    for field, count in (("columns", columns), ("adcs", adcs), ("units", units)):
        if count < 1:
            raise InputError(f"{field} is {count}", "at least 1", field)
    convert_s = math.ceil(columns / adcs) / adc.rate_per_s
    return ActivationArms(
        ramp_j=ramp.energy_j(columns, mean_code),
        ramp_s=ramp.time_s,
        digital_j=columns * (adc.energy_j + activation_j),
        digital_s=convert_s + math.ceil(columns / units) * activation_s,
    )
