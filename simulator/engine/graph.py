"""What is executed: tasks in program order, the resources they reserve, and segments that repeat equal work.

Every resource serves tasks strictly in program order: the order of the segments, of their repetitions and, within one
repetition, of the tasks as listed. Times are then built from maxima and sums only, so a shorter reservation can never
make a run longer (a list scheduler that lets tasks overtake has no such guarantee: Graham, SIAM J. Appl. Math. 17(2),
1969). All values are immutable, and a `TaskGraph` that exists is consistent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Buffer",
    "Demand",
    "Dependency",
    "Resident",
    "Resource",
    "ResourceKind",
    "Segment",
    "Task",
    "TaskGraph",
    "TaskKind",
]

ResourceKind = Literal["engine", "tier", "link", "fabric"]
TaskKind = Literal["compute", "transfer", "collective"]


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that serves one reservation at a time: an engine, a memory tier's port, a link or a fabric."""

    name: str
    kind: ResourceKind


@dataclass(frozen=True, slots=True)
class Demand:
    """A reservation of ``seconds`` on ``resource`` that moves or computes ``amount`` in ``unit`` (bytes, operations).

    Raises ValueError when seconds or amount are negative or not finite.
    """

    resource: str
    seconds: float
    amount: float = 0
    unit: str = "B"

    def __post_init__(self) -> None:
        _require_size(f"demand on {self.resource!r}: seconds", self.seconds)
        _require_size(f"demand on {self.resource!r}: amount", self.amount)


