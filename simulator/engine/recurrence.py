"""The golden twin of `execute`: the same times by a plain recurrence over every repetition, written to be obvious."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.engine.graph import TaskGraph

__all__ = ["TaskTimes", "recurrence"]


@dataclass(frozen=True, slots=True)
class TaskTimes:
    """Times in seconds of one task instance; ``served`` has begin and end of each demand's reservation."""

    segment: str
    repetition: int
    task: str
    start_s: float
    served: tuple[tuple[float, float], ...]
    finish_s: float


def recurrence(graph: TaskGraph) -> list[TaskTimes]:
    """Times of all task instances of ``graph`` in program order, every repetition worked out."""
    free = {resource.name: 0.0 for resource in graph.resources}
    finished: list[dict[str, float]] = []  # for each repetition of the whole run, task name to finish
    times = []
    awaited: tuple[str, ...] = ()  # exit tasks of the preceding segment
    for segment in graph.segments:
        for repetition in range(segment.repeat):
            finished.append({})
            for task in segment.tasks:
                start = max((free[name] for name in task.held), default=0.0)
                for dependency in task.dependencies:
                    if dependency.lag < len(finished):
                        start = max(start, finished[-1 - dependency.lag].get(dependency.task, 0.0))
                if repetition == 0 and task.name in segment.entry_tasks:
                    start = max([start, *(finished[-2][name] for name in awaited)])
                served = []
                for demand in task.demands:
                    begin = max(start, free[demand.resource])
                    free[demand.resource] = begin + demand.seconds
                    served.append((begin, begin + demand.seconds))
                finish = max([start, *(end for _, end in served)]) + task.overhead_s
                for name in task.held:
                    free[name] = finish
                finished[-1][task.name] = finish
                times.append(TaskTimes(segment.name, repetition, task.name, start, tuple(served), finish))
        awaited = segment.exit_tasks
    return times
