"""A pipeline schedule as a graph of the event engine: the golden twin of the compiled execution, and its trace.

One engine per stage, one link per stage and direction between stages and to the host, one memory per stage. Meant for
what is looked at; thousands of passes take the engine seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.engine import Buffer, Demand, Execution, Resource, Segment, Task, TaskGraph, execute
from simulator.training.pipeline.execution import NO_LINKS, Activations, Offload, StageLinks, StageTimes, leaving
from simulator.training.pipeline.schedule_checks import pass_sequence
from simulator.training.pipeline.schedules import Pass, Schedule

__all__ = ["execute_pipeline", "memory_name", "pass_name", "pipeline_graph"]

_Key = tuple[Pass, int, int]


def pass_name(kind: Pass, stage: int, chunk: int, micro: int) -> str:
    """A pass's task, such as "F3.0@2": micro-batch 3, chunk 0, stage 2."""
    return f"{kind.name}{micro}.{chunk}@{stage}"


def memory_name(stage: int) -> str:
    """A stage's memory."""
    return f"memory {stage}"


def execute_pipeline(
    schedule: Schedule,
    times: StageTimes,
    links: StageLinks = NO_LINKS,
    *,
    activations: Activations | None = None,
    offload: Offload | None = None,
) -> Execution:
    """Execute ``schedule`` in the event engine; arguments as `run_pipeline` takes them."""
    graph = pipeline_graph(schedule, times, links, activations=activations, offload=offload)
    return execute(graph, unroll=True)


def pipeline_graph(
    schedule: Schedule,
    times: StageTimes,
    links: StageLinks = NO_LINKS,
    *,
    activations: Activations | None = None,
    offload: Offload | None = None,
) -> TaskGraph:
    """The schedule's passes, transfers, barriers and activations as one segment."""
    maker = _Maker(schedule, times, links, activations, offload)
    tasks = tuple(maker.tasks())
    resources = [Resource(f"stage {stage}", "engine") for stage in range(schedule.stages)]
    resources += [Resource(memory_name(stage), "tier") for stage in range(schedule.stages)]
    for stage in range(schedule.stages):
        resources += [Resource(f"{way} {stage}", "link") for way in ("next", "previous", "out", "in")]
    return TaskGraph(tuple(resources), (Segment("step", tasks, buffers=tuple(maker.buffers)),))


