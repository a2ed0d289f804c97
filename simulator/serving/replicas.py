"""Several replicas of one engine, each with its own batch and memory, and a router that spreads requests over them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from simulator.serving.collect import collect, counting, raise_if_nothing_fits
from simulator.serving.kv.memory import KvMemory
from simulator.serving.replica import Replica
from simulator.serving.result import ServingResult
from simulator.serving.scheduler import Scheduler
from simulator.serving.step import StepCost
from workloads.errors import InputError, unknown_name
from workloads.traces.requests import RequestTrace

__all__ = ["ROUTINGS", "Router", "route", "serve_replicas"]

ROUTINGS = ("round-robin", "least-loaded", "prefix")
PREFIX_SHARE = 0.3
IMBALANCE, IMBALANCE_RATIO = 64, 1.5
"""Defaults of a cache-aware router in use: at least so much of a prompt must match, and the fullest replica may have so
many requests, and so many times as many, more than the emptiest before the prefix is ignored (stated: lightseekorg/smg,
docs/getting-started/load-balancing.md, cache_threshold, balance_abs_threshold, balance_rel_threshold)."""


_TOGETHER = 256


class Router:
    """Chooses a replica for each request at its arrival.

    ``round-robin`` in turn; ``least-loaded`` where the fewest requests are under way (the first of several);
    ``prefix`` where most of the prompt's leading blocks have been before, unless they are few or load is too uneven:
    then as least-loaded. It takes replicas to forget nothing.
    """

    def __init__(self, routing: str, count: int) -> None:
        if routing not in ROUTINGS:
            raise unknown_name("routing", routing, ROUTINGS, field="routing")
        self.routing = routing
        self._seen: list[set[int]] = [set() for _ in range(count)]
        self._next = 0

    def choose(self, loads: Sequence[int], blocks: Sequence[int]) -> int:
        """The replica for a request with these ``blocks``, when so many requests are under way on each."""
        if self.routing == "round-robin":
            self._next += 1
            return (self._next - 1) % len(loads)
        chosen = min(range(len(loads)), key=loads.__getitem__)
        if self.routing == "prefix" and blocks:
            uneven = max(loads) - min(loads) > IMBALANCE and max(loads) > IMBALANCE_RATIO * min(loads)
            matches = [self._match(replica, blocks) for replica in range(len(loads))]
            if not uneven and max(matches) > PREFIX_SHARE * len(blocks):
                chosen = max(range(len(loads)), key=lambda replica: (matches[replica], -loads[replica], -replica))
            self._seen[chosen].update(blocks)
        return chosen

    def _match(self, replica: int, blocks: Sequence[int]) -> int:
        seen = self._seen[replica]
        return next((at for at, block in enumerate(blocks) if block not in seen), len(blocks))


def serve_replicas(
    trace: RequestTrace,
    cost: StepCost,
    memories: Sequence[KvMemory],
    scheduler: Scheduler | None = None,
    *,
    routing: str = "round-robin",
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> ServingResult:
    """Simulate ``trace`` on a replica for each of ``memories``; otherwise as `simulator.serving.engine.serve`."""
    begun_s = time.perf_counter()
    if not memories:
        raise InputError("no memory", "one for each replica", "memories")
    told = counting(progress)
    replicas = [Replica(cost, memory, scheduler or Scheduler(), on_finish=told) for memory in memories]
    placed, interrupted = route(trace, replicas, Router(routing, len(replicas)), stop)
    raise_if_nothing_fits(replicas)
    wall_s = time.perf_counter() - begun_s
    return collect(trace.name, replicas, placed, wall_seconds=wall_s, interrupted=interrupted)


def route(
    trace: RequestTrace,
    replicas: Sequence[Replica],
    router: Router,
    stop: Callable[[], bool] | None,
    *,
    first_s: Sequence[float] | None = None,
    on_place: Callable[[int, int], None] | None = None,
) -> tuple[list[tuple[int, int]], bool]:
    """Hand ``trace`` to ``replicas`` and run them: each request's replica and number there, and whether stopped.

    Requests that were not handed in before the stop go to the first replica, which does not run them. ``on_place`` is
    told each request and its replica, before it runs; ``first_s`` is given where first tokens were made elsewhere.
    """
    placed: list[tuple[int, int]] = []
    stopped = False
    for number, (arrival_s, prompt, output, rank, blocks) in enumerate(trace.rows()):
        stopped = stopped or (stop is not None and not number & 63 and stop())
        where = 0
        if not stopped:
            # Who goes round asks nobody; now and then keeps all replicas at about one time, for when a stop comes.
            if router.routing != "round-robin" or not number % _TOGETHER:
                for replica in replicas:
                    replica.advance(arrival_s)
            where = router.choose([replica.load(arrival_s) for replica in replicas], blocks)
        if on_place is not None:
            on_place(number, where)
        had_s = None if first_s is None else first_s[number]
        placed.append((where, replicas[where].submit(arrival_s, prompt, output, rank, blocks, first_s=had_s)))
    for replica in replicas:
        if not stopped:
            replica.advance(stop=stop)
            stopped = stop is not None and stop()
    return placed, stopped
