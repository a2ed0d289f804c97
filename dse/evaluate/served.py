"""Workloads of a space that are request traces: served by one replica over all of the design's devices."""

from __future__ import annotations

import numpy as np

from dse.evaluate.design import Design, DesignWorkload
from simulator.serving.cost import ResidentStepCost, step_cost
from simulator.serving.engine import serve
from simulator.serving.kv.choice import kv_memory
from simulator.serving.kv.sizes import kv_sizes
from simulator.serving.metrics import Objectives, distribution, summary
from simulator.serving.parallel import Parallel
from simulator.serving.scheduler import Scheduler
from workloads.errors import InfeasibleError, InputError
from workloads.traces.named import requests_of

__all__ = ["served"]

_KV_SHARE = 0.9
"""Of the home tier for weights, keys and values: vLLM's gpu_memory_utilization (vllm/config/cache.py, 0.9)."""


def served(design: Design, workload: DesignWorkload, fidelity: str) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of the served trace, and the time charged to each part. Steps cost what ``fidelity`` says; devices behind
    tiers (cycle) are not asked.

    Latency is the mean end-to-end time of a request, tokens are those put out over the whole time. Raises
    `InfeasibleError` where weights leave no room, or a request can never run.
    """
    system, model = design.system, workload.model
    assert workload.spec.requests is not None
    trace = requests_of(workload.spec.requests, 0)
    depth = "mapped" if fidelity == "cycle" else fidelity
    cost = step_cost(model, system, parallel=Parallel(system.devices), formats=workload.formats, fidelity=depth)
    if not isinstance(cost, ResidentStepCost):
        raise InputError(f"{model.name} does not lie in one tier of {system.name}", "one that does")
    home = cost.ops.home
    each = _KV_SHARE * system.tiers[home].capacity_bytes
    if each <= cost.weight_bytes:
        raise InfeasibleError(f"tier {home!r} has no room beside the weights", cost.weight_bytes, each, "bytes")
    sizes = kv_sizes(model, workload.formats, system.devices)
    room = (each - cost.weight_bytes) * system.devices
    memory = kv_memory("paged:16", sizes, system, room, home=home, most_tokens=model.max_positions)
    result = serve(trace, cost, memory, Scheduler())
    if result.rejected.any():
        raise InfeasibleError("requests that can never run", float(result.rejected.sum()), 0.0, "requests")
    found = summary(result, Objectives(devices=system.devices, idle_power_w=system.idle_power_w))
    ttft, tpot, whole = (distribution(values) for values in (result.ttft_s, result.tpot_s, result.e2e_s))
    requests = len(result.arrival_s)
    metrics = {
        "latency_s": _number(whole["mean"]),
        "tokens_per_s": _number(found["throughput_tokens_per_s"]),
        "energy_j": found["energy_j"] / requests,
        "power_w": found["energy_j"] / result.makespan_s,
        "peak_bytes": cost.weight_bytes + max(line.peak("held_bytes") for line in result.timelines) / system.devices,
        "ttft_p50_s": _number(ttft["p50"]),
        "ttft_p99_s": _number(ttft["p99"]),
        "tpot_p50_s": _number(tpot["p50"]),
        "tpot_p99_s": _number(tpot["p99"]),
    }
    return metrics, dict(result.parts_s)


def _number(value: float | None) -> float:
    return np.nan if value is None else value
