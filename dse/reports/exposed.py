"""Time during which nothing computes: waiting for transfers between tiers, for other devices, or for nothing at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from simulator.engine import Execution, TaskRun

__all__ = ["exposed_time"]

_ROUNDING = 1e-12
"""Sums of floats leave gaps of this share of the latency between tasks that follow each other at once."""


def exposed_time(execution: Execution) -> dict[str, float]:
    """Seconds without a computing task, by what was waited for; with the time of computing they make the latency.

    What a transfer or an exchange between devices covers of a gap between computing tasks is charged to its bottleneck
    (a resource, or ``overhead`` where its latency is longest); of several at a time to the one that finishes last
    before computing goes on. The rest of the gaps is ``idle``.
    """
    computing: list[tuple[float, float]] = []
    moving: list[TaskRun] = []
    for run in execution.all_runs():
        if run.finish_s > run.start_s:
            if run.task.kind == "compute":
                computing.append((run.start_s, run.finish_s))
            else:
                moving.append(run)
    moving.sort(key=lambda run: run.start_s)
    exposed: dict[str, float] = {}
    active: list[TaskRun] = []
    following = 0
    shortest = _ROUNDING * execution.latency_s
    for begin, end in _gaps(computing, execution.latency_s):
        if end - begin <= shortest:
            continue
        while following < len(moving) and moving[following].start_s < end:
            active.append(moving[following])
            following += 1
        active = [run for run in active if run.finish_s > begin]
        waited = 0.0
        for name, seconds in _charges(active, begin, end):
            exposed[name] = exposed.get(name, 0.0) + seconds
            waited += seconds
        if end - begin - waited > shortest:
            exposed["idle"] = exposed.get("idle", 0.0) + (end - begin - waited)
    return exposed


def _gaps(intervals: Iterable[tuple[float, float]], end_s: float) -> Iterator[tuple[float, float]]:
    """What the intervals leave uncovered between 0 and ``end_s``."""
    reached = 0.0
    for begin, end in sorted(intervals):
        if begin > reached:
            yield reached, begin
        reached = max(reached, end)
    if end_s > reached:
        yield reached, end_s


def _charges(active: list[TaskRun], begin: float, end: float) -> Iterator[tuple[str, float]]:
    """From the end of the gap back: each moment goes to the run that finishes last of those under way.

    Runs that go on beyond the gap are not what it waited for: they get only what no other run covers.
    """
    free = [(begin, end)]
    for run in sorted(active, key=lambda run: (run.finish_s > end, -run.finish_s, run.start_s, run.bound)):
        left_over = []
        for from_s, to_s in free:
            left, right = max(from_s, run.start_s), min(to_s, run.finish_s)
            if right > left:
                yield run.bound, right - left
                left_over += [piece for piece in ((from_s, left), (right, to_s)) if piece[1] > piece[0]]
            else:
                left_over.append((from_s, to_s))
        free = left_over
