"""A training iteration whose optimizer states lie in host memory: forward, backward and update, executed.

The states are cut into subgroups. Some stay on the device (TwinFlow of ZeRO-Offload++), every ``stride``-th of the
others goes up, is updated there and comes back (Deep Optimizer States, arXiv 2410.21316), the rest the host's
processors update and send its 16-bit parameters up. Four streams serve in order: host, up, device and down; the host's
memory serves updates and copies alike. In the backward pass gradients of what the host updates go down in fp32.

`schedule_update` is the streams' recurrence in closed form; `update_graph` hands the same tasks to the event engine,
where they also share the host's memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mappers.planner.swap.optimizer_stride import (
    DEVICE_UPDATE_BYTES,
    HOST_UPDATE_BYTES,
    PARAMETER_BYTES,
    STATE_BYTES,
    UpdateRates,
)
from simulator.engine import Demand, Execution, Resource, Segment, Task, TaskGraph, execute
from workloads.errors import InputError

__all__ = [
    "Iteration",
    "IterationWork",
    "Planned",
    "UpdateWork",
    "iteration_graph",
    "replay_iteration",
    "replay_update",
    "schedule_update",
    "update_graph",
    "update_s",
]

_HOST, _UP, _DEVICE, _DOWN, _MEMORY = "host", "up", "device", "down", "host-memory"
_RESOURCES = (
    Resource(_HOST, "engine"),
    Resource(_DEVICE, "engine"),
    Resource(_UP, "link"),
    Resource(_DOWN, "link"),
    Resource(_MEMORY, "tier"),
)
_GRADIENT_BYTES = 4
"""Of a gradient in host memory: fp32, as the host's Adam reads it (deepspeed 0.13, runtime/zero/stage3.py)."""


@dataclass(frozen=True)
class UpdateWork:
    """One device's share of an update: parameters of each of its ``subgroups``, in their order.

    The last ``resident`` live on the device. Of the others every ``stride``-th goes up (None for none), ``slots`` of
    them at once. ``blocking``: the host waits for each subgroup's parameters to be up before it goes on, and what
    lives on the device follows last (DeepSpeed's loop over subgroups).
    """

    subgroups: tuple[float, ...]
    rates: UpdateRates
    stride: int | None = None
    resident: int = 0
    slots: int = 2
    blocking: bool = False

    def __post_init__(self) -> None:
        if not self.subgroups or min(self.subgroups) <= 0:
            raise InputError(
                f"found {len(self.subgroups)} subgroups", "subgroups of one parameter or more", "subgroups"
            )
        if not 0 <= self.resident <= len(self.subgroups):
            raise InputError(f"found {self.resident}", f"0 to {len(self.subgroups)} subgroups", "resident")
        for field, found in (("slots", self.slots), ("stride", 1 if self.stride is None else self.stride)):
            if found < 1:
                raise InputError(f"found {found}", "1 or more", field)

    @property
    def places(self) -> tuple[str, ...]:
        """Who updates each subgroup: "host", "visiting" (goes up and back) or "resident"."""
        moved = len(self.subgroups) - self.resident
        visiting = self.stride or moved + 1
        return tuple(
            "resident" if number > moved else "visiting" if number % visiting == 0 else "host"
            for number in range(1, len(self.subgroups) + 1)
        )

    def parameters(self, place: str) -> float:
        """Parameters that are updated at ``place``."""
        return sum(size for size, where in zip(self.subgroups, self.places, strict=True) if where == place)

    @property
    def memory_s(self) -> float:
        """Seconds of the host's memory: updates with the copies that follow them, and visits both ways."""
        updated = self.parameters("host") * (HOST_UPDATE_BYTES + PARAMETER_BYTES)
        return (updated + self.parameters("visiting") * 2 * STATE_BYTES) / self.rates.host_bytes_per_s

    @property
    def bound_s(self) -> float:
        """What no order of these tasks goes below: each stream's work, and the memory's."""
        rates, host, visiting = self.rates, self.parameters("host"), self.parameters("visiting")
        return max(
            host / rates.host_parameters_per_s,
            (visiting * STATE_BYTES + host * PARAMETER_BYTES) / rates.link_bytes_per_s,
            (sum(self.subgroups) - host) * DEVICE_UPDATE_BYTES / rates.device_bytes_per_s,
            self.memory_s,
        )


@dataclass(frozen=True)
class Planned:
    """A task of the update as the streams alone would run it."""

    name: str
    stream: str
    begin_s: float
    seconds: float
    memory_bytes: float
    parameters: float
    after: tuple[str, ...] = ()

    @property
    def finish_s(self) -> float:
        return self.begin_s + self.seconds