class _Maker:
    """Tasks in an order in which each comes after those it waits for."""

    def __init__(
        self,
        schedule: Schedule,
        times: StageTimes,
        links: StageLinks,
        activations: Activations | None,
        offload: Offload | None,
    ) -> None:
        self.schedule, self.links = schedule, links
        self.activations, self.offload = activations, offload
        self.seconds = times.seconds(schedule)
        self.transfer_s = np.broadcast_to(links.transfer_s, (schedule.stages, 2))
        self.latency_s = np.broadcast_to(links.latency_s, (schedule.stages, 2))
        self.moved = None if offload is None else leaving(schedule, offload)
        self.arrivals: dict[tuple[Pass, int, int], str] = {}  # pass of a position to what brings its input
        self.shared: dict[tuple[Pass, int], list[str]] = {}  # S or T of a micro-batch on all stages
        self.buffers: list[Buffer] = []
        self.left: list[list[str]] = [[] for _ in range(schedule.stages)]  # offloads of each stage
        self.gave_back: list[list[str]] = [[] for _ in range(schedule.stages)]  # backwards that needed a fetch

    def tasks(self) -> Iterator[Task]:
        orders = [self.schedule.order(stage) for stage in range(self.schedule.stages)]
        for stage, index in pass_sequence(self.schedule):
            yield from self._pass(stage, index, orders[stage])

    def _pass(self, stage: int, index: int, order: list[_Key]) -> Iterator[Task]:
        kind, chunk, micro = order[index]
        schedule, last = self.schedule, self.schedule.positions - 1
        position = schedule.position(stage, chunk)
        name = pass_name(kind, stage, chunk, micro)
        after: list[str] = []
        if schedule.blocking and index and order[index - 1][0] == Pass.T:
            yield from self._barrier(Pass.T, order[index - 1][2], after)
        if (kind, position, micro) in self.arrivals and kind in (Pass.F, Pass.B):
            after.append(self.arrivals[kind, position, micro])
        if kind == Pass.B and position == last and schedule.waits_for is not None:
            yield from self._barrier(schedule.waits_for, micro, after)
        if kind == Pass.S:
            # The last stage has the output already.
            at_hand = stage == schedule.stages - 1
            after.append(pass_name(Pass.F, stage, schedule.chunks - 1, micro) if at_hand else f"output {micro}")
        if kind == Pass.T:
            yield from self._barrier(Pass.S, micro, after)
        moved = self.moved is not None and bool(self.moved[stage, index])
        if kind == Pass.B and moved:
            before = [f"out {micro}.{chunk}@{stage}", *self._earlier(self.gave_back[stage])]
            yield self._away("in", stage, chunk, micro, tuple(before))
            after.append(f"in {micro}.{chunk}@{stage}")
            self.gave_back[stage].append(name)
        if kind == Pass.F and moved:
            after += self._earlier(self.left[stage])
            self.left[stage].append(f"out {micro}.{chunk}@{stage}")
        seconds = float(self.seconds[kind, stage, chunk])
        engine = f"stage {stage}"
        demand = Demand(engine, seconds, seconds, "s")
        yield Task(name, "compute", (demand,), held=(engine,), after=tuple(dict.fromkeys(after)))
        if kind in (Pass.S, Pass.T):
            self.shared.setdefault((kind, micro), []).append(name)
        if kind == Pass.F and moved:
            yield self._away("out", stage, chunk, micro, (name,))
        if kind in (Pass.F, Pass.B):
            yield from self._send(kind, stage, chunk, micro, name)
        self._hold(kind, stage, chunk, micro, moved)

    def _send(self, kind: Pass, stage: int, chunk: int, micro: int, name: str) -> Iterator[Task]:
        schedule = self.schedule
        to = schedule.position(stage, chunk) + (1 if kind == Pass.F else -1)
        if to == schedule.positions:
            if schedule.waits_for is not None:
                yield Task(f"output {micro}", "collective", overhead_s=self.links.broadcast_s, after=(name,))
        elif to >= 0:
            arrival = name
            if schedule.place(to)[0] != stage:
                way = int((kind == Pass.B) != (schedule.v_shape and chunk == 1))
                arrival = f"send {name}"
                demand = Demand(
                    f"{('next', 'previous')[way]} {stage}", float(self.transfer_s[stage, way]), 1.0, "tensors"
                )
                yield Task(arrival, "transfer", (demand,), (), float(self.latency_s[stage, way]), (name,))
            self.arrivals[kind, to, micro] = arrival

    def _barrier(self, kind: Pass, micro: int, after: list[str]) -> Iterator[Task]:
        """The all-reduce after all stages' passes, made by the first that waits for it."""
        name = f"barrier {kind.name}{micro}"
        after.append(name)
        names = self.shared.pop((kind, micro), None)
        if names is not None:
            yield Task(name, "collective", overhead_s=self.links.barrier_s, after=tuple(names))

    def _away(self, way: str, stage: int, chunk: int, micro: int, after: tuple[str, ...]) -> Task:
        assert self.offload is not None
        assert self.activations is not None
        size = float(self.offload.share[stage, chunk] * self.activations.bytes[stage, chunk])
        rate = self.offload.out_bytes_per_s if way == "out" else self.offload.in_bytes_per_s
        return Task(
            f"{way} {micro}.{chunk}@{stage}", "transfer", (Demand(f"{way} {stage}", size / rate, size),), after=after
        )

    def _earlier(self, names: list[str]) -> list[str]:
        """The one that used the same buffer before."""
        assert self.offload is not None
        return names[-self.offload.buffers :][:1] if len(names) >= self.offload.buffers else []

    def _hold(self, kind: Pass, stage: int, chunk: int, micro: int, moved: bool) -> None:
        """Buffers of a forward, known whole when it runs: what stays, what leaves and comes back."""
        held = self.activations
        if held is None:
            return
        where, label = memory_name(stage), f"{micro}.{chunk}@{stage}"
        if kind == Pass.S and held.output_bytes.size:
            users = (pass_name(Pass.S, stage, 0, micro), (pass_name(Pass.T, stage, 0, micro),))
            self.buffers.append(Buffer(f"logits {label}", where, round(held.output_bytes[stage]), *users))
        if kind != Pass.F:
            return
        size = held.bytes[stage, chunk]
        away = size * self.offload.share[stage, chunk] if moved and self.offload is not None else 0.0
        share = held.kept_share if self.schedule.split else 0.0
        forward, backward, weight = (pass_name(each, stage, chunk, micro) for each in (Pass.F, Pass.B, Pass.W))
        parts = (("kept", share, weight), ("held", 1.0 - share, backward))
        self.buffers += [
            Buffer(f"{name} {label}", where, round((size - away) * part), forward, (user,))
            for name, part, user in parts
            if (size - away) * part > 0
        ]
        if away:
            self.buffers.append(Buffer(f"leaving {label}", where, round(away), forward, (f"out {label}",)))
            self.buffers += [
                Buffer(f"{name} again {label}", where, round(away * part), f"in {label}", (user,))
                for name, part, user in parts
                if part
            ]
