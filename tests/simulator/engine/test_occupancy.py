"""Bytes in tiers over time: against a count over every repetition at every instant, and against capacities."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings

from simulator.engine import (
    Buffer,
    Demand,
    Dependency,
    Resident,
    Segment,
    Task,
    TaskGraph,
    execute,
    occupancy,
    peak_bytes,
    require_capacity,
)
from simulator.engine.recurrence import recurrence
from tests.simulator.engine.graphs import RESOURCES, TIERS, graphs, layers
from workloads.errors import InfeasibleError

quick = settings(max_examples=120, deadline=None, derandomize=True)


def golden_peaks(graph: TaskGraph) -> dict[str, int]:
    """The bytes alive right after each allocation, counted one by one over the unrolled run; the largest per tier."""
    begins, finishes = {}, {}
    last = 0.0
    for times in recurrence(graph):
        key = (times.segment, times.repetition, times.task)
        held = next(t.held for s in graph.segments if s.name == times.segment for t in s.tasks if t.name == times.task)
        queued = times.served and not held
        begins[key] = min(begin for begin, _ in times.served) if queued else times.start_s
        finishes[key] = times.finish_s
        last = max(last, times.finish_s)
    lives: dict[str, list[tuple[float, float, int]]] = {tier: [] for tier in TIERS}
    for segment in graph.segments:
        for buffer in segment.buffers:
            for repetition in range(segment.repeat):
                users = [(segment.name, repetition + buffer.lag, name) for name in buffer.freed_by]
                end = max(finishes[user] for user in users) if users and users[0] in finishes else float("inf")
                lives[buffer.tier].append((begins[segment.name, repetition, buffer.allocated_by], end, buffer.bytes))
    resident = {tier: sum(item.bytes for item in graph.residents if item.tier == tier) for tier in TIERS}
    # Instants closer than the roundings of skipped repetitions are one, at which giving back comes first.
    instant = 2e-12 * last

    def alive(tier: str, now: float) -> int:
        return sum(size for begin, end, size in lives[tier] if begin <= now + instant < end)

    return {
        tier: resident[tier] + max((alive(tier, begin) for begin, _, _ in lives[tier]), default=0) for tier in TIERS
    }


@quick
@given(graphs(most_repeats=40))
def test_peak_is_that_of_every_repetition_counted_one_by_one(graph: TaskGraph) -> None:
    execution = execute(graph)
    assert peak_bytes(execution) == golden_peaks(graph)


@quick
@given(graphs(most_repeats=40))
def test_skipping_does_not_change_the_curve(graph: TaskGraph) -> None:
    execution = execute(graph)
    rounding = 1e-11 * execution.latency_s
    unrolled = occupancy(execute(graph, unroll=True))
    for tier, steps in occupancy(execution).items():
        assert [bytes for _, bytes in steps] == [bytes for _, bytes in unrolled[tier]]
        assert all(abs(a - b) <= rounding for (a, _), (b, _) in zip(steps, unrolled[tier], strict=True))
        assert steps == sorted(steps, key=lambda step: step[0])
        assert min(bytes for _, bytes in steps) >= 0


def test_two_buffers_hold_two_layers_of_weights_at_any_depth() -> None:
    for repeat in (1, 2, 5, 126):
        assert peak_bytes(execute(layers(repeat)))["hbm"] == 50 + 1000 * min(repeat, 2)


def test_a_transfer_that_runs_ahead_without_limit_fills_the_tier() -> None:
    load = Task("load", "transfer", (Demand("pcie", 1.0, 10),))
    use = Task("use", "compute", (Demand("gpu", 3.0, 1, "op"),), ("gpu",), after=("load",))
    block = Segment("block", (load, use), 300, buffers=(Buffer("weights", "hbm", 10, "load", ("use",)),))
    execution = execute(TaskGraph(RESOURCES, (block,)))
    assert execution.spans
    # The last load begins at 299 s; 99 uses have finished by then.
    assert peak_bytes(execution)["hbm"] == 10 * (300 - 99)


def test_steps_start_at_zero_with_what_is_resident() -> None:
    step = Task("step", "compute", (Demand("gpu", 1.0, 1, "op"),), ("gpu",), after=(Dependency("step", 1),))
    buffers = (Buffer("activations", "hbm", 7, "step", ("step",)), Buffer("kv", "dram", 2, "step"))
    graph = TaskGraph(RESOURCES, (Segment("block", (step,), 2, buffers=buffers),), (Resident("weights", "hbm", 5),))
    steps = occupancy(execute(graph))
    assert steps["hbm"] == [(0.0, 12), (2.0, 5)]
    assert steps["dram"] == [(0.0, 2), (1.0, 4)]


def test_an_exceeded_capacity_names_the_tier_and_the_excess() -> None:
    execution = execute(layers(126))
    assert require_capacity(execution, {"hbm": 2050, "dram": 0}) == {"hbm": 2050, "dram": 0}
    message = "capacity of tier 'hbm': needs 2,050 B, has 2,000 B (50 B too much)"
    with pytest.raises(InfeasibleError, match=f"^{re.escape(message)}$") as caught:
        require_capacity(execution, {"hbm": 2000})
    assert caught.value.excess == 50


def test_a_capacity_for_something_else_than_a_tier_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^capacity given for 'gpu', which is no tier of the graph$"):
        require_capacity(execute(layers(2)), {"gpu": 1})