@dataclass(frozen=True, slots=True)
class Dependency:
    """Waits for the finish of the task named ``task``, ``lag`` repetitions of the block ago.

    Lag 0 is the same repetition (the task must be listed earlier), 1 the one before, 2 the one before that (two buffers
    used in turn). Repetitions are counted over the whole run: a lag that reaches before the segment's first repetition
    goes on into the preceding segments. Where the repetition so found has no task of this name, or lies before the
    run's start, nothing is waited for.
    Raises ValueError when the lag is negative.
    """

    task: str
    lag: int = 0

    def __post_init__(self) -> None:
        if self.lag < 0:
            raise ValueError(f"dependency on {self.task!r}: lag must be 0 or more, not {self.lag}")


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work.

    It starts when all tasks in ``after`` (a plain name is a dependency of lag 0) have finished and every engine in
    ``held`` is free. Each demand then begins as soon as its resource has served all earlier reservations; demands on
    different resources run side by side, those on one resource one after another. The task finishes ``overhead_s``
    after the last of them ends, and only then gives back the engines it holds; other resources are free again when the
    reservation ends. Raises ValueError for a negative overhead or an engine held twice.
    """

    name: str
    kind: TaskKind
    demands: tuple[Demand, ...] = ()
    held: tuple[str, ...] = ()
    overhead_s: float = 0.0
    after: tuple[str | Dependency, ...] = ()

    def __post_init__(self) -> None:
        _require_size(f"task {self.name!r}: overhead_s", self.overhead_s)
        _require_unique(f"task {self.name!r}: held engine", self.held)

    @property
    def dependencies(self) -> tuple[Dependency, ...]:
        """``after`` with every plain name written as a dependency of lag 0."""
        return tuple(Dependency(item) if isinstance(item, str) else item for item in self.after)

    @property
    def bound(self) -> str:
        """What takes longest: the resource with the longest demand, or "overhead"; "nothing" for an empty task."""
        longest = max(self.demands, key=lambda demand: demand.seconds, default=None)
        if longest is not None and longest.seconds >= self.overhead_s and longest.seconds > 0:
            return longest.resource
        return "overhead" if self.overhead_s > 0 else "nothing"


@dataclass(frozen=True, slots=True)
class Buffer:
    """``bytes`` in ``tier``, in each repetition, from when ``allocated_by`` begins to the last finish of ``freed_by``.

    A task begins when it starts holding an engine or, holding none, when its first reservation begins. The users in
    ``freed_by`` belong to the repetition ``lag`` after the allocating one. A buffer without users, or whose last users
    lie beyond the segment's last repetition, stays until the end of the run.
    Raises ValueError for a negative size or lag.
    """

    name: str
    tier: str
    bytes: int
    allocated_by: str
    freed_by: tuple[str, ...] = ()
    lag: int = 0

    def __post_init__(self) -> None:
        _require_size(f"buffer {self.name!r}: bytes", self.bytes)
        if self.lag < 0:
            raise ValueError(f"buffer {self.name!r}: lag must be 0 or more, not {self.lag}")


@dataclass(frozen=True, slots=True)
class Resident:
    """``bytes`` that lie in ``tier`` during the whole run. Raises ValueError when negative."""

    name: str
    tier: str
    bytes: int

    def __post_init__(self) -> None:
        _require_size(f"resident {self.name!r}: bytes", self.bytes)


@dataclass(frozen=True, slots=True)
class Segment:
    """A block of tasks executed ``repeat`` times; equal layers are one segment.

    Repetitions are tied together only by the dependencies with a lag and by the resources they share. In the first
    repetition every ``entry`` task waits for the ``exit`` tasks of the preceding segment's last repetition. None stands
    for the tasks without dependency inside their repetition (entry) and those nothing in it waits for (exit), so that
    by default a segment starts when the one before is done; a transfer left out of ``entry`` may run ahead.
    """

    name: str
    tasks: tuple[Task, ...]
    repeat: int = 1
    entry: tuple[str, ...] | None = None
    exit: tuple[str, ...] | None = None
    buffers: tuple[Buffer, ...] = ()

    @property
    def entry_tasks(self) -> frozenset[str]:
        """Names of the tasks that wait for the preceding segment."""
        if self.entry is not None:
            return frozenset(self.entry)
        return frozenset(task.name for task in self.tasks if all(dep.lag for dep in task.dependencies))

    @property
    def exit_tasks(self) -> tuple[str, ...]:
        """Names of the tasks the next segment waits for."""
        if self.exit is not None:
            return self.exit
        awaited = {dep.task for task in self.tasks for dep in task.dependencies if dep.lag == 0}
        return tuple(task.name for task in self.tasks if task.name not in awaited)


@dataclass(frozen=True, slots=True)
class TaskGraph:
    """Segments executed one after another on ``resources``, beside ``residents`` that lie in tiers all the time.

    Raises ValueError naming the offender for: a name given twice or unknown, a segment without tasks or repeated
    less than once, a dependency of lag 0 on a task that is not listed earlier (a cycle), a held resource that is no
    engine, bytes in a resource that is no tier, two units of amount on one resource.
    """

    resources: tuple[Resource, ...]
    segments: tuple[Segment, ...]
    residents: tuple[Resident, ...] = ()

    def __post_init__(self) -> None:
        _require_unique("resource", (resource.name for resource in self.resources))
        _require_unique("segment", (segment.name for segment in self.segments))
        kinds: dict[str, ResourceKind] = {resource.name: resource.kind for resource in self.resources}
        units: dict[str, str] = {}
        met: set[str] = set()
        for segment in self.segments:
            met.update(task.name for task in segment.tasks)
            _check_segment(segment, met, kinds, units)
        for resident in self.residents:
            _require_kind(f"resident {resident.name!r}", resident.tier, "tier", kinds)


def _check_segment(segment: Segment, met: set[str], kinds: dict[str, ResourceKind], units: dict[str, str]) -> None:
    where = f"segment {segment.name!r}"
    if segment.repeat < 1:
        raise ValueError(f"{where}: repeat must be 1 or more, not {segment.repeat}")
    if not segment.tasks:
        raise ValueError(f"{where}: has no tasks")
    _require_unique(f"{where}: task", (task.name for task in segment.tasks))
    names = {task.name for task in segment.tasks}
    for side, listed in (("entry", segment.entry or ()), ("exit", segment.exit or ())):
        _require_unique(f"{where}: {side} task", listed)
        _require_known(f"{where}: {side}", listed, names)
    earlier: set[str] = set()
    for task in segment.tasks:
        _check_task(f"{where}, task {task.name!r}", task, met, earlier, kinds, units)
        earlier.add(task.name)
    _require_unique(f"{where}: buffer", (buffer.name for buffer in segment.buffers))
    for buffer in segment.buffers:
        _require_kind(f"{where}, buffer {buffer.name!r}", buffer.tier, "tier", kinds)
        _require_known(f"{where}, buffer {buffer.name!r}", (buffer.allocated_by, *buffer.freed_by), names)


def _check_task(
    where: str, task: Task, met: set[str], earlier: set[str], kinds: dict[str, ResourceKind], units: dict[str, str]
) -> None:
    for held in task.held:
        _require_kind(where, held, "engine", kinds)
    for demand in task.demands:
        if demand.resource not in kinds:
            raise ValueError(f"{where}: unknown resource {demand.resource!r}")
        unit = units.setdefault(demand.resource, demand.unit)
        if unit != demand.unit:
            raise ValueError(f"{where}: {demand.resource!r} counts {unit!r} elsewhere, not {demand.unit!r}")
    for dependency in task.dependencies:
        _require_known(where, (dependency.task,), met)
        if dependency.lag == 0 and dependency.task not in earlier:
            raise ValueError(f"{where}: waits for {dependency.task!r}, which is not listed before it in the segment")


def _require_kind(where: str, name: str, kind: ResourceKind, kinds: dict[str, ResourceKind]) -> None:
    if name not in kinds:
        raise ValueError(f"{where}: unknown resource {name!r}")
    if kinds[name] != kind:
        raise ValueError(f"{where}: {name!r} is of kind {kinds[name]!r}, needs {kind!r}")


def _require_known(where: str, listed: Iterable[str], names: set[str]) -> None:
    for name in listed:
        if name not in names:
            raise ValueError(f"{where}: unknown task {name!r}")


def _require_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {name!r} is given twice")
        seen.add(name)


def _require_size(what: str, value: float) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{what} must be finite and 0 or more, not {value!r}")
