"""A Dask scheduler and workers on this host, each a process of its own, for tests of clusters."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Cluster"]

_START_S = 60.0


class Cluster:
    """A scheduler with ``workers`` workers of one thread, without nannies: what is killed stays dead.

    ``preload`` is a file the workers run when they start. To be closed.
    """

    def __init__(self, folder: Path, workers: int, preload: Path | None = None, allowed_failures: int = 3) -> None:
        self._folder, self._preload = folder, preload
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed_failures),
        }
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self.scheduler = self._started("scheduler", ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"])
        self.workers = [self.worker() for _ in range(workers)]
        begun = time.monotonic()
        while not _answers(port):
            assert time.monotonic() - begun < _START_S
            assert self.scheduler.poll() is None
            time.sleep(0.05)

    def worker(self) -> subprocess.Popen[bytes]:
        """One more worker."""
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
        if self._preload is not None:
            options += ["--preload", str(self._preload)]
        return self._started("worker", [self.address, "--host", "127.0.0.1", *options])

    def _started(self, what: str, options: Sequence[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options]
        return subprocess.Popen(
            command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder
        )

    def close(self) -> None:
        """Kill all of it."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
