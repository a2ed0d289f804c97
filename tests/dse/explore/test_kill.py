"""Proof by killing: workers and the whole command killed at random moments, and nothing lost, nothing done twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from dse.cli.entry import run
from tests.dse.explore.spaces import small_space

CHUNK = 8
"""Designs in a chunk; each worker has at most two chunks that are not back yet (`dse.explore.pool`)."""

DRIVER = f"""\
import os, time
from dse.explore import pool

whole = pool.evaluate

def evaluate(space, ordinals, fidelity):
    line = " ".join(map(str, [os.getppid(), os.getpid(), *ordinals.tolist()])) + chr(10)
    log = os.open(os.environ["LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, line.encode())
    os.close(log)
    time.sleep(float(os.environ["SLOW_S"]))
    return whole(space, ordinals, fidelity)

pool.evaluate = evaluate
pool._CHUNK = {{"roofline": {CHUNK}}}

if __name__ == "__main__":
    from dse.cli.entry import main
    main()
"""
"""The command line, with small slow chunks; whoever begins one, worker or not, says so in a log first."""


@dataclass
class Command:
    """``tiercade explore`` of all 378 designs in a process, its store, and the log of what was begun."""

    folder: Path
    slow_s: float = 0.04

    def __post_init__(self) -> None:
        small_space(self.folder)
        (self.folder / "driver.py").write_text(DRIVER)
        self.log = self.folder / "log"
        self.log.touch()

    def start(self, workers: int) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "LOG": str(self.log),
            "SLOW_S": str(self.slow_s),
        }
        command = [sys.executable, str(self.folder / "driver.py"), "explore", str(self.folder / "small-space.yaml")]
        command += ["--out", str(self.folder / "runs"), "--json", "--resume", "--workers", str(workers)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for its end; how many designs it evaluated."""
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr.decode()
        return int(json.loads(stdout)["evaluated"])

    def kept(self) -> set[int]:
        """Designs in the store, if there is one by now."""
        stores = list(self.folder.glob("runs/*/designs.sqlite"))
        if not stores:
            return set()
        database = sqlite3.connect(stores[0], timeout=60)
        try:
            return {row[0] for row in database.execute("SELECT ordinal FROM designs")}
        except sqlite3.OperationalError:  # killed before there was a table
            return set()
        finally:
            database.close()

    def summary(self) -> bytes:
        return next(self.folder.glob("runs/*/summary.json")).read_bytes()

    def begun(self, since: int = 0) -> list[int]:
        """Designs begun, from a length of the log on."""
        return [int(o) for line in self.log.read_bytes()[since:].splitlines() for o in line.split()[2:]]

    def worker(self, process: subprocess.Popen[bytes]) -> int:
        """The worker of ``process`` that was the last to begin something."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return next(int(pid) for parent, pid, *_ in reversed(lines) if int(parent) == process.pid)

    def wait_for(self, designs: int, since: int) -> bool:
        """Until so many more designs were begun; whether they were, before the run's end was."""
        begun = time.monotonic()
        while len(self.begun(since)) < designs:
            assert time.monotonic() - begun < 60
            if self.kept() == set(range(378)):
                return False
            time.sleep(0.01)
        return True


def undisturbed(folder: Path) -> bytes:
    """The summary of a run nobody kills, in this process."""
    folder.mkdir()
    command = Command(folder)
    assert run(["explore", str(folder / "small-space.yaml"), "--out", str(folder / "runs")]) == 0
    assert command.kept() == set(range(378))
    return command.summary()


def killed(command: Command, rng: random.Random, plan: Sequence[tuple[int, int]]) -> int:
    """Runs killed at random moments, then one that ends; how many kills there were.

    ``plan`` has the workers of each run, and how many of them are killed before the run is. Checks that what was kept
    when a run died is not begun again.
    """
    kills = 0
    kept: set[int] = set()
    for workers, dying in plan:
        since = command.log.stat().st_size
        process = command.start(workers)
        reached = 0
        for _ in range(dying):
            reached += CHUNK * rng.randint(1, 3)
            if command.wait_for(reached, since):
                time.sleep(rng.uniform(0, command.slow_s))
                with contextlib.suppress(ProcessLookupError):  # it may just have gone with one killed before
                    os.kill(command.worker(process), signal.SIGKILL)
                    kills += 1
        if command.wait_for(reached + CHUNK * rng.randint(1, 4), since):
            time.sleep(rng.uniform(0, command.slow_s))
        process.kill()
        process.communicate()
        kills += 1
        assert not kept & set(command.begun(since))
        kept = command.kept()
    since = command.log.stat().st_size
    assert command.finish(command.start(1)) == 378 - len(kept)
    assert not kept & set(command.begun(since))
    return kills


def check(command: Command, lost: int, expected: bytes) -> None:
    """After all kills: every design kept, the undisturbed summary, and at most ``lost`` designs begun again."""
    assert command.kept() == set(range(378))
    assert command.summary() == expected
    assert set(command.begun()) == set(range(378))
    assert len(command.begun()) - 378 <= lost


def test_killed_workers_and_runs_change_nothing(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    command = Command(tmp_path / "killed")
    kills = killed(command, random.Random(1), [(2, 1), (1, 0)])
    assert kills >= 3
    check(command, kills * 2 * 2 * CHUNK, expected)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_many_kills_change_nothing(tmp_path: Path, workers: int) -> None:
    expected = undisturbed(tmp_path / "whole")
    rng = random.Random(workers)
    kills = 0
    while kills < 50:
        folder = tmp_path / f"killed{kills}"
        folder.mkdir()
        command = Command(folder)
        now = killed(command, rng, [(workers, 0 if workers == 1 else rng.randint(0, 2)) for _ in range(5)])
        check(command, now * 2 * workers * CHUNK, expected)
        kills += now
