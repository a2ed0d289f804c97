"""Runs the layers of many steps, each distinct layer laid out once, in the order in which they follow each other.

The rules are the engine's (`simulator.engine`): every resource serves in program order, so that times are maxima and
sums. Its executor simulates repetitions of one segment; here segments follow each other in any order, thousands of
times, and are worked out directly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hw.spec.system import System
from mappers.planner.placement import MemoryPlan, PlannedRun
from simulator.collections.steps import LayerVisit, Unrolled
from simulator.engine import Dependency, Execution, Segment, Task, TaskGraph, TaskRun, resource_uses
from simulator.schedule import Schedule, TaskOrigin
from simulator.transport import Slowness, as_stated, transfer_demands, transfer_energy_j, transfer_latency_s

__all__ = ["LaidOut", "execute_sequence", "lay_out"]


@dataclass(frozen=True, eq=False)
class LaidOut:
    """The distinct layers as segments of one graph, each repeated as often as it stands in ``order``.

    ``energy_j`` by component and ``written_bytes`` by tier are of the whole run.
    """

    graph: TaskGraph
    order: tuple[int, ...]
    energy_j: dict[str, float]
    written_bytes: dict[str, float]


def lay_out(
    unrolled: Unrolled,
    system: System,
    tensors: tuple[str, ...],
    lay: Callable[[MemoryPlan], Schedule],
    slowness: Slowness = as_stated,
) -> LaidOut:
    """Every distinct visit of ``unrolled`` as a segment, its transfers ahead included.

    ``lay`` schedules one layer; ``slowness`` is that of the collection's pieces.
    """
    energy: dict[str, float] = {}
    written: dict[str, float] = {}
    segments = []
    graph = None
    plan = unrolled.plan
    for number, (visit, run) in enumerate(zip(unrolled.visits, unrolled.plan.runs, strict=True)):
        laid = lay(replace(plan, runs=(PlannedRun((visit.placed,), 1),)))
        if slowness is not as_stated:
            laid = _slowed(laid, visit, plan.home, system, slowness)
        laid = _with_ahead(laid, visit, plan.home, system, tensors, slowness)
        for total, part in ((energy, laid.energy_j), (written, laid.written_bytes)):
            for name, amount in part.items():
                total[name] = total.get(name, 0.0) + amount * run.count
        graph = laid.graph
        name = f"{number} {visit.placed.layer.name}"
        segments.append(replace(graph.segments[0], name=name, repeat=run.count))
    assert graph is not None
    return LaidOut(TaskGraph(graph.resources, tuple(segments), graph.residents), unrolled.order, energy, written)


def _with_ahead(
    laid: Schedule, visit: LayerVisit, home: str, system: System, tensors: tuple[str, ...], slowness: Slowness
) -> Schedule:
    """``laid`` with the transfer ahead of the visit, which operations on the tensors wait for.

    It stands first in its layer: on a shared port its bytes are served after the layer before and ahead of their use.
    """
    if not visit.ahead_bytes or visit.after is None:
        return laid
    (segment,) = laid.graph.segments
    source = visit.placed.tier(tensors[0])
    name = f"fetch ahead {tensors[0]}"
    demands = transfer_demands(system, source, home, visit.ahead_bytes, slowness)
    latency = transfer_latency_s(system, source, home)
    transfer = Task(name, "transfer", demands, (), latency, (Dependency(*visit.after),))
    users = {
        op.name for op in visit.placed.layer.ops for operand in op.operands if operand.stored in tensors
    }  # all wait: each may be the first
    tasks = [replace(task, after=(*task.after, name)) if task.name in users else task for task in segment.tasks]
    energy = dict(laid.energy_j)
    for component, joules in transfer_energy_j(system, source, home, visit.ahead_bytes).items():
        energy[component] = energy.get(component, 0.0) + joules
    written = {**laid.written_bytes, home: laid.written_bytes.get(home, 0.0) + visit.ahead_bytes}
    origin = TaskOrigin(visit.placed.layer.name, name, "fetch ahead")
    # It stands first, or right behind the router of its own layer.
    place = 0 if visit.after[1] else 1 + next(at for at, task in enumerate(tasks) if task.name == visit.after[0])
    changed = replace(segment, tasks=(*tasks[:place], transfer, *tasks[place:]))
    # A lone segment may wait for tasks of layers before it that only the whole run has.
    return Schedule(_unchecked(laid.graph, changed), {**laid.origins, (segment.name, name): origin}, energy, written)


def _slowed(laid: Schedule, visit: LayerVisit, home: str, system: System, slowness: Slowness) -> Schedule:
    """``laid`` with its transfers of missed pieces at the rate of such pieces."""
    (segment,) = laid.graph.segments
    sizes = {f"fetch missing {name}": (visit.placed.tier(name), size) for name, size in visit.placed.missed_bytes}
    tasks = []
    for task in segment.tasks:
        if task.name in sizes:
            source, size = sizes[task.name]
            task = replace(task, demands=transfer_demands(system, source, home, size, slowness))
        tasks.append(task)
    return replace(laid, graph=replace(laid.graph, segments=(replace(segment, tasks=tuple(tasks)),)))


def _unchecked(graph: TaskGraph, segment: Segment) -> TaskGraph:
    changed = object.__new__(TaskGraph)
    for name, value in (("resources", graph.resources), ("segments", (segment,)), ("residents", graph.residents)):
        object.__setattr__(changed, name, value)
    return changed


@dataclass(frozen=True, slots=True)
class _Wired:
    """A task with what it waits for: names in this layer, names some layers back, and resources it queues for."""

    task: Task
    inside: tuple[str, ...]
    before: tuple[tuple[int, str], ...]
    queue: tuple[str, ...]
    demands: tuple[tuple[str, float], ...]


def execute_sequence(graph: TaskGraph, order: Sequence[int]) -> Execution:
    """Run ``graph``'s segments in ``order``; lags count layers over the whole run, as in `simulator.engine.execute`."""
    wired = [[_wire(task) for task in segment.tasks] for segment in graph.segments]
    deepest = max((lag for layer in wired for task in layer for lag, _ in task.before), default=1)
    free = {resource.name: 0.0 for resource in graph.resources}
    held = dict.fromkeys(free, 0.0)
    finished: deque[dict[str, float]] = deque(maxlen=deepest)
    seen = [0] * len(graph.segments)
    runs: list[TaskRun] = []
    latency_s = 0.0
    for number in order:
        name, repetition = graph.segments[number].name, seen[number]
        seen[number] += 1
        done: dict[str, float] = {}
        for item in wired[number]:
            run = _perform(item, name, repetition, free, done, finished)
            runs.append(run)
            done[item.task.name] = run.finish_s
            for engine in item.task.held:
                free[engine] = run.finish_s
                held[engine] += run.finish_s - run.start_s
            latency_s = max(latency_s, run.finish_s)
        finished.append(done)
    return Execution(graph, tuple(runs), (), latency_s, resource_uses(graph, held, latency_s))


