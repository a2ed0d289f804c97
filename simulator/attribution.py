"""Where the time goes: each moment of a run is charged to what the work on the critical chain was bound by.

Going back from the last finish, each task is charged for the time in which it was the latest to run: its own duration
to what bounds it, its launch overhead to ``overhead``; a task that waited for a transfer passes the time on to that
transfer, and so to the link or port that set the transfer's speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from simulator.engine import Execution, TaskRun

__all__ = ["time_by_bound"]


def time_by_bound(execution: Execution) -> dict[str, float]:
    """Seconds charged to each resource, to ``overhead`` and to ``idle``; they add up to the latency.

    A sweep over all task instances in order of their finish: the part of each task that reaches beyond everything
    finished before it is new time. Of that part the overhead comes last, the bounding demand before it.
    """
    charged: dict[str, float] = {}
    reached = 0.0

    def charge(name: str, seconds: float) -> None:
        if seconds > 0:
            charged[name] = charged.get(name, 0.0) + seconds

    for start, end, bound, overhead in _by_finish(execution.all_runs()):
        if end <= reached:
            continue
        charge("idle", start - reached)
        begin = max(start, reached)
        late = min(overhead, end - begin)
        charge(bound, end - begin - late)
        charge("overhead", late)
        reached = end
    return charged


def _by_finish(runs: Iterable[TaskRun]) -> Sequence[tuple[float, float, str, float]]:
    pieces = []
    for run in runs:
        if run.finish_s > run.start_s:
            pieces.append((run.start_s, run.finish_s, _slowest(run), run.task.overhead_s))
    return sorted(pieces, key=lambda piece: (piece[1], piece[0], piece[2]))


def _slowest(run: TaskRun) -> str:
    """The resource whose reservation ends last; without demands, the overhead."""
    if not run.task.demands:
        return "overhead"
    ends = [(end, demand.seconds, demand.resource) for demand, (_, end) in zip(run.task.demands, run.served, strict=True)]
    return max(ends)[2]
