"""How much each source of error alone does to a result: wrong writes, converters, cells, wires, steps of a ramp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.memory.arrays.crossbar import Crossbar, error_statistics, multiply
from simulator.memory.arrays.operations import ArrayName, OperationName, float_operation
from simulator.memory.arrays.ramp import make_ramp, ramp_function
from workloads.errors import InputError, unknown_name

__all__ = ["CROSSBAR_SOURCES", "ErrorPoint", "crossbar_errors", "drawn_operands", "ramp_errors", "write_errors"]

Values = NDArray[np.float64]
CrossbarSource = Literal["adc_bits", "adc_range", "write_sigma", "read_sigma", "wire_ohm"]
CROSSBAR_SOURCES = ("adc_bits", "adc_range", "write_sigma", "read_sigma", "wire_ohm")
_LARGE = 0.01
_OF_CELLS = ("write_sigma", "read_sigma", "wire_ohm")


@dataclass(frozen=True)
class ErrorPoint:
    """``source`` at ``setting``, and what it did.

    ``wrong`` is the share of results that differ from the exact ones, ``large`` that of results off by more than a
    hundredth of their exact value or not finite, ``relative_rms`` the root mean square of the finite ones' error over
    that of the exact results.
    """

    source: str
    setting: float
    wrong: float
    large: float
    relative_rms: float


def drawn_operands(
    vectors: int, features: int, outputs: int, *, weight_bits: int = 8, input_bits: int = 8, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inputs (vectors, features) and weights (features, outputs) as networks have them, in whole numbers.

    Weights are normal, inputs the positive part of normal numbers (after a ReLU); both are scaled so that four standard
    deviations take the whole range. `InputError` for sizes below one.
    """
    for field, size in (("vectors", vectors), ("features", features), ("outputs", outputs)):
        if size < 1:
            raise InputError(f"{field} is {size}", "at least 1", field)
    random = np.random.default_rng(seed)
    inputs = np.maximum(random.normal(size=(vectors, features)), 0.0) / 4 * ((1 << input_bits) - 1)
    half = 1 << (weight_bits - 1)
    weights = random.normal(size=(features, outputs)) / 4 * half
    return (
        np.clip(np.rint(inputs), 0, (1 << input_bits) - 1).astype(np.int64),
        np.clip(np.rint(weights), -half, half - 1).astype(np.int64),
    )


def write_errors(
    array: ArrayName,
    operation: OperationName,
    chances: Sequence[float],
    *,
    lanes: int = 4096,
    double: bool = True,
    seed: int = 0,
) -> tuple[ErrorPoint, ...]:
    """One floating-point operation on ``lanes`` pairs of normal numbers, a written bit kept wrong by each chance.

    ``double`` takes fp32, else fp16. A point's error is that of its finite results. Raises `InputError` for names and
    chances that do not exist.
    """
    random = np.random.default_rng(seed)
    kind: type[np.floating[Any]] = np.float32 if double else np.float16
    x, y = (random.normal(size=lanes).astype(kind) for _ in range(2))
    exact = float_operation(array, operation, x, y, subnormals=False)[0].astype(np.float64)
    points = []
    for chance in chances:
        result, _ = float_operation(array, operation, x, y, subnormals=False, write_error=chance, seed=seed)
        with np.errstate(invalid="ignore"):  # wrong writes may leave any NaN
            found = result.astype(np.float64)
        points.append(_point("write_error", chance, found, exact, 0.0))
    return tuple(points)


def _point(source: str, setting: float, found: Values, exact: Values, tolerance: float) -> ErrorPoint:
    """``tolerance`` is how far a result may be off and still count as right: rounding."""
    finite = np.isfinite(found)
    off = np.abs(np.where(finite, found, 0.0) - exact)
    return ErrorPoint(
        source=source,
        setting=setting,
        wrong=float((~finite | (off > tolerance)).mean()),
        large=float((~finite | (off > np.maximum(_LARGE * np.abs(exact), tolerance))).mean()),
        relative_rms=error_statistics(found[finite], exact[finite])["relative_rms"],
    )


def crossbar_errors(
    crossbar: Crossbar,
    source: CrossbarSource,
    settings: Sequence[float],
    inputs: NDArray[np.integer[Any]],
    weights: NDArray[np.integer[Any]],
    *,
    seed: int = 0,
) -> tuple[ErrorPoint, ...]:
    """The product ``inputs @ weights`` on ``crossbar`` with one of its `CROSSBAR_SOURCES` at each setting.

    The other sources stay as ``crossbar`` has them: start from ``adc_bits=None`` for one source alone. Raises
    `InputError` for another source, settings out of range, and operands that do not fit.
    """
    if source not in CROSSBAR_SOURCES:
        raise unknown_name("source", source, CROSSBAR_SOURCES, field="source")
    exact = (inputs @ weights).astype(np.float64)
    points = []
    for setting in settings:
        value = round(setting) if source == "adc_bits" else setting
        changes: dict[str, Any] = {source: value}
        if source in _OF_CELLS:
            changes = {"cells": replace(crossbar.cells, **changes)}
        output = multiply(replace(crossbar, **changes), inputs, weights, seed=seed).output
        points.append(_point(source, setting, output, exact, 0.5))
    return tuple(points)


def ramp_errors(
    function: str, bits: Sequence[int], write_sigmas: Sequence[float], *, ramps: int = 40, seed: int = 0
) -> tuple[tuple[int, float, float], ...]:
    """Rows of bits, write sigma, and the worst INL in LSB of a ramp with ``function`` inside, the mean of ``ramps``.

    ``write_sigmas`` are in parts of the greatest step, a cell's greatest conductance. Raises `InputError` for names,
    bits and spreads that `make_ramp` does not take.
    """
    shape = ramp_function(function)
    rows = []
    for width in bits:
        for sigma in write_sigmas:
            written = (make_ramp(width, shape, write_sigma=sigma, seed=seed + k) for k in range(ramps))
            worst = [float(np.abs(ramp.nonlinearity_lsb()).max()) for ramp in written]
            rows.append((width, sigma, sum(worst) / ramps))
    return tuple(rows)
