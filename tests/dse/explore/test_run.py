"""Explorations: the same summary on any number of workers and after any stop, and nothing evaluated twice."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dse.evaluate.outcomes import FAILED, OK, Outcomes
from dse.explore.front import scores
from dse.explore.pool import InProcess, WorkerPool
from dse.explore.run import Exploration, explore
from dse.explore.store import Store
from dse.space.space import Space
from tests.dse.explore.spaces import small_space
from workloads.errors import InputError


def summary_of(space: Space, file: Path, evaluator: Any, options: Exploration) -> tuple[str, int]:
    store = Store(file, space)
    try:
        run = explore(space, store, evaluator, options)
        return json.dumps(run.summary(store)), run.evaluated
    finally:
        store.close()
        evaluator.close()


class Counting(InProcess):
    """Keeps what it was asked for, and stops at a given design as Ctrl-C does."""

    def __init__(self, space: Space, stop_after: int | None = None) -> None:
        super().__init__(space)
        self.asked: list[int] = []
        self.stop_after = stop_after

    def run(self, ordinals: NDArray[np.int64], fidelity: str) -> Iterator[Outcomes]:
        for start in range(0, len(ordinals), 16):
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            part = ordinals[start : start + 16]
            self.asked += part.tolist()
            yield from super().run(part, fidelity)


@pytest.mark.parametrize("engine", ["random", "sobol", "exhaustive"])
def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, engine: str) -> None:
    space = small_space(tmp_path)
    budget = None if engine == "exhaustive" else 150
    options = Exploration(engine, budget, seed=3)
    whole, evaluated = summary_of(space, tmp_path / "whole.sqlite", InProcess(space), options)
    stopped = Counting(space, stop_after=64)
    best, _ = summary_of(space, tmp_path / "stopped.sqlite", stopped, options)
    assert json.loads(best)["interrupted"] is True
    assert json.loads(best)["designs"] == 64
    rest = Counting(space)
    again, evaluated_again = summary_of(space, tmp_path / "stopped.sqlite", rest, options)
    assert again == whole
    assert not set(stopped.asked) & set(rest.asked)
    assert len(stopped.asked) + evaluated_again == evaluated


def test_several_fidelities_promote_the_best(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    options = Exploration("random", 60, ("roofline", "mapped"), promote=0.04)
    store = Store(tmp_path / "designs.sqlite", space)
    run = explore(space, store, InProcess(space), options)
    feasible = int((store.get("roofline", run.proposed["roofline"]).status == OK).sum())
    assert len(run.proposed["mapped"]) == -(-feasible * 4 // 100)  # four in a hundred of the feasible, rounded up
    assert set(run.proposed["mapped"].tolist()) <= set(run.proposed["roofline"].tolist())
    better = scores(space, store.get("mapped", run.proposed["mapped"]))
    assert np.isfinite(better).all()
    store.close()


def test_workers_change_nothing(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    options = Exploration("random", 200, seed=1)
    alone, _ = summary_of(space, tmp_path / "one.sqlite", InProcess(space), options)
    together, _ = summary_of(space, tmp_path / "two.sqlite", WorkerPool(space, 2), options)
    assert alone == together


def test_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    # One design after another on the road, so that there is time to kill.
    ordinals = np.arange(0, space.codec.product, 5)
    pool = WorkerPool(space, 2)

    def kill() -> None:
        for _ in range(3):
            time.sleep(0.4)
            for process in list((pool._pool._processes or {}).values())[:1]:
                os.kill(process.pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found: dict[int, int] = {}
    for part in pool.run(ordinals, "roofline"):
        for ordinal, status in zip(part.ordinals.tolist(), part.status.tolist(), strict=True):
            assert ordinal not in found
            found[ordinal] = status
    killer.join()
    pool.close()
    assert sorted(found) == ordinals.tolist()
    assert FAILED not in found.values()


def test_a_failed_design_is_tried_again_and_others_stay(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    store = Store(tmp_path / "designs.sqlite", space)
    good = next(InProcess(space).run(np.array([5, 6]), "roofline"))
    failed = Outcomes(
        good.ordinals, np.array([FAILED, good.status[1]], np.int8), np.array(["died", "other"], object),
        good.bottleneck, good.metrics,
    )  # fmt: skip
    store.add(failed, "roofline")
    assert store.known("roofline", [5, 6, 7]) == {6}
    store.add(good, "roofline")
    assert store.get("roofline").reason.tolist() == [good.reason[0], "other"]
    store.close()


def test_a_store_keeps_what_it_was_given(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    outcomes = next(InProcess(space).run(np.arange(0, 300, 7), "roofline"))
    store = Store(tmp_path / "designs.sqlite", space)
    store.add(outcomes.take(np.arange(len(outcomes))[::-1]), "roofline")
    store.close()
    again = Store(tmp_path / "designs.sqlite", space)
    found = again.get("roofline")
    assert found.ordinals.tolist() == outcomes.ordinals.tolist()
    assert found.reason.tolist() == outcomes.reason.tolist()
    for name, values in outcomes.metrics.items():
        np.testing.assert_array_equal(found.metrics[name], values)
    with pytest.raises(KeyError):
        again.get("roofline", [1])
    again.close()


def test_a_store_of_another_space_is_refused(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    Store(tmp_path / "designs.sqlite", space).close()
    other = space.model_copy(update={"name": "other"})
    with pytest.raises(InputError, match="holds designs of space 'small'"):
        Store(tmp_path / "designs.sqlite", other)
    (tmp_path / "text.sqlite").write_text("no store at all, but longer than a header would be " * 4)
    with pytest.raises(InputError, match="cannot be used as a store"):
        Store(tmp_path / "text.sqlite", space)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"engine": "ransom"}, "--engine"),
        ({"fidelities": ("mapped", "roofline")}, "--fidelity"),
        ({"fidelities": ("rofline",)}, "--fidelity"),
        ({"budget": 0}, "--budget"),
        ({"promote": 1.5}, "--promote"),
        ({"batch": 0}, "--batch"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_options_are_checked(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        Exploration(**changes)
    assert caught.value.field == field
