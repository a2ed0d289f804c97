"""The SimPy execution against its golden twin, and the properties every execution has."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine import Demand, Dependency, Execution, Resource, Segment, Task, TaskGraph, TaskRun, execute
from simulator.engine.recurrence import recurrence
from tests.simulator.engine.graphs import RESOURCES, graphs, layers

quick = settings(max_examples=60, deadline=None, derandomize=True)


def assert_same_times(graph: TaskGraph, execution: Execution) -> None:
    """Every time of ``execution``, skipped repetitions included, is the recurrence's to 1e-12 of the makespan."""
    expected = recurrence(graph)
    last = max((times.finish_s for times in expected), default=0.0)
    runs = list(execution.all_runs())
    assert len(runs) == len(expected)
    for run, times in zip(runs, expected, strict=True):
        assert (run.segment, run.repetition, run.name) == (times.segment, times.repetition, times.task)
        got = [run.start_s, run.finish_s, *(time for pair in run.served for time in pair)]
        golden = [times.start_s, times.finish_s, *(time for pair in times.served for time in pair)]
        assert max(abs(a - b) for a, b in zip(got, golden, strict=True)) <= 1e-12 * last
    assert abs(execution.latency_s - last) <= 1e-12 * last


def one_by_one(*tasks: Task, repeat: int = 1) -> list[TaskRun]:
    return list(execute(TaskGraph(RESOURCES, (Segment("block", tasks, repeat),))).all_runs())


@quick
@given(graphs(most_repeats=10))
def test_unrolled_execution_equals_the_recurrence_exactly(graph: TaskGraph) -> None:
    for run, times in zip(execute(graph, unroll=True).runs, recurrence(graph), strict=True):
        assert (run.start_s, run.served, run.finish_s) == (times.start_s, times.served, times.finish_s)


@settings(quick, max_examples=200)
@given(graphs())
def test_execution_with_skipped_repetitions_equals_the_recurrence(graph: TaskGraph) -> None:
    assert_same_times(graph, execute(graph))


@quick
@given(graphs())
def test_the_runs_of_a_segment_are_those_of_the_whole(graph: TaskGraph) -> None:
    execution = execute(graph)
    everything = list(execution.all_runs())
    for segment in graph.segments:
        assert list(execution.all_runs(segment.name)) == [run for run in everything if run.segment == segment.name]
    assert list(execution.all_runs("no such segment")) == []


@quick
@given(graphs())
def test_reservations_never_overlap_and_keep_program_order(graph: TaskGraph) -> None:
    execution = execute(graph)
    rounding = 1e-12 * execution.latency_s
    free: dict[str, float] = defaultdict(float)
    for run in execution.all_runs():
        assert 0 <= run.start_s <= run.finish_s
        for name in run.task.held:
            assert run.start_s >= free[name] - rounding
        for interval in run.intervals:
            assert interval.begin_s >= max(run.start_s, free[interval.resource]) - rounding
            assert interval.begin_s <= interval.end_s <= run.finish_s + rounding
            free[interval.resource] = interval.end_s
        for name in run.task.held:
            free[name] = run.finish_s


@quick
@given(graphs())
def test_totals_are_conserved_and_bound_the_makespan(graph: TaskGraph) -> None:
    execution = execute(graph)
    amount: dict[str, float] = defaultdict(int)
    busy: dict[str, float] = defaultdict(float)
    held: dict[str, float] = defaultdict(float)
    for run in execution.all_runs():
        for interval in run.intervals:
            amount[interval.resource] += interval.amount
            busy[interval.resource] += interval.end_s - interval.begin_s
        for name in run.task.held:
            held[name] += run.finish_s - run.start_s
    for name, use in execution.uses.items():
        assert use.amount == amount[name]
        assert use.busy_s == pytest.approx(busy[name], rel=1e-9, abs=1e-12)
        assert use.held_s == pytest.approx(held[name], rel=1e-9, abs=1e-12)
        assert max(use.busy_s, use.held_s) <= execution.latency_s * (1 + 1e-9)
        assert 0 <= use.utilisation <= 1 + 1e-9


@quick
@given(graphs())
def test_makespan_is_no_shorter_than_the_critical_path(graph: TaskGraph) -> None:
    private = [
        dataclasses.replace(
            segment,
            tasks=tuple(
                dataclasses.replace(
                    task,
                    held=(),
                    demands=(),
                    overhead_s=task.overhead_s + max((demand.seconds for demand in task.demands), default=0.0),
                )
                for task in segment.tasks
            ),
        )
        for segment in graph.segments
    ]
    critical = max(times.finish_s for times in recurrence(dataclasses.replace(graph, segments=tuple(private))))
    assert execute(graph).latency_s >= critical * (1 - 1e-12)


