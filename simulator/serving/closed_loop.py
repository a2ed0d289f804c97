"""A closed loop: clients that send their next request when the last one is done, as benchmarks of engines do."""

from __future__ import annotations

import time
from collections.abc import Sequence

from simulator.serving.collect import collect, raise_if_nothing_fits
from simulator.serving.kv.memory import KvMemory
from simulator.serving.replica import Replica
from simulator.serving.result import ServingResult
from simulator.serving.scheduler import Scheduler
from simulator.serving.step import StepCost
from workloads.errors import InputError

__all__ = ["serve_closed_loop"]


def serve_closed_loop(
    prompt_tokens: int | Sequence[int],
    output_tokens: int | Sequence[int],
    concurrency: int,
    requests: int,
    cost: StepCost,
    memory: KvMemory,
    scheduler: Scheduler,
) -> ServingResult:
    """``requests`` requests from ``concurrency`` clients on one replica; each client has one under way at a time.

    All clients begin at time 0, and send again in the instant in which their last token comes. Where lengths are given
    as sequences, request ``i`` has the ``i``-th, from the front again after the last.
    """
    begun_s = time.perf_counter()
    prompts = [prompt_tokens] if isinstance(prompt_tokens, int) else list(prompt_tokens)
    outputs = [output_tokens] if isinstance(output_tokens, int) else list(output_tokens)
    for field, values in (("prompt_tokens", prompts), ("output_tokens", outputs)):
        if not values or min(values) < 1:
            raise InputError(f"found {min(values, default='none')}", "at least 1 token", field)
    for field, value in (("concurrency", concurrency), ("requests", requests)):
        if value < 1:
            raise InputError(f"found {value}", "at least 1", field)

    def send(now_s: float) -> None:
        number = len(replica.state.arrival_s)
        if number < requests:
            replica.submit(now_s, prompts[number % len(prompts)], outputs[number % len(outputs)])

    replica = Replica(cost, memory, scheduler, on_finish=lambda _number, now_s: send(now_s))
    for _ in range(concurrency):
        send(0.0)
    replica.advance()
    raise_if_nothing_fits([replica])
    placed = [(0, number) for number in range(len(replica.state.arrival_s))]
    name = f"{requests} requests of {concurrency} clients"
    return collect(name, [replica], placed, wall_seconds=time.perf_counter() - begun_s)