@dataclass(frozen=True)
class _Waiting:
    """What wants to go up: a host's parameters (``number``) once updated, or the states of a visit."""

    number: int
    ready_s: float
    after: tuple[str, ...]


def update_s(work: UpdateWork) -> float:
    """Seconds of the update in closed form: the streams' recurrence, or the memory's bytes where these take longer."""
    return max(max(task.finish_s for task in schedule_update(work)), work.memory_s)


def schedule_update(work: UpdateWork) -> tuple[Planned, ...]:
    """Every task with its times were the host's memory unlimited, in the order in which they begin.

    What goes up is taken as it comes: parameters when they are updated, states when a slot is free and the host has
    come to the subgroup that visited the slot before. Visits that ran ahead would take the memory from the host first
    and leave it alone later.
    """
    if work.blocking:
        return _one_after_another(work)
    tasks: list[Planned] = []
    device = host = up = down = 0.0
    places = dict(enumerate(work.places))
    for number in (n for n, place in places.items() if place == "resident"):
        tasks.append(_task(work, "update", number, _DEVICE, device))
        device = tasks[-1].finish_s
    parameters: list[_Waiting] = []
    for number in (n for n, place in places.items() if place == "host"):
        tasks.append(_task(work, "update", number, _HOST, host))
        host = tasks[-1].finish_s
        parameters.append(_Waiting(number, host, (f"update.{number}",)))
    visits = [n for n, place in places.items() if place == "visiting"]
    gates = _gates(work, visits, parameters)
    backs: list[tuple[float, str]] = []
    while parameters or len(backs) < len(visits):
        free_s: float = 0.0
        after: tuple[str, ...] = ()
        if work.slots <= len(backs) < len(visits):
            waits = [backs[-work.slots], *gates[len(backs)]]
            free_s, after = max(wait[0] for wait in waits), tuple(wait[1] for wait in waits)
        if parameters and (len(backs) == len(visits) or max(up, parameters[0].ready_s) < max(up, free_s)):
            first = parameters.pop(0)
            tasks.append(_task(work, "parameters", first.number, _UP, max(up, first.ready_s), first.after))
            up = tasks[-1].finish_s
            continue
        number = visits[len(backs)]
        arrive = _task(work, "states", number, _UP, max(up, free_s), after)
        change = _task(work, "update", number, _DEVICE, max(device, arrive.finish_s), (arrive.name,))
        leave = _task(work, "back", number, _DOWN, max(down, change.finish_s), (change.name,))
        up, device, down = arrive.finish_s, change.finish_s, leave.finish_s
        backs.append((down, leave.name))
        tasks += [arrive, change, leave]
    return tuple(sorted(tasks, key=lambda task: task.begin_s))


def _gates(work: UpdateWork, visits: list[int], updated: list[_Waiting]) -> list[list[tuple[float, str]]]:
    """For each visit the host's update that it waits for: the last before the visit ``slots`` earlier, if any."""
    gates: list[list[tuple[float, str]]] = []
    for place in range(len(visits)):
        reached = visits[place - work.slots] if place >= work.slots else 0
        before = [each for each in updated if each.number < reached]
        gates.append([(before[-1].ready_s, before[-1].after[0])] if before else [])
    return gates


def _one_after_another(work: UpdateWork) -> tuple[Planned, ...]:
    """The blocking loop: a subgroup is begun when all of the one before is done."""
    tasks: list[Planned] = []
    for number, place in enumerate(work.places):
        names = {"host": ("update", "parameters"), "visiting": ("states", "update", "back"), "resident": ("update",)}
        for name in names[place]:
            stream = {"parameters": _UP, "states": _UP, "back": _DOWN}.get(name, _HOST if place == "host" else _DEVICE)
            begin, after = (tasks[-1].finish_s, (tasks[-1].name,)) if tasks else (0.0, ())
            tasks.append(_task(work, name, number, stream, begin, after))
    return tuple(tasks)


def _task(
    work: UpdateWork, name: str, number: int, stream: str, begin_s: float, after: tuple[str, ...] = ()
) -> Planned:
    size, rates, label = work.subgroups[number], work.rates, f"{name}.{number}"
    if stream == _HOST:
        seconds = size / rates.host_parameters_per_s
        return Planned(label, stream, begin_s, seconds, size * HOST_UPDATE_BYTES, size, after)
    if stream == _DEVICE:
        return Planned(label, stream, begin_s, size * DEVICE_UPDATE_BYTES / rates.device_bytes_per_s, 0.0, size, after)
    moved = size * (PARAMETER_BYTES if name == "parameters" else STATE_BYTES)
    return Planned(label, stream, begin_s, moved / rates.link_bytes_per_s, moved, size, after)


