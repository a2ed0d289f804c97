"""Where the time goes: the moments of a run are charged to what the tasks on its critical chain were bound by.

The chain is walked back from the task that finishes last: each task is followed by the one whose finish let it start.
A task's launch overhead is charged to ``overhead``, the rest of its time to the resource it was served by last: for a
transfer the link or port that set its speed, waiting for that resource included.
"""

from __future__ import annotations

from bisect import bisect_right

from simulator.engine import Execution, TaskRun

__all__ = ["critical_chain", "time_by_bound"]

SAME_INSTANT = 1e-9
"""Relative to the latency: a task starts at the very moment another finishes, up to rounding."""


def critical_chain(execution: Execution) -> list[tuple[float, float, TaskRun]]:
    """The tasks of the chain with begin and end of the time each is charged for, latest first."""
    runs = [run for run in execution.all_runs() if run.finish_s > run.start_s]
    runs.sort(key=lambda run: (run.finish_s, run.finish_s - run.start_s, run.segment, run.repetition, run.name))
    finishes = [run.finish_s for run in runs]
    rounding = SAME_INSTANT * execution.latency_s
    chain = []
    until, at = execution.latency_s, len(runs)
    while until > rounding and (at := bisect_right(finishes, until + rounding, hi=at)) > 0:
        at -= 1
        run = runs[at]
        if run.start_s >= until - rounding:
            continue
        chain.append((run.start_s, min(run.finish_s, until), run))
        until = run.start_s
    return chain


def time_by_bound(execution: Execution) -> dict[str, float]:
    """Seconds charged to each resource, to ``overhead`` and to ``idle`` (nothing ran); they add up to the latency."""
    charged: dict[str, float] = {}
    until = execution.latency_s
    rounding = SAME_INSTANT * execution.latency_s

    def charge(name: str, seconds: float) -> None:
        if seconds > rounding:
            charged[name] = charged.get(name, 0.0) + seconds

    for begin, end, run in critical_chain(execution):
        charge("idle", until - end)
        overhead = min(run.task.overhead_s, end - begin)
        charge("overhead", overhead)
        charge(_slowest(run), end - begin - overhead)
        until = begin
    charge("idle", until)
    return charged


def _slowest(run: TaskRun) -> str:
    """The resource whose reservation ends last; without demands, the overhead."""
    ends = [
        (end, demand.seconds, demand.resource) for demand, (_, end) in zip(run.task.demands, run.served, strict=True)
    ]
    return max(ends)[2] if ends else "overhead"
