"""Prefill and decode on replicas of their own: keys and values travel from one pool to the other.

Splitwise (ISCA 2024) and DistServe (OSDI 2024). The pool that prefills makes the first token.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.serving.collect import collect, counting, raise_if_nothing_fits
from simulator.serving.kv.memory import KvMemory
from simulator.serving.replica import Replica
from simulator.serving.replicas import Router, route
from simulator.serving.result import ServingResult
from simulator.serving.scheduler import Scheduler
from simulator.serving.step import StepCost
from workloads.errors import InputError
from workloads.traces.requests import RequestTrace

__all__ = ["KvLink", "Pool", "serve_disaggregated"]


@dataclass(frozen=True)
class KvLink:
    """What keys and values leave a replica over, one request's after another's: ``kept_bytes`` of so many tokens.

    With ``layers`` above 1, each layer's leave as soon as it is computed, and only the last layer's must follow the
    prefill; layers are taken to be computed one after another from the moment in which the request was given room.
    """

    bandwidth_bytes_per_s: float
    latency_s: float
    kept_bytes: Callable[[int], float]
    layers: int = 1

    def __post_init__(self) -> None:
        if not self.bandwidth_bytes_per_s > 0:
            raise InputError(f"found {self.bandwidth_bytes_per_s}", "a bandwidth above 0", "bandwidth_bytes_per_s")
        if self.layers < 1:
            raise InputError(f"found {self.layers}", "at least 1 layer", "layers")

    def sent_s(self, tokens: int, begun_s: float, prefilled_s: float, free_s: float) -> float:
        """When the last byte of a prompt of ``tokens`` has left that was prefilled from ``begun_s`` on.

        ``free_s`` is when the link has sent what came before.
        """
        whole_s = self.kept_bytes(tokens) / self.bandwidth_bytes_per_s
        first_s = begun_s + (prefilled_s - begun_s) / self.layers
        return max(max(first_s, free_s) + whole_s, prefilled_s + whole_s / self.layers)


@dataclass(frozen=True)
class Pool:
    """Equal replicas: what steps cost on each, and a memory for each."""

    cost: StepCost
    memories: Sequence[KvMemory]

    def __post_init__(self) -> None:
        if not self.memories:
            raise InputError("no memory", "one for each replica", "memories")


def serve_disaggregated(
    trace: RequestTrace,
    prefill: Pool,
    decode: Pool,
    link: KvLink,
    scheduler: Scheduler | None = None,
    *,
    routing: str = "least-loaded",
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> ServingResult:
    """Simulate ``trace``: prompts on ``prefill``, the tokens after the first on ``decode``, ``link`` in between.

    A prompt keeps its room until it is sent. What arrives before there is room for it waits outside of both pools'
    memories, and what must give way in the decode pool is computed again there. Replicas of the result count those of
    ``prefill`` first; a request's replica is where it was decoded.
    """
    begun_s = time.perf_counter()
    scheduler = scheduler or Scheduler()
    senders, placed, sent_s, stopped = _prefill(trace, prefill, link, scheduler, routing, stop)
    raise_if_nothing_fits(senders)
    firsts = np.array([senders[where].state.first_s[number] for where, number in placed])
    more = np.flatnonzero((trace.output_tokens > 1) & ~np.isnan(firsts))
    order = more[np.argsort(sent_s[more], kind="stable")]
    told = counting(progress, ended=len(trace) - len(order))
    receivers = [Replica(decode.cost, memory, scheduler, on_finish=told) for memory in decode.memories]
    there: list[tuple[int, int]] = []
    if len(order):
        handed_over = _reordered(trace, order, sent_s[order] + link.latency_s)
        router = Router(routing, len(receivers))
        asked = (lambda: True) if stopped else stop
        there, stopped = route(handed_over, receivers, router, asked, first_s=firsts[order].tolist())
    end_s = max(replica.now_s for replica in (*senders, *receivers))
    first = collect(trace.name, senders, placed, wall_seconds=0.0, end_s=end_s)
    second = collect(trace.name, receivers, there, wall_seconds=0.0, end_s=end_s)
    wall_s = time.perf_counter() - begun_s
    return replace(_joined(trace, order, first, second), wall_seconds=wall_s, interrupted=stopped)


def _prefill(
    trace: RequestTrace,
    pool: Pool,
    link: KvLink,
    scheduler: Scheduler,
    routing: str,
    stop: Callable[[], bool] | None,
) -> tuple[list[Replica], list[tuple[int, int]], NDArray[np.float64], bool]:
    """Every prompt on one of the pool's replicas: these, where each request was, when it had left, whether stopped."""
    sent_s = np.full(len(trace), np.nan)
    free_s = [0.0] * len(pool.memories)
    requests: list[list[int]] = [[] for _ in pool.memories]

    def holder(where: int) -> Callable[[int, float], float]:
        def hold(number: int, now_s: float) -> float:
            request = requests[where][number]
            if trace.output_tokens[request] == 1:
                return now_s
            state = senders[where].state
            free_s[where] = link.sent_s(state.prompt[number], state.start_s[number], now_s, free_s[where])
            sent_s[request] = free_s[where]
            return free_s[where]

        return hold

    senders = [Replica(pool.cost, memory, scheduler, hold=holder(at)) for at, memory in enumerate(pool.memories)]
    prompts = replace(trace, output_tokens=np.ones(len(trace), np.int64))
    router = Router(routing, len(senders))
    placed, stopped = route(
        prompts, senders, router, stop, on_place=lambda request, where: requests[where].append(request)
    )
    return senders, placed, sent_s, stopped


def _reordered(trace: RequestTrace, order: NDArray[np.int64], arrival_s: NDArray[np.float64]) -> RequestTrace:
    return RequestTrace(
        trace.name,
        arrival_s,
        trace.prompt_tokens[order],
        trace.output_tokens[order],
        None if trace.priority is None else trace.priority[order],
    )


def _joined(
    trace: RequestTrace, order: NDArray[np.int64], first: ServingResult, second: ServingResult
) -> ServingResult:
    """The prompts' result with the further tokens' in it."""
    last_s, produced, replica = first.last_s.copy(), first.produced.copy(), first.replica.copy()
    preempted, rejected = first.preempted.copy(), first.rejected.copy()
    last_s[trace.output_tokens > 1] = np.nan
    last_s[order] = second.last_s
    produced[order] = second.produced
    replica[order] = len(first.timelines) + second.replica
    preempted[order] += second.preempted
    rejected[order] |= second.rejected
    parts = dict(first.parts_s)
    for part, seconds in second.parts_s.items():
        parts[part] = parts.get(part, 0.0) + seconds
    return replace(
        first,
        output_tokens=trace.output_tokens,
        last_s=last_s,
        produced=produced,
        preempted=preempted,
        rejected=rejected,
        energy_j=first.energy_j + second.energy_j,
        parts_s=parts,
        steps=first.steps + second.steps,
        events=first.events + second.events,
        computed_tokens=first.computed_tokens + second.computed_tokens,
        gap_s=second.gap_s,
        gap_tokens=second.gap_tokens,
        timelines=(*first.timelines, *second.timelines),
        replica=replica,
    )
