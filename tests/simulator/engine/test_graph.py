"""A task graph that is inconsistent cannot be built: each rule with its message."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from simulator.engine import Buffer, Demand, Dependency, Resident, Segment, Task, TaskGraph
from tests.simulator.engine.graphs import RESOURCES

STEP = Task("step", "compute", (Demand("gpu", 1.0, 1, "op"),), ("gpu",))


def graph(*tasks: Task, **fields: object) -> TaskGraph:
    return TaskGraph(RESOURCES, (Segment("block", tasks or (STEP,), **fields),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Demand("hbm", -1.0), "demand on 'hbm': seconds must be finite and 0 or more, not -1.0"),
        (lambda: Demand("hbm", float("nan")), "demand on 'hbm': seconds must be finite and 0 or more, not nan"),
        (lambda: Demand("hbm", 1.0, -8), "demand on 'hbm': amount must be finite and 0 or more, not -8"),
        (lambda: Dependency("a", -1), "dependency on 'a': lag must be 0 or more, not -1"),
        (
            lambda: Task("t", "compute", overhead_s=float("inf")),
            "task 't': overhead_s must be finite and 0 or more, not inf",
        ),
        (lambda: Task("t", "compute", held=("gpu", "gpu")), "task 't': held engine 'gpu' is given twice"),
        (lambda: Buffer("b", "hbm", -1, "t"), "buffer 'b': bytes must be finite and 0 or more, not -1"),
        (lambda: Buffer("b", "hbm", 1, "t", lag=-1), "buffer 'b': lag must be 0 or more, not -1"),
        (lambda: Resident("r", "hbm", -1), "resident 'r': bytes must be finite and 0 or more, not -1"),
        (lambda: TaskGraph((*RESOURCES, RESOURCES[0]), ()), "resource 'gpu' is given twice"),
        (
            lambda: TaskGraph(RESOURCES, (Segment("s", (STEP,)), Segment("s", (STEP,)))),
            "segment 's' is given twice",
        ),
        (
            lambda: TaskGraph(RESOURCES, (), (Resident("r", "pcie", 1),)),
            "resident 'r': 'pcie' is of kind 'link', needs 'tier'",
        ),
        (lambda: graph(repeat=0), "segment 'block': repeat must be 1 or more, not 0"),
        (lambda: TaskGraph(RESOURCES, (Segment("block", ()),)), "segment 'block': has no tasks"),
        (lambda: graph(STEP, STEP), "segment 'block': task 'step' is given twice"),
        (lambda: graph(entry=("x",)), "segment 'block': entry: unknown task 'x'"),
        (lambda: graph(exit=("x",)), "segment 'block': exit: unknown task 'x'"),
        (lambda: graph(exit=("step", "step")), "segment 'block': exit task 'step' is given twice"),
        (
            lambda: graph(Task("t", "compute", held=("tpu",))),
            "segment 'block', task 't': unknown resource 'tpu'",
        ),
        (
            lambda: graph(Task("t", "compute", held=("hbm",))),
            "segment 'block', task 't': 'hbm' is of kind 'tier', needs 'engine'",
        ),
        (
            lambda: graph(Task("t", "transfer", (Demand("nvme", 1.0),))),
            "segment 'block', task 't': unknown resource 'nvme'",
        ),
        (
            lambda: graph(STEP, Task("t", "transfer", (Demand("gpu", 1.0),))),
            "segment 'block', task 't': 'gpu' counts 'op' elsewhere, not 'B'",
        ),
        (lambda: graph(Task("t", "compute", after=("x",))), "segment 'block', task 't': unknown task 'x'"),
        (
            lambda: graph(Task("t", "compute", after=(Dependency("x", 1),))),
            "segment 'block', task 't': unknown task 'x'",
        ),
        (
            lambda: graph(Task("t", "compute", after=("step",)), STEP),
            "segment 'block', task 't': waits for 'step', which is not listed before it in the segment",
        ),
        (
            lambda: graph(Task("t", "compute", after=("t",))),
            "segment 'block', task 't': waits for 't', which is not listed before it in the segment",
        ),
        (
            lambda: graph(buffers=(Buffer("b", "gpu", 1, "step"),)),
            "segment 'block', buffer 'b': 'gpu' is of kind 'engine', needs 'tier'",
        ),
        (
            lambda: graph(buffers=(Buffer("b", "hbm", 1, "step", ("x",)),)),
            "segment 'block', buffer 'b': unknown task 'x'",
        ),
        (
            lambda: graph(buffers=(Buffer("b", "hbm", 1, "step"), Buffer("b", "hbm", 1, "step"))),
            "segment 'block': buffer 'b' is given twice",
        ),
    ],
)
def test_inconsistent_graphs_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()


def test_a_task_may_wait_for_a_later_one_of_the_repetition_before() -> None:
    assert graph(Task("t", "compute", after=(Dependency("step", 1),)), STEP)


def test_a_lag_may_name_a_task_that_only_a_preceding_segment_has() -> None:
    first = Segment("first", (STEP,))
    second = Segment("second", (Task("t", "compute", after=(Dependency("step", 1),)),))
    assert TaskGraph(RESOURCES, (first, second))


def test_entry_and_exit_default_to_the_tasks_that_nothing_in_the_repetition_precedes_or_follows() -> None:
    a = Task("a", "compute")
    b = Task("b", "compute", after=("a",))
    c = Task("c", "compute", after=(Dependency("b", 1),))
    segment = Segment("block", (a, b, c), 2)
    assert segment.entry_tasks == {"a", "c"}
    assert segment.exit_tasks == ("b", "c")
    assert Segment("block", (a, b, c), entry=(), exit=("a",)).exit_tasks == ("a",)


def test_dependencies_spell_out_plain_names() -> None:
    task = Task("t", "compute", after=("a", Dependency("b", 2)))
    assert task.dependencies == (Dependency("a", 0), Dependency("b", 2))
