"""Serving a request trace on one replica."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from simulator.serving.collect import collect, counting, raise_if_nothing_fits
from simulator.serving.kv.memory import KvMemory
from simulator.serving.replica import Replica
from simulator.serving.result import ServingResult
from simulator.serving.scheduler import Scheduler
from simulator.serving.step import StepCost
from workloads.errors import InputError
from workloads.traces.requests import RequestTrace

__all__ = ["first_requests", "serve"]


def serve(
    trace: RequestTrace,
    cost: StepCost,
    memory: KvMemory,
    scheduler: Scheduler | None = None,
    *,
    until: int | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> ServingResult:
    """Simulate ``trace``, or its first ``until`` requests, on one replica with an empty ``memory``.

    ``stop`` is asked every now and then and ends the simulation where it is; ``progress`` is told how many requests
    have ended, and the simulated time. Requests that would not fit even alone are rejected; raises
    `InfeasibleError` when that is all of them.
    """
    begun_s = time.perf_counter()
    trace = trace if until is None else first_requests(trace, until)
    interrupted = False

    def asked() -> bool:
        nonlocal interrupted
        interrupted = stop is not None and stop()
        return interrupted

    replica = Replica(cost, memory, scheduler or Scheduler(), on_finish=counting(progress))
    for row in trace.rows():
        replica.submit(*row)
    replica.advance(stop=asked)
    raise_if_nothing_fits([replica])
    placed = [(0, number) for number in range(len(trace))]
    wall_s = time.perf_counter() - begun_s
    return collect(trace.name, [replica], placed, wall_seconds=wall_s, interrupted=interrupted)


def first_requests(trace: RequestTrace, count: int) -> RequestTrace:
    """The first ``count`` requests of ``trace``, or all when there are fewer."""
    if count < 1:
        raise InputError(f"found {count}", "at least 1 request", "until")
    return replace(
        trace,
        arrival_s=trace.arrival_s[:count],
        prompt_tokens=trace.prompt_tokens[:count],
        output_tokens=trace.output_tokens[:count],
        priority=None if trace.priority is None else trace.priority[:count],
        blocks=None if trace.blocks is None else trace.blocks[:count],
    )