def _wire(task: Task) -> _Wired:
    inside = tuple(dependency.task for dependency in task.dependencies if dependency.lag == 0)
    before = tuple((dependency.lag, dependency.task) for dependency in task.dependencies if dependency.lag)
    demands = tuple((demand.resource, demand.seconds) for demand in task.demands)
    return _Wired(task, inside, before, task.held or tuple(name for name, _ in demands), demands)


def _perform(
    item: _Wired,
    segment: str,
    repetition: int,
    free: dict[str, float],
    done: dict[str, float],
    finished: deque[dict[str, float]],
) -> TaskRun:
    """One task; the resources it demands are taken, the engines it holds are given back by the caller."""
    task = item.task
    ready, dependency = 0.0, None
    for name in item.inside:
        if done[name] > ready:
            ready, dependency = done[name], name
    for lag, name in item.before:
        if lag <= len(finished):
            at = finished[-lag].get(name, 0.0)
            if at > ready:
                ready, dependency = at, name
    queued, resource = 0.0, None
    for name in item.queue:
        if free[name] > queued:
            queued, resource = free[name], name
    finish = start = max(ready, queued) if task.held else ready
    served = []
    for name, seconds in item.demands:
        at = free[name]
        begin = at if at > start else start
        free[name] = end = begin + seconds
        served.append((begin, end))
        if end > finish:
            finish = end
    waited_on: Literal["dependency", "resource", "nothing"] = "nothing"
    waited_for: str | None = None
    if queued > ready:
        waited_on, waited_for = "resource", resource
    elif ready > 0:
        waited_on, waited_for = "dependency", dependency
    return TaskRun(
        task, segment, repetition, start, finish + task.overhead_s, tuple(served), waited_for, waited_on,
        abs(queued - ready),
    )  # fmt: skip