def update_graph(work: UpdateWork) -> TaskGraph:
    """The update as tasks of the event engine: streams reserved in the recurrence's order, memory beside them."""
    return TaskGraph(_RESOURCES, (_update_segment(work),))


def _update_segment(work: UpdateWork) -> Segment:
    """Tasks in the order in which streams begin them that all go as slowly as the memory lets them together.

    A resource serves in program order: in an order of unlimited memory, copies that wait for a slot would keep updates
    behind them from it.
    """
    tasks = {task.name: task for task in schedule_update(work)}
    slower = max(1.0, work.memory_s / max(task.finish_s for task in tasks.values()))
    rates = work.rates
    paced = replace(
        rates,
        host_parameters_per_s=rates.host_parameters_per_s / slower,
        link_bytes_per_s=rates.link_bytes_per_s / slower,
    )
    order = schedule_update(replace(work, rates=paced))
    return Segment("update", tuple(_engine_task(tasks[task.name], rates) for task in order))


def _engine_task(task: Planned, rates: UpdateRates) -> Task:
    held = (task.stream,) if task.stream in (_HOST, _DEVICE) else ()
    amount, unit = (task.parameters, "parameter") if held else (task.memory_bytes, "B")
    demands = [Demand(task.stream, task.seconds, amount, unit)]
    if task.memory_bytes:
        demands.append(Demand(_MEMORY, task.memory_bytes / rates.host_bytes_per_s, task.memory_bytes))
    return Task(task.name, "compute" if held else "transfer", tuple(demands), held, 0.0, task.after)


def replay_update(work: UpdateWork) -> Execution:
    """The update, executed."""
    return execute(update_graph(work), unroll=True)


@dataclass(frozen=True)
class IterationWork:
    """One device's iteration. ``forward_s`` and ``backward_s`` are its computation with collectives; gradients come to
    lie in host memory in fp32 at ``gradients_per_s``, at most the link's rate.

    ``exposed``: the computation waits for each subgroup's gradients to be down.
    """

    forward_s: float
    backward_s: float
    update: UpdateWork
    gradients_per_s: float
    exposed: bool

    def __post_init__(self) -> None:
        most = self.update.rates.link_bytes_per_s / _GRADIENT_BYTES
        if not 0 < self.gradients_per_s <= most * (1 + 1e-12):
            expected = f"above 0 and at most {most:g} gradients a second"
            raise InputError(f"found {self.gradients_per_s:g}", expected, "gradients_per_s")

    @property
    def flush_s(self) -> float:
        """Seconds of the way down for the gradients of all that the host updates."""
        return self.update.parameters("host") / self.gradients_per_s


@dataclass(frozen=True)
class Iteration:
    """What the engine found: seconds of the three phases, one after another."""

    execution: Execution
    forward_s: float
    backward_s: float
    update_s: float

    @property
    def seconds(self) -> float:
        return self.forward_s + self.backward_s + self.update_s


def iteration_graph(work: IterationWork) -> TaskGraph:
    """Forward, backward subgroup by subgroup from the last to the first, and the update."""
    update, total = work.update, sum(work.update.subgroups)
    begin = Task("forward", "compute", (Demand(_DEVICE, work.forward_s, 0.0, "parameter"),), (_DEVICE,))
    forward = Segment("forward", (begin,))
    backward: list[Task] = []
    before: tuple[str, ...] = ()
    for number in reversed(range(len(update.subgroups))):
        size = update.subgroups[number]
        compute = Demand(_DEVICE, work.backward_s * size / total, 0.0, "parameter")
        backward.append(Task(f"backward.{number}", "compute", (compute,), (_DEVICE,), 0.0, before))
        if update.places[number] == "host":
            moved = size * _GRADIENT_BYTES
            demands = (
                Demand(_DOWN, size / work.gradients_per_s, moved),
                Demand(_MEMORY, moved / update.rates.host_bytes_per_s, moved),
            )
            backward.append(Task(f"gradients.{number}", "transfer", demands, (), 0.0, (f"backward.{number}",)))
            before = (f"gradients.{number}",) if work.exposed else ()
        else:
            before = ()
    return TaskGraph(_RESOURCES, (forward, Segment("backward", tuple(backward)), _update_segment(update)))


def replay_iteration(work: IterationWork) -> Iteration:
    """The iteration, executed; phases follow one another."""
    execution = execute(iteration_graph(work), unroll=True)
    ends = {"forward": 0.0, "backward": 0.0, "update": 0.0}
    for run in execution.all_runs():
        ends[run.segment] = max(ends[run.segment], run.finish_s)
    return Iteration(execution, ends["forward"], ends["backward"] - ends["forward"], ends["update"] - ends["backward"])
