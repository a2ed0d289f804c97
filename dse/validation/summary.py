"""Errors of predictions, by operation, phase, GPU and size of the kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.validation.measurements import Measurement
from dse.validation.predict import Prediction, Skipped, predict_all
from mappers.kernels.constants import Entry
from mappers.kernels.time import SIZE_CLASSES, size_classes

__all__ = ["ALL_SIZES", "Comparison", "Group", "compare", "groups", "to_document"]

Numbers = NDArray[np.float64]

ALL_SIZES = "all"
"""The size class of a group of all rows."""

_WORST = 3


@dataclass(frozen=True)
class Comparison:
    """One row with its prediction; ``error`` is predicted / measured - 1."""

    row: Measurement
    prediction: Prediction

    @property
    def predicted_s(self) -> float:
        """The estimate."""
        return self.prediction.seconds

    @property
    def error(self) -> float:
        """Relative error, positive when the prediction is too slow."""
        return self.predicted_s / self.row.latency_s - 1

    @property
    def covered(self) -> bool | None:
        """Whether the measured time lies in the predicted interval; None where there is none."""
        low, high = self.prediction.low_s, self.prediction.high_s
        return None if low is None or high is None else low <= self.row.latency_s <= high


@dataclass(frozen=True)
class Errors:
    """Of some rows: mean absolute, mean, median and 90th percentile of the absolute, share inside their intervals."""

    rows: int
    mape: float
    bias: float
    median: float
    p90: float
    coverage: float | None


@dataclass(frozen=True)
class Group:
    """Errors of one operation and phase on one GPU, of one size class or all; ``held_out`` are those never fitted."""

    op: str
    phase: str
    gpu: str
    size_class: str
    errors: Errors
    held_out: Errors | None
    worst: tuple[Comparison, ...]

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.errors.rows

    @property
    def mape(self) -> float:
        """Mean of the absolute errors."""
        return self.errors.mape

    @property
    def bias(self) -> float:
        """Mean of the errors."""
        return self.errors.bias


def compare(
    rows: Iterable[Measurement], fidelity: str = "kernel", given: tuple[Entry, ...] = ()
) -> tuple[list[Comparison], Counter[str]]:
    """Predict every row; returns the comparisons and how many rows were skipped for which reason."""
    listed = list(rows)
    compared, skipped = [], Counter[str]()
    for row, found in zip(listed, predict_all(listed, fidelity, given), strict=True):
        if isinstance(found, Skipped):
            skipped[found.why] += 1
        else:
            compared.append(Comparison(row, found))
    return compared, skipped


def errors_of(members: Sequence[Comparison]) -> Errors:
    """The errors of one or more comparisons."""
    return _summed(*_columns(members))


def _columns(members: Sequence[Comparison]) -> tuple[Numbers, Numbers]:
    """Error of each comparison, and whether its interval covers the measured time (NaN: there is none)."""
    error = np.array([one.error for one in members])
    covered = np.array([np.nan if one.covered is None else float(one.covered) for one in members])
    return error, covered


def _summed(error: Numbers, covered: Numbers) -> Errors:
    size, known = np.abs(error), covered[~np.isnan(covered)]
    coverage = float(known.mean()) if len(known) else None
    middle, p90 = (float(value) for value in np.quantile(size, [0.5, 0.9]))
    return Errors(len(error), float(size.mean()), float(error.mean()), middle, p90, coverage)


def groups(compared: Iterable[Comparison], *, by_size: bool = False) -> list[Group]:
    """Comparisons gathered by operation, phase and GPU, sorted; ``by_size`` adds a group for each size class.

    The class is that of the estimate (`mappers.kernels.time.SIZE_CLASSES`).
    """
    gathered: dict[tuple[str, str, str], list[Comparison]] = {}
    for one in compared:
        gathered.setdefault((one.row.op, one.row.phase, one.row.gpu), []).append(one)
    result = []
    for name, members in gathered.items():
        error, covered = _columns(members)
        out = np.array([one.prediction.held_out for one in members])
        classes = size_classes(np.array([one.predicted_s for one in members]))
        parts = {ALL_SIZES: np.ones(len(members), bool)}
        if by_size:
            parts |= {size: classes == index for index, size in enumerate(SIZE_CLASSES) if (classes == index).any()}
        for size, which in parts.items():
            held = which & out
            order = np.flatnonzero(which)
            worst = order[np.argsort(-np.abs(error[order]), kind="stable")[:_WORST]]
            result.append(
                Group(
                    *name,
                    size,
                    _summed(error[which], covered[which]),
                    _summed(error[held], covered[held]) if held.any() else None,
                    tuple(members[index] for index in worst),
                )
            )
    return sorted(result, key=lambda group: (group.op, group.phase, group.gpu, group.size_class))


def to_document(found: Sequence[Group], compared: Sequence[Comparison], skipped: Counter[str]) -> dict[str, Any]:
    """The whole comparison as plain values; a group's ``worst`` is the first of its ``worst_rows``."""
    remarks = Counter(one.prediction.remark for one in compared if one.prediction.remark)
    return {
        "rows": len(compared),
        "groups": [
            {
                "op": group.op,
                "phase": group.phase,
                "gpu": group.gpu,
                "size_class": group.size_class,
                **vars(group.errors),
                "held_out": None if group.held_out is None else vars(group.held_out),
                "worst": _plain(group.worst[0]),
                "worst_rows": [_plain(one) for one in group.worst],
            }
            for group in found
        ],
        "skipped": dict(skipped.most_common()),
        "remarks": dict(remarks.most_common()),
    }


def _plain(one: Comparison) -> dict[str, Any]:
    return {
        "id": one.row.id,
        "case": one.row.case,
        "measured_s": one.row.latency_s,
        "predicted_s": one.predicted_s,
        "low_s": one.prediction.low_s,
        "high_s": one.prediction.high_s,
        "error": one.error,
    }