@quick
@given(graphs(), st.data())
def test_a_shorter_reservation_never_makes_the_run_longer(graph: TaskGraph, data: st.DataObject) -> None:
    factor = data.draw(st.floats(0, 1))
    chosen = data.draw(st.sampled_from([resource.name for resource in graph.resources]))

    def faster(demand: Demand) -> Demand:
        shorter = demand.seconds * factor if demand.resource == chosen else demand.seconds
        return dataclasses.replace(demand, seconds=shorter)

    segments = tuple(
        dataclasses.replace(
            segment,
            tasks=tuple(
                dataclasses.replace(task, demands=tuple(faster(demand) for demand in task.demands))
                for task in segment.tasks
            ),
        )
        for segment in graph.segments
    )
    before = execute(graph).latency_s
    assert execute(dataclasses.replace(graph, segments=segments)).latency_s <= before * (1 + 1e-12)


@quick
@given(graphs(most_repeats=20))
def test_equal_graphs_give_identical_executions(graph: TaskGraph) -> None:
    assert repr(execute(graph)) == repr(execute(dataclasses.replace(graph)))


def test_demands_run_side_by_side_and_overhead_follows_the_longest() -> None:
    task = Task("gemm", "compute", (Demand("gpu", 2.0, 8, "op"), Demand("hbm", 3.0, 4)), ("gpu",), overhead_s=0.5)
    (run,) = one_by_one(task)
    assert run.served == ((0.0, 2.0), (0.0, 3.0))
    assert run.finish_s == 3.5
    assert run.bound == "hbm"


def test_demands_on_one_resource_are_served_one_after_another() -> None:
    (run,) = one_by_one(Task("copy", "transfer", (Demand("hbm", 2.0), Demand("hbm", 1.0))))
    assert run.served == ((0.0, 2.0), (2.0, 3.0))
    assert run.stall_s == 0


def test_a_held_engine_is_free_at_the_finish_and_a_tier_at_the_end_of_its_reservation() -> None:
    first = Task("first", "compute", (Demand("gpu", 1.0, 0, "op"), Demand("hbm", 2.0)), ("gpu",), overhead_s=1.0)
    copy = Task("copy", "transfer", (Demand("hbm", 1.0),))
    second = Task("second", "compute", (Demand("gpu", 1.0, 0, "op"),), ("gpu",))
    _, copied, run = one_by_one(first, copy, second)
    assert copied.served == ((2.0, 3.0),)
    assert (copied.waited_for, copied.waited_on, copied.stall_s) == ("hbm", "resource", 2.0)
    assert run.start_s == 3.0
    assert (run.waited_for, run.waited_on, run.stall_s) == ("gpu", "resource", 3.0)


def test_a_later_task_never_overtakes_although_the_resource_idles() -> None:
    slow = Task("slow", "compute", (Demand("gpu", 5.0, 0, "op"),), ("gpu",))
    late = Task("late", "transfer", (Demand("pcie", 1.0),), after=("slow",))
    early = Task("early", "transfer", (Demand("pcie", 1.0),))
    assert [run.finish_s for run in one_by_one(slow, late, early)] == [5.0, 6.0, 7.0]


def test_stall_is_how_long_the_engine_idles_for_the_last_dependency() -> None:
    warm = Task("warm", "compute", (Demand("gpu", 1.0, 0, "op"),), ("gpu",))
    load = Task("load", "transfer", (Demand("pcie", 4.0),))
    use = Task("use", "compute", (Demand("gpu", 1.0, 0, "op"),), ("gpu",), after=("warm", "load"))
    run = one_by_one(warm, load, use)[-1]
    assert (run.start_s, run.waited_for, run.waited_on, run.stall_s) == (4.0, "load", "dependency", 3.0)


@pytest.mark.parametrize(
    ("task", "bound"),
    [
        (Task("t", "compute", (Demand("gpu", 1.0, 0, "op"), Demand("hbm", 1.0))), "gpu"),
        (Task("t", "compute", (Demand("gpu", 1.0, 0, "op"),), overhead_s=2.0), "overhead"),
        (Task("t", "compute", (Demand("gpu", 0.0, 0, "op"),)), "nothing"),
        (Task("t", "compute", overhead_s=1.0), "overhead"),
    ],
)
def test_bound_is_the_longest_part(task: Task, bound: str) -> None:
    assert task.bound == bound


def test_two_buffers_let_a_transfer_run_two_repetitions_ahead() -> None:
    load = Task("load", "transfer", (Demand("pcie", 1.0),), after=(Dependency("use", 2),))
    use = Task("use", "compute", (Demand("gpu", 4.0, 0, "op"),), ("gpu",), after=("load",))
    runs = one_by_one(load, use, repeat=5)
    assert [run.begin_s for run in runs if run.name == "load"] == [0.0, 1.0, 5.0, 9.0, 13.0]
    assert [run.start_s for run in runs if run.name == "use"] == [1.0, 5.0, 9.0, 13.0, 17.0]


def test_lags_count_repetitions_across_segments() -> None:
    load = Task("load", "transfer", (Demand("pcie", 1.0),), after=(Dependency("use", 2),))
    use = Task("use", "compute", (Demand("gpu", 4.0, 0, "op"),), ("gpu",), after=("load",))
    segments = tuple(Segment(name, (load, use), 2, entry=("use",), exit=("use",)) for name in ("a", "b"))
    runs = execute(TaskGraph(RESOURCES, segments)).runs
    assert [run.begin_s for run in runs if run.name == "load"] == [0.0, 1.0, 5.0, 9.0]


