"""Executes a task graph: repetition after repetition by SimPy, and what is provably steady in one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from simulator.engine.execution import Execution, SteadySpan, TaskRun, resource_uses
from simulator.engine.graph import Segment, TaskGraph
from simulator.engine.repetition import Arrivals, simulate_repetition
from simulator.engine.steady import cycles_to_skip, history_needed, move_on, steady_cycle
from simulator.engine.wiring import Block, Source, TaskWiring, compile_block

__all__ = ["execute"]

Times = Sequence[float]


def execute(graph: TaskGraph, *, unroll: bool = False) -> Execution:
    """Run all segments of ``graph`` and return every task's times and the totals per resource.

    Repetitions in which nothing new can happen (see `simulator.engine.steady`) are not simulated but recorded as
    `SteadySpan`; the times are the same up to rounding. ``unroll`` simulates every repetition.
    """
    run = _Run(graph, unroll)
    for segment in graph.segments:
        run.segment(segment)
    finishes = [done.finish_s for done in run.runs] + [span.end_s for span in run.spans]
    latency_s = max(finishes, default=0.0)
    return Execution(
        graph, tuple(run.runs), tuple(run.spans), latency_s, resource_uses(graph, _held_seconds(run), latency_s)
    )


class _Run:
    """What is carried along: when each resource is free, and the latest repetitions of the segments executed so far."""

    def __init__(self, graph: TaskGraph, unroll: bool) -> None:
        lags = (dep.lag for segment in graph.segments for task in segment.tasks for dep in task.dependencies)
        self.deepest = max(lags, default=0) or 1
        self.unroll = unroll
        self.free: dict[str, float] = {}
        self.done: list[tuple[Block, list[Times]]] = []
        self.runs: list[TaskRun] = []
        self.spans: list[SteadySpan] = []

    def segment(self, segment: Segment) -> None:
        """Execute all repetitions of ``segment`` and hand its final state on."""
        block = compile_block(segment)
        keep = max(self.deepest, history_needed(block))
        past: list[Times] = []
        fresh = 0  # repetitions simulated since the start or the last span; only these tell whether a state is steady
        repetition = 0
        while repetition < segment.repeat:
            arrivals = [self._arrivals(block, wiring, repetition, past) for wiring in block.tasks]
            times = simulate_repetition(block.tasks, arrivals, block.nodes)
            self.runs += (
                _record(wiring, segment.name, repetition, times, arrival)
                for wiring, arrival in zip(block.tasks, arrivals, strict=True)
            )
            past = [*past[1 - keep :], times]
            fresh += 1
            repetition += 1
            if self.unroll:
                continue
            # The last repetition is always simulated, so that the timeline ends with one.
            span = self._steady_span(block, past[-fresh:], repetition, segment.repeat - repetition - 1)
            if span:
                self.spans.append(span)
                past = move_on(past, span.cycle, span.count, keep)
                repetition += span.count
                fresh = 0
        for name, node in block.last_use.items():
            self.free[name] = past[-1][node]
        # The longest lag reaches no further back than this many segments, each of at least one repetition.
        self.done = [*self.done, (block, past[-self.deepest :])][-self.deepest :]

    def _steady_span(self, block: Block, past: Sequence[Times], repetition: int, most: int) -> SteadySpan | None:
        """The repetitions to skip from ``repetition`` on, at most ``most``; None where the state is not steady."""
        cycle = steady_cycle(block, past) if most > 0 else None
        cycles = cycles_to_skip(block, past, cycle, most // cycle) if cycle else 0
        if not cycle or not cycles:
            return None
        size = cycle * len(block.tasks)
        latest = tuple(self.runs[-2 * size :])
        count = cycles * cycle
        return SteadySpan(block.segment.name, repetition, count, cycle, len(self.runs), latest[size:], latest[:size])

    def _arrivals(self, block: Block, wiring: TaskWiring, repetition: int, past: Sequence[Times]) -> Arrivals:
        """When everything that one task waits for and that lies before this repetition is there."""

        def after(source: Source) -> float | None:
            if source.back == 0:
                return None
            if source.back > repetition:
                return self._finish_before(source.name, source.back - repetition)
            return past[-source.back][source.node] if source.node >= 0 else 0.0

        def freed(source: Source) -> float | None:
            if source.back == 0:
                return None
            return past[-1][source.node] if repetition else self.free.get(source.name, 0.0)

        entry: tuple[tuple[str, float], ...] = ()
        if repetition == 0 and self.done and wiring.task.name in block.segment.entry_tasks:
            before, times = self.done[-1]
            entry = tuple((name, times[-1][before.finish_of[name]]) for name in before.segment.exit_tasks)
        return Arrivals(
            tuple(after(source) for source in wiring.after),
            tuple(freed(source) for source in wiring.held),
            tuple(freed(source) for source in wiring.served),
            entry,
        )

    def _finish_before(self, name: str, back: int) -> float:
        """Finish of task ``name`` in the repetition ``back`` before the present segment, 0 where there is none."""
        for block, times in reversed(self.done):
            if back <= block.segment.repeat:
                node = block.finish_of.get(name)
                return times[-back][node] if node is not None else 0.0
            back -= block.segment.repeat
        return 0.0


def _record(wiring: TaskWiring, segment: str, repetition: int, times: Sequence[float], arrival: Arrivals) -> TaskRun:
    """The run of one task, with what it waited for last."""

    def latest(sources: Sequence[Source], arrived: Sequence[float | None]) -> tuple[float, str | None]:
        pairs = zip(sources, arrived, strict=True)
        found = [(times[source.node] if time is None else time, source.name) for source, time in pairs]
        return max(found, key=lambda pair: pair[0], default=(0.0, None))

    ready, dependency = latest(wiring.after, arrival.after)
    for name, time in arrival.entry:
        if time > ready:
            ready, dependency = time, name
    # A task that holds no engine queues for the resources it demands; its own earlier reservations are no queue.
    queue = [
        (source, time)
        for source, time in zip(wiring.served, arrival.served, strict=True)
        if source.back or not wiring.start < source.node < wiring.finish
    ]
    if wiring.held:
        queue = list(zip(wiring.held, arrival.held, strict=True))
    free, resource = latest([source for source, _ in queue], [time for _, time in queue])
    waited_for: str | None = None
    waited_on: Literal["dependency", "resource", "nothing"] = "nothing"
    if free > ready:
        waited_for, waited_on = resource, "resource"
    elif ready > 0:
        waited_for, waited_on = dependency, "dependency"
    return TaskRun(
        wiring.task,
        segment,
        repetition,
        times[wiring.start],
        times[wiring.finish],
        tuple((times[begin], times[end]) for begin, end in zip(wiring.begins, wiring.ends, strict=True)),
        waited_for,
        waited_on,
        abs(free - ready),
    )


def _held_seconds(run: _Run) -> dict[str, float]:
    held: dict[str, float] = {}

    def add(task_run: TaskRun, seconds: float) -> None:
        for name in task_run.task.held:
            held[name] = held.get(name, 0.0) + seconds

    for done in run.runs:
        add(done, done.finish_s - done.start_s)
    for span in run.spans:
        cycles = span.count // span.cycle
        for new, old in zip(span.template, span.earlier, strict=True):
            seconds = new.finish_s - new.start_s
            growth = seconds - (old.finish_s - old.start_s)
            add(new, cycles * seconds + growth * cycles * (cycles + 1) / 2)
    return held
