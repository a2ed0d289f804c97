"""What a serving run comes to: latencies, throughput, goodput, memory, energy and money as one document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.serving.result import ServingResult

__all__ = ["Objectives", "distribution", "summary", "weighted_distribution"]

QUANTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


@dataclass(frozen=True)
class Objectives:
    """What a run is judged by; None where it is not.

    A request is good when its first token came within ``ttft_s`` and the rest at ``tpot_s`` each or faster on average.
    ``price_per_device_hour`` is for each of ``devices``, in whatever currency it is given in. ``idle_power_w`` is what
    all devices of one replica draw while nothing runs on it.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    price_per_device_hour: float | None = None
    devices: int = 1
    idle_power_w: float = 0.0


def distribution(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean, p50, p90, p95, p99 (linear between order statistics) and max; None of nothing.

    >>> distribution(np.array([1.0, 2.0, 3.0]))["p90"]
    2.8
    """
    if not len(values):
        return dict.fromkeys(("mean", *QUANTILES, "max"))
    quantiles = np.percentile(values, list(QUANTILES.values()))
    found = {name: float(value) for name, value in zip(QUANTILES, quantiles, strict=True)}
    return {"mean": float(values.mean()), **found, "max": float(values.max())}


def weighted_distribution(values: NDArray[np.float64], weights: NDArray[np.int64]) -> dict[str, float | None]:
    """As `distribution`, of each value so many times; quantiles are the least value that so many do not exceed.

    >>> weighted_distribution(np.array([3.0, 1.0]), np.array([1, 9]))["p90"]
    1.0
    """
    total = int(weights.sum())
    if not total:
        return dict.fromkeys(("mean", *QUANTILES, "max"))
    order = np.argsort(values, kind="stable")
    behind = np.cumsum(weights[order])
    ranks = {name: -(-total * percent // 100) for name, percent in QUANTILES.items()}
    found = {name: float(values[order[np.searchsorted(behind, rank)]]) for name, rank in ranks.items()}
    return {"mean": float((values * weights).sum() / total), **found, "max": float(values.max())}


def summary(result: ServingResult, objectives: Objectives | None = None) -> dict[str, Any]:
    """Everything as plain values: seconds, tokens, bytes, joules. Rates are over the whole time simulated."""
    objectives = objectives or Objectives()
    completed = result.completed
    span_s = result.makespan_s
    tokens_out = int(result.produced.sum())
    started = ~np.isnan(result.first_s)
    found: dict[str, Any] = {
        "requests": len(result.arrival_s),
        "completed": int(completed.sum()),
        "rejected": int(result.rejected.sum()),
        "tokens_in": int(result.prompt_tokens[started].sum()),
        "tokens_out": tokens_out,
        "simulated_s": span_s,
        "ttft_s": distribution(result.ttft_s),
        "tpot_s": distribution(result.tpot_s),
        "tbt_s": weighted_distribution(result.gap_s, result.gap_tokens),
        "e2e_s": distribution(result.e2e_s),
        "normalised_s": distribution(result.normalised_s),
        "queue_s": distribution((result.start_s - result.arrival_s)[~np.isnan(result.start_s)]),
        "throughput_tokens_per_s": _over(tokens_out, span_s),
        "throughput_requests_per_s": _over(float(completed.sum()), span_s),
        "goodput": _goodput(result, objectives),
        **_spent(result, objectives, tokens_out),
        "preemptions": result.preemptions,
        "kv": _kv(result),
        "batch": {
            "mean": float(np.mean([line.mean("running") for line in result.timelines])),
            "peak": max(line.peak("running") for line in result.timelines),
        },
        "parts_s": dict(sorted(result.parts_s.items(), key=lambda part: -part[1])),
        "computed_tokens": result.computed_tokens,
        "reused_tokens": result.reused_tokens,
        "steps": result.steps,
        "events": result.events,
        "wall_seconds": result.wall_seconds,
    }
    if result.interrupted:
        found["interrupted"] = True
    return found


def _over(amount: float, seconds: float) -> float | None:
    return amount / seconds if seconds > 0 else None


def _goodput(result: ServingResult, objectives: Objectives) -> dict[str, float | None] | None:
    """Requests that meet what was asked for, per second and as a share of all; None when nothing was asked for."""
    if objectives.ttft_s is None and objectives.tpot_s is None:
        return None
    good = result.completed.copy()
    if objectives.ttft_s is not None:
        good &= ~(result.first_s - result.arrival_s > objectives.ttft_s)
    if objectives.tpot_s is not None:
        rest = np.maximum(result.output_tokens - 1, 1)
        good &= ~((result.last_s - result.first_s) / rest > objectives.tpot_s)
    return {
        "requests_per_s": _over(float(good.sum()), result.makespan_s),
        "share": float(good.mean()),
        "ttft_s": objectives.ttft_s,
        "tpot_s": objectives.tpot_s,
    }


def _spent(result: ServingResult, objectives: Objectives, tokens_out: int) -> dict[str, float | None]:
    waiting_s = result.parts_s.get("idle", 0.0) + result.parts_s.get("kv wait", 0.0)
    energy_j = result.energy_j + objectives.idle_power_w * waiting_s
    found: dict[str, float | None] = {
        "energy_j": energy_j,
        "energy_j_per_token": energy_j / tokens_out if tokens_out else None,
    }
    if objectives.price_per_device_hour is not None:
        price = objectives.price_per_device_hour * objectives.devices * result.makespan_s / 3600
        found["price"] = price
        found["price_per_million_tokens_out"] = price / tokens_out * 1e6 if tokens_out else None
    return found


def _kv(result: ServingResult) -> dict[str, float | None]:
    """Over all replicas. ``waste`` is the share of the room taken that holds no keys and values of running requests."""
    lines = result.timelines
    capacity = sum(line.capacity_bytes for line in lines)
    used = sum(line.mean("used_bytes") for line in lines)
    held = sum(line.mean("held_bytes") for line in lines)
    finite = 0 < capacity < float("inf")
    return {
        "capacity_bytes": capacity if finite else None,
        "mean_used_bytes": used,
        "peak_used_bytes": sum(line.peak("used_bytes") for line in lines),
        "occupancy": used / capacity if finite else None,
        "waste": 1 - held / used if used > 0 else None,
    }
