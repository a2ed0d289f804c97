"""Activations that leave the device between their forward and their backward pass: which, when, and what is left.

    step = activation_step(workload, mapped, system)
    run = run_offload(step, adaptive_leaving(step, link), link)
    run.step_s, run.peak_bytes, run.written_bytes

After SSDTrain (arXiv 2408.10013, sections III-A to III-C; K-Wu/FlashTrain). Three streams: compute in order, stores in
the order in which activations are made, loads in the order in which backward passes want them. A store begins when the
activation is made, and its room is free when the store is done and no forward pass reads it any more. When a unit of
the backward pass begins, the unit ``ahead`` of it asks for what it wants. An activation whose store is not done by then
is not loaded but used where it is (forwarding); weights never leave, what several passes read is written once
(deduplication: an activation is one tensor here), and the unit whose backward pass comes first keeps its own. A unit is
a backward pass that reads kept activations, as of one linear layer or norm (where PyTorch's hooks are), or a whole
module. `run_offload` does this in one pass; `offload_graph` gives the same to the event engine, its golden twin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from simulator.engine import Buffer, Demand, Execution, Resource, Segment, Task, TaskGraph, execute
from simulator.training.offload.activation_step import ActivationStep
from workloads.errors import InputError

__all__ = [
    "MEMORY",
    "ActivationLink",
    "OffloadRun",
    "adaptive_leaving",
    "candidates",
    "execute_offload",
    "lifetime_s",
    "offload_graph",
    "run_offload",
]

MEMORY = "device memory"
_COMPUTE, _STORE, _LOAD = "compute", "store", "load"


@dataclass(frozen=True)
class ActivationLink:
    """What activations leave over: bytes per second out and in, and how many units before its use a load is asked for
    (0 for all at the first backward pass, so that loads are never idle)."""

    write_bytes_per_s: float
    read_bytes_per_s: float
    ahead: int = 1
    unit: Literal["pass", "module"] = "pass"

    def __post_init__(self) -> None:
        if not (self.write_bytes_per_s > 0 and self.read_bytes_per_s > 0):
            raise InputError("a rate of 0 or less", "bytes per second above 0", "link")
        if self.ahead < 0:
            raise InputError(f"found {self.ahead}", "0 or more units", "ahead")


@dataclass(frozen=True)
class OffloadRun:
    """When passes end, and what became of ``leaving``: ``forwarded`` were used before they were stored.

    ``peak_bytes`` is the most that activations hold on the device, weights and gradients of weights aside.
    """

    step_s: float
    compute_s: float
    peak_bytes: float
    written_bytes: float
    read_bytes: float
    leaving: tuple[str, ...]
    forwarded: frozenset[str]
    finish_s: tuple[float, ...]

    @property
    def stall_s(self) -> float:
        """Seconds that computation waits for loads."""
        return self.step_s - self.compute_s


def candidates(step: ActivationStep, link: ActivationLink, smallest_bytes: float = 2.0**20) -> tuple[str, ...]:
    """What may leave, in the order in which it is made: kept activations of ``smallest_bytes`` or more that some
    backward pass reads, but for those of the unit whose backward pass comes first."""
    units = _units(step, link)
    found = []
    for name in step.kept:
        first = step.first_backward(name)
        if first is not None and step.bytes_of[name] >= smallest_bytes and units[first] > 0:
            found.append(name)
    return tuple(found)


def _units(step: ActivationStep, link: ActivationLink) -> dict[int, int]:
    """By index of a backward pass that reads kept activations the number of its unit, in order."""
    kept = set(step.kept)
    readers = [index for index, each in enumerate(step.passes) if each.backward and not kept.isdisjoint(each.reads)]
    if link.unit == "pass":
        return {index: place for place, index in enumerate(readers)}
    modules = list(dict.fromkeys(step.passes[index].module for index in readers))
    return {index: modules.index(step.passes[index].module) for index in readers}


def adaptive_leaving(
    step: ActivationStep, link: ActivationLink, *, smallest_bytes: float = 2.0**20, slack: float = 1e-9
) -> tuple[str, ...]:
    """As much as hides: the longest run of `candidates` from the first one on that makes the step no longer than
    ``slack`` of it, less those at its end that would be written and not be read (section III-A: once so many bytes have
    left, the rest is kept)."""
    possible = candidates(step, link, smallest_bytes)
    longest = step.compute_s * (1 + slack)

    def hides(count: int) -> bool:
        return run_offload(step, possible[:count], link).step_s <= longest

    low, high = 0, len(possible)
    if not hides(high):
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if hides(middle) else (low, middle)
        high = low
    leaving = list(possible[:high])
    while leaving:
        forwarded = run_offload(step, leaving, link).forwarded
        if leaving[-1] not in forwarded:
            break
        while leaving and leaving[-1] in forwarded:
            leaving.pop()
    return tuple(leaving)


def lifetime_s(endurance_bytes: float, run: OffloadRun) -> float:
    """Seconds of such steps until ``endurance_bytes`` are written; endless where nothing is."""
    return endurance_bytes / run.written_bytes * run.step_s if run.written_bytes else math.inf


@dataclass(frozen=True)
class _Asked:
    """At the pass with index ``at``: ``names`` in the order in which they are wanted."""

    at: int
    names: tuple[str, ...]


def _requests(step: ActivationStep, leaving: Sequence[str], link: ActivationLink) -> Iterator[_Asked]:
    """Loads by the pass before which they are asked for."""
    units = _units(step, link)
    begins: dict[int, int] = {}
    for index, unit in units.items():
        begins.setdefault(unit, index)
    wanted: dict[int, list[tuple[int, str]]] = {}
    for name in leaving:
        first = step.first_backward(name)
        assert first is not None
        wanted.setdefault(units[first], []).append((first, name))
    for unit in sorted(wanted):
        asking = max(0, unit - link.ahead) if link.ahead else 0
        yield _Asked(begins[asking], tuple(name for _, name in sorted(wanted[unit])))


def run_offload(step: ActivationStep, leaving: Sequence[str], link: ActivationLink) -> OffloadRun:
    """The step with ``leaving`` stored and loaded. Raises `InputError` for what is not kept or never read again."""
    away = _checked(step, leaving)
    asked: dict[int, list[str]] = {}
    for request in _requests(step, leaving, link):
        asked.setdefault(request.at, []).extend(request.names)
    clock = store_free = load_free = 0.0
    begin_s, finish_s = [0.0] * len(step.passes), [0.0] * len(step.passes)
    stored: dict[str, float] = {}
    begun: dict[str, float] = {}
    loaded: dict[str, float] = {}
    forwarded: set[str] = set()
    for index, each in enumerate(step.passes):
        for name in asked.get(index, ()):
            if stored[name] > clock:
                forwarded.add(name)
                continue
            begun[name] = max(load_free, clock)
            load_free = loaded[name] = begun[name] + step.bytes_of[name] / link.read_bytes_per_s
        begin_s[index] = max([clock, *(loaded[name] for name in each.reads if name in loaded)])
        clock = finish_s[index] = begin_s[index] + each.seconds
        for name in each.makes:
            if name in away and name not in stored:
                store_free = stored[name] = max(store_free, clock) + step.bytes_of[name] / link.write_bytes_per_s
    changes: list[tuple[float, float]] = []
    for name, size in step.bytes_of.items():
        made, last = begin_s[step.made_at(name)], finish_s[step.read_at(name)[-1]]
        if name not in begun:
            changes += [(made, size), (last, -size)]
            continue
        left = max(stored[name], finish_s[step.last_forward(name)])
        if left >= begun[name]:  # read by a forward pass for so long that it never was away
            changes += [(made, size), (last, -size)]
        else:
            changes += [(made, size), (left, -size), (begun[name], size), (last, -size)]
    return OffloadRun(
        clock,
        step.compute_s,
        _most(changes),
        sum(step.bytes_of[name] for name in leaving),
        sum(step.bytes_of[name] for name in begun),
        tuple(leaving),
        frozenset(forwarded),
        tuple(finish_s),
    )


def _checked(step: ActivationStep, leaving: Sequence[str]) -> frozenset[str]:
    kept = set(step.kept)
    for name in leaving:
        if name not in kept or step.first_backward(name) is None:
            raise InputError(f"{name} is not kept for a backward pass", "kept activations", "leaving")
    return frozenset(leaving)


def _most(changes: list[tuple[float, float]]) -> float:
    """The highest sum; what is given back at a time goes before what is taken."""
    held = most = 0.0
    for _, size in sorted(changes):
        held += size
        most = max(most, held)
    return most


def offload_graph(step: ActivationStep, run: OffloadRun, link: ActivationLink) -> TaskGraph:
    """The step of ``run`` for the event engine: what leaves and what is forwarded are as it found them."""
    away = set(run.leaving)
    back = [name for name in run.leaving if name not in run.forwarded]
    asked: dict[int, list[str]] = {}
    for request in _requests(step, run.leaving, link):
        asked.setdefault(request.at, []).extend(name for name in request.names if name not in run.forwarded)
    tasks: list[Task] = []
    for index, each in enumerate(step.passes):
        before = (step.passes[index - 1].name,) if index else ()
        tasks += [
            _transfer(f"load {name}", _LOAD, step.bytes_of[name], link.read_bytes_per_s, before)
            for name in asked.get(index, ())
        ]
        after = tuple(f"load {name}" for name in each.reads if each.backward and name in back)
        demand = Demand(_COMPUTE, each.seconds, each.seconds, "s")
        tasks.append(Task(each.name, "compute", (demand,), held=(_COMPUTE,), after=after))
        tasks += [
            _transfer(f"store {name}", _STORE, step.bytes_of[name], link.write_bytes_per_s, (each.name,))
            for name in each.makes
            if name in away and step.made_at(name) == index
        ]
    resources = (
        Resource(_COMPUTE, "engine"),
        Resource(_STORE, "link"),
        Resource(_LOAD, "link"),
        Resource(MEMORY, "tier"),
    )
    return TaskGraph(resources, (Segment("step", tuple(tasks), buffers=tuple(_buffers(step, set(back)))),))


def _transfer(name: str, stream: str, size: float, rate: float, after: tuple[str, ...]) -> Task:
    return Task(name, "transfer", (Demand(stream, size / rate, size),), after=after)


def _buffers(step: ActivationStep, back: set[str]) -> Iterator[Buffer]:
    for name, size in step.bytes_of.items():
        maker = step.passes[step.made_at(name)].name
        last = step.passes[step.read_at(name)[-1]].name
        if name in back:
            forward = step.passes[step.last_forward(name)].name
            yield Buffer(f"{name} leaving", MEMORY, round(size), maker, (f"store {name}", forward))
            yield Buffer(f"{name} back", MEMORY, round(size), f"load {name}", (last,))
        else:
            yield Buffer(name, MEMORY, round(size), maker, (last,))


def execute_offload(step: ActivationStep, run: OffloadRun, link: ActivationLink) -> Execution:
    """`offload_graph` executed."""
    return execute(offload_graph(step, run, link), unroll=True)
