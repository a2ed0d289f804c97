"""The time nothing computes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from dse.reports.exposed import exposed_time
from simulator.engine import Execution, TaskGraph, execute
from tests.simulator.engine.graphs import graphs


def test_waiting_is_charged_to_what_is_waited_for(waiting: Execution) -> None:
    # The second block's transfer runs from 5 to 10: beside the exchange (5 to 6), which computing waits for, beside the
    # first block's last task (6 to 7) and the second block's first (7 to 9), and alone from 9 to 10.
    assert waiting.latency_s == 12
    assert exposed_time(waiting) == {"wire": pytest.approx(4), "fabric": pytest.approx(2)}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs(most_repeats=5))
def test_exposed_and_computing_time_make_the_latency(graph: TaskGraph) -> None:
    execution = execute(graph)
    computing = sorted((run.start_s, run.finish_s) for run in execution.all_runs() if run.task.kind == "compute")
    covered, reached = 0.0, 0.0
    for begin, end in computing:
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    exposed = exposed_time(execution)
    assert all(seconds >= 0 for seconds in exposed.values())
    assert covered + sum(exposed.values()) == pytest.approx(execution.latency_s, rel=1e-9, abs=1e-12)