def test_a_segment_starts_after_the_one_before_unless_a_task_is_left_out_of_its_entry() -> None:
    first = Segment("first", (Task("a", "compute", (Demand("gpu", 3.0, 0, "op"),), ("gpu",)),))
    load, use = Task("load", "transfer", (Demand("pcie", 1.0),)), Task("use", "compute", after=("load",))
    waits = execute(TaskGraph(RESOURCES, (first, Segment("second", (load, use)))))
    ahead = execute(TaskGraph(RESOURCES, (first, Segment("second", (load, use), entry=("use",)))))
    assert [run.start_s for run in waits.runs] == [0.0, 3.0, 4.0]
    assert waits.runs[1].waited_for == "a"
    assert [run.start_s for run in ahead.runs] == [0.0, 0.0, 3.0]


def test_equal_layers_are_simulated_a_few_times_only() -> None:
    graph = layers(126)
    execution = execute(graph)
    (span,) = execution.spans
    assert (span.segment, span.cycle) == ("layers", 1)
    assert span.count > 110
    assert span.period_s == pytest.approx(3e-3, rel=1e-12)
    assert execution.runs[-2].repetition == 125
    assert_same_times(graph, execution)


def test_resources_unused_by_a_repeated_block_are_not_moved_on() -> None:
    block = Segment("block", (Task("step", "compute", (Demand("gpu", 1.0, 0, "op"),), ("gpu",)),), 50)
    begin = Segment("begin", (Task("load", "transfer", (Demand("pcie", 1.5),)),))
    end = Segment("end", (Task("store", "transfer", (Demand("pcie", 1.0),)),), entry=())
    execution = execute(TaskGraph(RESOURCES, (begin, block, end)))
    assert execution.spans
    assert execution.runs[-1].served == ((1.5, 2.5),)


def test_a_transfer_that_advances_faster_is_skipped_with_its_own_period() -> None:
    ahead = Task("ahead", "transfer", (Demand("pcie", 1.0),))
    step = Task("step", "compute", (Demand("gpu", 3.0, 0, "op"),), ("gpu",), after=("ahead",))
    graph = TaskGraph(RESOURCES, (Segment("block", (ahead, step), 1000),))
    execution = execute(graph)
    (span,) = execution.spans
    assert span.period_s == 3.0
    assert len(execution.runs) < 20
    assert_same_times(graph, execution)


def test_skipping_stops_before_a_faster_growing_time_overtakes() -> None:
    """The link starts 100 s late but its backlog grows more slowly than the engine's: the engine binds from 34 on."""
    late = Segment("late", (Task("fill", "transfer", (Demand("pcie", 100.0),)),), exit=())
    send = Task("send", "transfer", (Demand("pcie", 1.0),), after=("step",))
    step = Task("step", "compute", (Demand("gpu", 4.0, 0, "op"),), ("gpu",))
    graph = TaskGraph(RESOURCES, (late, Segment("block", (step, send), 200)))
    execution = execute(graph)
    assert len(execution.spans) == 2
    assert len(execution.runs) < 40
    assert_same_times(graph, execution)


def test_a_state_that_alternates_is_skipped_two_repetitions_at_a_time() -> None:
    """Two buffers and a long latency: odd and even repetitions form two chains with the same period, out of step."""
    load = Task("load", "transfer", (Demand("pcie", 1.0),), overhead_s=10.0, after=(Dependency("use", 2),))
    use = Task("use", "compute", (Demand("gpu", 2.0, 0, "op"),), ("gpu",), after=("load",))
    graph = TaskGraph(RESOURCES, (Segment("block", (load, use), 400),))
    execution = execute(graph)
    assert [span.cycle for span in execution.spans] == [2]
    assert len(execution.runs) < 40
    assert_same_times(graph, execution)


def test_the_makespan_may_end_in_a_skipped_repetition() -> None:
    """Odd repetitions start later than even ones and stay behind, so that the last but one of nine finishes last."""
    first = Segment("first", (Task("step", "compute", (Demand("gpu", 2.0, 0, "op"),)),))
    step = Task("step", "compute", overhead_s=1.0, after=(Dependency("step", 2),))
    graph = TaskGraph(RESOURCES, (first, Segment("block", (step,), 9, entry=())))
    execution = execute(graph)
    assert [(span.cycle, span.first, span.count) for span in execution.spans] == [(2, 6, 2)]
    assert execution.latency_s == 6.0
    assert_same_times(graph, execution)


def test_an_empty_graph_takes_no_time() -> None:
    execution = execute(TaskGraph((Resource("gpu", "engine"),), ()))
    assert execution.latency_s == 0
    assert execution.uses["gpu"].utilisation == 0


def test_a_deep_model_costs_a_few_layers() -> None:
    """126 layers of which the steady ones are not simulated, against all of them: a third of the time is plenty."""
    graph = layers(126)
    seconds = {}
    for unroll in (False, True):
        execute(graph, unroll=unroll)
        begin = time.process_time()
        execute(graph, unroll=unroll)
        seconds[unroll] = time.process_time() - begin
    assert seconds[False] < seconds[True] / 3
