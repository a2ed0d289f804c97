"""Explorations: the same summary on any number of workers and after any stop, and nothing evaluated twice."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dse.evaluate.outcomes import FAILED, OK, Outcomes
from dse.explore import pool
from dse.explore import run as run_module
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


def renamed(space: Space) -> Space:
    """Another space; a copy would keep the fingerprint."""
    return Space.model_validate({**space.model_dump(), "name": "other"})


class Counting(InProcess):
    """Keeps what it was asked for (at ``fidelity``), and stops at a given design as Ctrl-C does."""

    def __init__(self, space: Space, stop_after: int | None = None, fidelity: str = "roofline") -> None:
        super().__init__(space)
        self.asked: list[int] = []
        self.stop_after = stop_after
        self.fidelity = fidelity

    def run(self, ordinals: NDArray[np.int64], fidelity: str) -> Iterator[Outcomes]:
        for start in range(0, len(ordinals), 16):
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            part = ordinals[start : start + 16]
            self.asked += part.tolist() if fidelity == self.fidelity else []
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


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_workers_change_nothing(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_CHUNK", {"roofline": 16})  # many chunks, which come back in any order
    space = small_space(tmp_path)
    options = Exploration("nsga2", 120, batch=40, seed=1)
    alone, _ = summary_of(space, tmp_path / "one.sqlite", InProcess(space), options)
    together, _ = summary_of(space, tmp_path / "more.sqlite", WorkerPool(space, workers), options)
    assert alone == together


@pytest.mark.parametrize(
    ("engine", "budget", "fidelities"),
    [
        ("exhaustive", None, ("roofline",)),
        ("random", 101, ("roofline",)),
        ("sobol", 100, ("roofline",)),  # with random designs beside it
        ("sobol", 100, ("roofline", "kernel")),
    ],
)
def test_shards_are_the_whole(
    tmp_path: Path, engine: str, budget: int | None, fidelities: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three shards evaluate every design of the last fidelity once; a run that takes them over evaluates nothing and
    has the summary of one that did it all."""
    monkeypatch.setattr(run_module, "_BLOCK", 40)  # shards go on across blocks
    space = small_space(tmp_path)
    options = Exploration(engine, budget, fidelities, promote=0.2, waves=1, seed=2)
    whole, evaluated = summary_of(space, tmp_path / "whole.sqlite", InProcess(space), options)
    asked: list[list[int]] = []
    for place in (1, 2, 3):
        part = Counting(space, fidelity=fidelities[-1])
        shard = replace(options, shard=(place, 3))
        said, _ = summary_of(space, tmp_path / f"{place}.sqlite", part, shard)
        assert json.loads(said)["shard"] == f"{place}/3"
        asked.append(part.asked)
    together = [ordinal for part in asked for ordinal in part]
    if engine != "sobol":  # beside which a random design of one shard may be proposed in another
        assert len(set(together)) == len(together)
        assert max(map(len, asked)) - min(map(len, asked)) <= 1
    if len(fidelities) == 1:
        assert len(set(together)) == evaluated
    store = Store(tmp_path / "joined.sqlite", space)
    for place in (1, 2, 3):
        store.take_over(tmp_path / f"{place}.sqlite")
    store.close()
    again, evaluated_again = summary_of(space, tmp_path / "joined.sqlite", InProcess(space), options)
    assert evaluated_again == 0
    assert again == whole


def test_a_shard_without_designs_is_empty(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    options = Exploration("random", 2, shard=(3, 3))
    said, evaluated = summary_of(space, tmp_path / "designs.sqlite", InProcess(space), options)
    assert evaluated == 0
    assert json.loads(said)["front"] == []
    assert json.loads(said)["hypervolume"] == 0


def test_what_is_taken_over_leaves_what_is_there(tmp_path: Path) -> None:
    """All fidelities come; a failed row gives way to one that did not fail, here and there."""
    space = small_space(tmp_path)
    rows = next(InProcess(space).run(np.array([1, 2, 3]), "roofline"))
    failed = replace(rows, status=np.full(3, FAILED, np.int8), reason=np.array(["died"] * 3, object))
    (tmp_path / "other").mkdir()
    here = Store(tmp_path / "here.sqlite", space)
    other = Store(tmp_path / "other" / "designs.sqlite", space)
    here.add(rows.take(np.array([0])), "roofline")
    here.add(failed.take(np.array([1])), "roofline")
    other.add(failed.take(np.array([0])), "roofline")
    other.add(rows.take(np.array([1, 2])), "roofline")
    other.add(rows, "mapped")
    assert here.take_over(tmp_path / "other") == 5
    assert here.take_over(tmp_path / "other" / "designs.sqlite") == 0
    assert here.take_over(tmp_path / "here.sqlite") == 0
    assert here.fidelities() == ["mapped", "roofline"]
    for name, values in rows.metrics.items():
        np.testing.assert_array_equal(here.get("roofline").metrics[name], values)
    assert here.get("roofline").status.tolist() == rows.status.tolist()
    other.close()
    here.close()


def test_what_is_no_run_of_the_space_is_not_taken_over(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    here = Store(tmp_path / "here.sqlite", space)
    Store(tmp_path / "other.sqlite", renamed(space)).close()
    with pytest.raises(InputError, match="holds designs of space 'other'"):
        here.take_over(tmp_path / "other.sqlite")
    with pytest.raises(InputError, match="no run is there"):
        here.take_over(tmp_path / "nowhere")
    (tmp_path / "text.sqlite").write_text("no store at all, but longer than a header would be " * 4)
    with pytest.raises(InputError, match="cannot be taken over"):
        here.take_over(tmp_path / "text.sqlite")
    assert here.empty
    here.close()


def test_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    # One design after another on the road, so that there is time to kill.
    ordinals = np.arange(0, space.codec.product, 5)
    workers = WorkerPool(space, 2)

    def kill() -> None:
        for _ in range(3):
            time.sleep(0.4)
            for process in list((workers._pool._processes or {}).values())[:1]:
                os.kill(process.pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found: dict[int, int] = {}
    for part in workers.run(ordinals, "kernel"):
        for ordinal, status in zip(part.ordinals.tolist(), part.status.tolist(), strict=True):
            assert ordinal not in found
            found[ordinal] = status
    killer.join()
    workers.close()
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
    other = renamed(space)
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
        ({"shard": (0, 2)}, "--shard"),
        ({"shard": (3, 2)}, "--shard"),
        ({"engine": "nsga2", "shard": (1, 2)}, "--shard"),
        ({"fidelities": ("roofline", "mapped"), "shard": (1, 2)}, "--shard"),
        ({"waves": 0}, "--waves"),
    ],
)
def test_options_are_checked(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        Exploration(**changes)
    assert caught.value.field == field
