"""The bundled space of training steps: distinct designs, the same on any number of workers, after any stop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dse.evaluate.design import check_buildable
from dse.evaluate.outcomes import FAILED, INFEASIBLE, OK
from dse.explore.pool import Evaluator, InProcess, WorkerPool, chunks
from dse.explore.run import Exploration, Run, explore
from dse.explore.store import Store
from dse.space.space import Space, load_space

OPTIONS = Exploration("random", 48, seed=3)


@pytest.fixture(scope="module")
def training() -> Space:
    return load_space("llama-70b-training")


def run(space: Space, file: Path, evaluator: Evaluator, options: Exploration = OPTIONS) -> tuple[str, Run]:
    store = Store(file, space)
    try:
        found = explore(space, store, evaluator, options)
        return json.dumps(found.summary(store)), found
    finally:
        store.close()
        evaluator.close()


def test_designs_differ_and_some_are_not_feasible(training: Space, tmp_path: Path) -> None:
    """Most layouts are possible, not all, and no two machines with their layouts come to the same."""
    check_buildable(training)
    store = Store(tmp_path / "designs.sqlite", training)
    found = explore(training, store, InProcess(training), Exploration("random", 120, seed=0))
    outcomes = store.get("roofline", found.proposed["roofline"])
    store.close()
    assert FAILED not in outcomes.status
    feasible = outcomes.status == OK
    assert 0.4 < feasible.mean() < 0.95
    values = {tuple(outcomes.metrics[name][feasible][at] for name in training.objectives)
              for at in np.arange(int(feasible.sum()))}  # fmt: skip
    assert len(values) > 0.95 * feasible.sum()
    reasons = set(outcomes.reason[outcomes.status == INFEASIBLE].tolist())
    assert "does not fit" in reasons
    assert all(reason == "does not fit" or reason.startswith("does not divide: step.") for reason in reasons)
    mfu = outcomes.metrics["step.mfu"][feasible]
    assert (mfu > 0).all()
    assert (mfu < 1).all()


def test_workers_and_stops_change_nothing(training: Space, tmp_path: Path) -> None:
    whole, first = run(training, tmp_path / "one.sqlite", InProcess(training))
    part, _ = run(training, tmp_path / "more.sqlite", InProcess(training), Exploration("random", 20, seed=3))
    assert part != whole
    together, rest = run(training, tmp_path / "more.sqlite", WorkerPool(training, 2))
    assert together == whole
    assert rest.evaluated == first.evaluated - 20
    other, _ = run(training, tmp_path / "other.sqlite", InProcess(training), Exploration("random", 48, seed=4))
    assert other != whole


def test_steps_are_shared_out_a_few_at_a_time(training: Space) -> None:
    """One piece of work of thousands of designs would leave all workers but one without any."""
    assert [len(part) for part in chunks(training, np.arange(20), "roofline")] == [8, 8, 4]
    decode = load_space("llama-8b-accelerator")
    assert [len(part) for part in chunks(decode, np.arange(20), "roofline")] == [20]
