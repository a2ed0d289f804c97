"""What an execution records: every simulated task, the steady spans skipped between them, and totals per resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from simulator.engine.graph import Resource, Task, TaskGraph

__all__ = ["Execution", "Interval", "ResourceUse", "SteadySpan", "TaskRun", "resource_uses"]


@dataclass(frozen=True, slots=True)
class Interval:
    """``resource`` was reserved from ``begin_s`` to ``end_s`` for ``amount`` (bytes, operations)."""

    resource: str
    begin_s: float
    end_s: float
    amount: float


@dataclass(frozen=True, slots=True)
class TaskRun:
    """One instance of ``task``: ``repetition`` (from 0) of ``segment``. Times are seconds from the run's start.

    ``waited_for`` is what the task waited for last: the dependency (``waited_on`` is "dependency") or, where all
    dependencies had finished before, the held engine or else the demanded resource that was still busy ("resource").
    ``stall_s`` is for how long that one kept the other waiting: an engine idle because its task was not ready, or a
    ready task queued for a resource.
    """

    task: Task
    segment: str
    repetition: int
    start_s: float
    finish_s: float
    served: tuple[tuple[float, float], ...]
    waited_for: str | None
    waited_on: Literal["dependency", "resource", "nothing"]
    stall_s: float

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def bound(self) -> str:
        """What takes longest in the task: a resource's name, "overhead" or "nothing"."""
        return self.task.bound

    @property
    def begin_s(self) -> float:
        """When work begins: the start if an engine is held, else the first reservation (which may queue)."""
        return self.start_s if self.task.held or not self.served else min(begin for begin, _ in self.served)

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """The reservations, in the order of the task's demands."""
        pairs = zip(self.task.demands, self.served, strict=True)
        return tuple(Interval(demand.resource, begin, end, demand.amount) for demand, (begin, end) in pairs)

    def later(self, earlier: TaskRun, cycles: int, repetition: int) -> TaskRun:
        """This run ``cycles`` steady cycles on, where ``earlier`` is the same task one cycle before this run."""

        def on(new: float, old: float) -> float:
            return new + cycles * (new - old)

        pairs = zip(self.served, earlier.served, strict=True)
        return TaskRun(
            self.task,
            self.segment,
            repetition,
            on(self.start_s, earlier.start_s),
            on(self.finish_s, earlier.finish_s),
            tuple((on(begin, old_begin), on(end, old_end)) for (begin, end), (old_begin, old_end) in pairs),
            self.waited_for,
            self.waited_on,
            max(0.0, on(self.stall_s, earlier.stall_s)),
        )


@dataclass(frozen=True, slots=True)
class SteadySpan:
    """``count`` repetitions of ``segment`` from ``first`` on that were not simulated, because every time grew by its
    own constant per cycle of ``cycle`` repetitions (one constant for all where the block runs in lock step).

    ``template`` holds the runs of the last cycle simulated before the span, ``earlier`` those of the cycle before it.
    The span stands after the execution's first ``position`` runs.
    """

    segment: str
    first: int
    count: int
    cycle: int
    position: int
    template: tuple[TaskRun, ...]
    earlier: tuple[TaskRun, ...]

    @property
    def period_s(self) -> float:
        """Seconds per repetition, of the task that advances slowest."""
        pairs = zip(self.template, self.earlier, strict=True)
        return max((new.finish_s - old.finish_s for new, old in pairs), default=0.0) / self.cycle

    @property
    def begin_s(self) -> float:
        """Start of the span's first task."""
        return min((run.start_s for run in self._runs_of_cycle(1)), default=0.0)

    @property
    def end_s(self) -> float:
        """Finish of the span's last task."""
        return max((run.finish_s for run in self._runs_of_cycle(self.count // self.cycle)), default=0.0)

    def runs(self) -> Iterator[TaskRun]:
        """The skipped runs, in program order."""
        for cycles in range(1, self.count // self.cycle + 1):
            yield from self._runs_of_cycle(cycles)

    def ends(self) -> Iterator[TaskRun]:
        """The skipped runs of the first and of the last cycle: every resource's first and last use lies among them."""
        yield from self._runs_of_cycle(1)
        yield from self._runs_of_cycle(self.count // self.cycle)

    def _runs_of_cycle(self, cycles: int) -> Iterator[TaskRun]:
        for new, old in zip(self.template, self.earlier, strict=True):
            yield new.later(old, cycles, new.repetition + cycles * self.cycle)


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """Totals of one resource over all repetitions: ``busy_s`` reserved by demands, ``held_s`` held by tasks, ``amount``
    in ``unit`` served; ``utilisation`` is busy_s over the makespan (0 for an empty run)."""

    resource: Resource
    busy_s: float
    held_s: float
    amount: float
    unit: str
    utilisation: float


@dataclass(frozen=True)
class Execution:
    """The result of executing ``graph``: simulated ``runs`` in program order, steady ``spans`` between them, totals.

    ``latency_s`` is the makespan: the last finish of all tasks, skipped ones included. ``uses`` goes by resource name.
    """

    graph: TaskGraph
    runs: tuple[TaskRun, ...]
    spans: tuple[SteadySpan, ...]
    latency_s: float
    uses: dict[str, ResourceUse]

    def all_runs(self, segment: str | None = None) -> Iterator[TaskRun]:
        """Every task instance (of one ``segment`` if named), skipped ones included, in program order."""
        for part in self._parts() if segment is None else self._parts_of.get(segment, ()):
            if isinstance(part, SteadySpan):
                yield from part.runs()
            else:
                yield part

    def _parts(self) -> Iterator[TaskRun | SteadySpan]:
        """Simulated runs and the spans between them, in program order."""
        done = 0
        for span in self.spans:
            yield from self.runs[done : span.position]
            yield span
            done = span.position
        yield from self.runs[done:]

    @cached_property
    def _parts_of(self) -> dict[str, list[TaskRun | SteadySpan]]:
        """The parts by segment, gathered once: asking for every segment in turn stays linear in the runs."""
        grouped: dict[str, list[TaskRun | SteadySpan]] = {}
        for part in self._parts():
            grouped.setdefault(part.segment, []).append(part)
        return grouped


def resource_uses(graph: TaskGraph, held_s: Mapping[str, float], latency_s: float) -> dict[str, ResourceUse]:
    """Totals per resource: demands are counted, not simulated, so that skipped repetitions count exactly.

    ``held_s`` says how long tasks held a resource without using it up.
    """
    busy = {resource.name: 0.0 for resource in graph.resources}
    amount: dict[str, float] = dict.fromkeys(busy, 0)
    unit: dict[str, str] = {}
    for segment in graph.segments:
        for task in segment.tasks:
            for demand in task.demands:
                busy[demand.resource] += demand.seconds * segment.repeat
                amount[demand.resource] += demand.amount * segment.repeat
                unit[demand.resource] = demand.unit
    return {
        resource.name: ResourceUse(
            resource,
            busy[resource.name],
            held_s.get(resource.name, 0.0),
            amount[resource.name],
            unit.get(resource.name, "B"),
            busy[resource.name] / latency_s if latency_s else 0.0,
        )
        for resource in graph.resources
    }
