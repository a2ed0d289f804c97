"""Explorations on a Dask cluster: the same summary as here, whoever dies, and plain words when nothing is there."""

from __future__ import annotations

import builtins
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse.cli.entry import run
from dse.evaluate.outcomes import FAILED, OK
from dse.explore import cluster as cluster_module
from dse.explore import pool
from dse.explore.cluster import DaskPool
from dse.explore.run import Exploration, explore
from dse.explore.store import Store
from tests.dse.explore.clusters import Cluster
from tests.dse.explore.spaces import small_space
from workloads.errors import InputError

pytest.importorskip("distributed")

DEADLY = 205
"""A worker that comes to this design dies."""

PRELOAD = f"""\
import os, time
from dse.explore import cluster, pool

whole = pool.evaluate  # this file may be read twice

def evaluate(space, ordinals, fidelity):
    if fidelity == "kernel" and {DEADLY} in ordinals.tolist():
        os._exit(1)
    time.sleep(0.05)
    return whole(space, ordinals, fidelity)

cluster.evaluate = evaluate
"""
"""Makes chunks of small designs take long enough to be killed in, and one design deadly at kernel fidelity."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    preload = tmp_path / "preload.py"
    preload.write_text(PRELOAD)
    made = Cluster(tmp_path, 2, preload, allowed_failures=1)
    yield made
    made.close()


def test_a_cluster_of_which_a_worker_is_killed_changes_nothing(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_CHUNK", {"roofline": 8})
    space = small_space(tmp_path)
    options = Exploration("sobol", 160, seed=1)
    store = Store(tmp_path / "here.sqlite", space)
    alone = json.dumps(explore(space, store, pool.InProcess(space), options).summary(store))
    store.close()

    killed: list[int] = []

    def kill(_fidelity: str, done: int, _total: int | None) -> None:
        if done > 40 and not killed:
            cluster.workers[0].kill()
            killed.append(done)

    workers = DaskPool(space, cluster.address)
    store = Store(tmp_path / "cluster.sqlite", space)
    found = explore(space, store, workers, options, kill)
    workers.close()
    assert killed
    assert killed[0] < 150
    assert found.evaluated == store.count("roofline")
    assert json.dumps(found.summary(store)) == alone
    store.close()


@pytest.mark.slow
def test_a_design_that_kills_workers_fails_alone(tmp_path: Path, cluster: Cluster) -> None:
    """With one failure allowed, chunks given up on are done one by one: only the deadly design fails."""
    space = small_space(tmp_path)
    ordinals = np.arange(DEADLY - 11, DEADLY + 12)
    ended = threading.Event()

    def replace() -> None:
        while not ended.wait(0.1):
            for at, worker in enumerate(cluster.workers):
                if worker.poll() is not None:
                    cluster.workers[at] = cluster.worker()

    replacing = threading.Thread(target=replace)
    replacing.start()
    workers = DaskPool(space, cluster.address)
    try:
        parts = list(workers.run(ordinals, "kernel"))
    finally:
        ended.set()
        replacing.join()
        workers.close()
    found = {int(o): int(s) for part in parts for o, s in zip(part.ordinals, part.status, strict=True)}
    assert sorted(found) == ordinals.tolist()
    assert sum(len(part) for part in parts) == len(ordinals)
    assert {ordinal for ordinal, status in found.items() if status == FAILED} == {DEADLY}
    assert OK in found.values()


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_said(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_CHUNK", {"roofline": 8})
    space = small_space(tmp_path)
    workers = DaskPool(space, cluster.address)
    parts = workers.run(np.arange(0, 370), "roofline")
    next(parts)
    cluster.scheduler.kill()
    with pytest.raises(InputError, match=r"went away; expected a scheduler that stays; --resume goes on"):
        list(parts)
    workers.close()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://127.0.0.1:9", "nothing in 1 s"),
        ("nonsense", "missing port"),
        ("carrier-pigeon://host:8786", "unknown address scheme"),
    ],
)
def test_an_address_without_a_scheduler_is_said_soon(
    tmp_path: Path,
    address: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cluster_module._ANSWER_S <= 5
    monkeypatch.setattr(cluster_module, "_ANSWER_S", 1.0)
    small_space(tmp_path)
    begun = time.monotonic()
    file = str(tmp_path / "small-space.yaml")
    assert run(["explore", file, "--dask", address, "--out", str(tmp_path / "runs")]) == 2
    assert time.monotonic() - begun < 8
    assert not (tmp_path / "runs").exists()
    error = capsys.readouterr().err
    assert said in error
    assert "no Dask scheduler answers at" in error


def test_what_answers_but_is_no_scheduler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            del arguments

    monkeypatch.setattr(cluster_module, "_ANSWER_S", 1.0)
    server = http.server.HTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(InputError, match="no Dask scheduler answers at"):
            DaskPool(small_space(tmp_path), f"tcp://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, *arguments: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "distributed":
            raise ImportError(name)
        return real(name, *arguments, **named)

    space, real = small_space(tmp_path), builtins.__import__
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match=r"not installed; expected the extra cluster"):
        DaskPool(space, "tcp://127.0.0.1:8786")
