"""Errors of predictions, by operation, phase and GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, median, quantiles
from typing import Any

from dse.validation.measurements import Measurement
from dse.validation.predict import Skipped, predict

__all__ = ["Comparison", "Group", "compare", "groups", "to_document"]


@dataclass(frozen=True)
class Comparison:
    """One row with its prediction; ``error`` is predicted / measured - 1."""

    row: Measurement
    predicted_s: float

    @property
    def error(self) -> float:
        """Relative error, positive when the prediction is too slow."""
        return self.predicted_s / self.row.latency_s - 1


@dataclass(frozen=True)
class Group:
    """Errors of one operation and phase on one GPU: mean absolute, mean, median and 90th percentile of the absolute."""

    op: str
    phase: str
    gpu: str
    rows: int
    mape: float
    bias: float
    median: float
    p90: float
    worst: Comparison


def compare(rows: Iterable[Measurement]) -> tuple[list[Comparison], Counter[str]]:
    """Predict every row; returns the comparisons and how many rows were skipped for which reason."""
    compared, skipped = [], Counter[str]()
    for row in rows:
        predicted = predict(row)
        if isinstance(predicted, Skipped):
            skipped[predicted.why] += 1
        else:
            compared.append(Comparison(row, predicted))
    return compared, skipped


def groups(compared: Iterable[Comparison]) -> list[Group]:
    """Comparisons gathered by operation, phase and GPU, sorted."""
    gathered: dict[tuple[str, str, str], list[Comparison]] = {}
    for one in compared:
        gathered.setdefault((one.row.op, one.row.phase, one.row.gpu), []).append(one)
    result = []
    for (op, phase, gpu), members in sorted(gathered.items()):
        sizes = [abs(one.error) for one in members]
        p90 = quantiles(sizes, n=10, method="inclusive")[8] if len(sizes) > 1 else sizes[0]
        worst = max(members, key=lambda one: abs(one.error))
        bias = mean(one.error for one in members)
        result.append(Group(op, phase, gpu, len(members), mean(sizes), bias, median(sizes), p90, worst))
    return result


def to_document(compared: list[Comparison], skipped: Counter[str]) -> dict[str, Any]:
    """The whole comparison as plain values."""
    return {
        "rows": len(compared),
        "groups": [
            {
                "op": group.op,
                "phase": group.phase,
                "gpu": group.gpu,
                "rows": group.rows,
                "mape": group.mape,
                "bias": group.bias,
                "median": group.median,
                "p90": group.p90,
                "worst": {
                    "id": group.worst.row.id,
                    "case": group.worst.row.case,
                    "measured_s": group.worst.row.latency_s,
                    "predicted_s": group.worst.predicted_s,
                    "error": group.worst.error,
                },
            }
            for group in groups(compared)
        ],
        "skipped": dict(skipped.most_common()),
    }
