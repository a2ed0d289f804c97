"""Workers: designs evaluated in several processes, any of which may die without taking more than a design with it.

Work is cut into chunks that do not depend on how many workers there are. When a worker is killed, the chunks that were
in flight are tried again one design at a time; a design whose worker dies five times in all is put down as failed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.many import evaluate_many, in_arrays
from dse.evaluate.on_road import evaluate_on_road, metric_columns
from dse.evaluate.outcomes import FAILED, Outcomes
from dse.space.space import Space

__all__ = ["Evaluator", "InProcess", "WorkerPool", "chunks", "died", "evaluate"]

_CHUNK = {"roofline": 8192}
_ROAD_CHUNK = 8  # some 50 ms of work at least
_WATCH_S = 0.5
_DEATHS = 5


class Evaluator(Protocol):
    """Evaluates many designs, giving back parts as they are done, in any order."""

    def run(self, ordinals: NDArray[np.int64], fidelity: str) -> Iterator[Outcomes]: ...

    def close(self) -> None: ...


def evaluate(space: Space, ordinals: NDArray[np.int64], fidelity: str) -> Outcomes:
    """Designs in this process: many at once at roofline fidelity, else one by one on the road; or memory designs."""
    if space.base.device:
        from dse.evaluate.memory import evaluate_memory  # compiled: other spaces do without

        return evaluate_memory(space, ordinals, fidelity)
    if fidelity == "roofline":
        return evaluate_many(space, ordinals)
    return evaluate_on_road(space, ordinals, fidelity)


def chunks(space: Space, ordinals: NDArray[np.int64], fidelity: str) -> list[NDArray[np.int64]]:
    """``ordinals`` cut into pieces of work: large ones where many designs are done at once, else a few designs."""
    size = _CHUNK.get(fidelity, _ROAD_CHUNK) if in_arrays(space) else _ROAD_CHUNK
    return [ordinals[start : start + size] for start in range(0, len(ordinals), size)]


class InProcess:
    """No workers: chunk after chunk, here."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def run(self, ordinals: NDArray[np.int64], fidelity: str) -> Iterator[Outcomes]:
        for chunk in chunks(self._space, ordinals, fidelity):
            yield evaluate(self._space, chunk, fidelity)

    def close(self) -> None:
        """Nothing is held."""


class WorkerPool:
    """``workers`` processes, started again when one of them dies."""

    def __init__(self, space: Space, workers: int) -> None:
        self._space, self._workers = space, workers
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(self._space, os.getpid())
        )

    def run(self, ordinals: NDArray[np.int64], fidelity: str) -> Iterator[Outcomes]:
        waiting = chunks(self._space, ordinals, fidelity)[::-1]
        alone: list[NDArray[np.int64]] = []  # designs that were in flight when a worker died
        flying: dict[Future[Outcomes], NDArray[np.int64]] = {}
        deaths: dict[int, int] = {}
        while waiting or alone or flying:
            lost: list[NDArray[np.int64]] = []
            try:
                # Suspects fly alone, so that a death is one design's doing.
                while alone and not flying:
                    chunk = alone.pop()
                    flying[self._pool.submit(_work, chunk, fidelity)] = chunk
                while waiting and not alone and len(flying) < 2 * self._workers:
                    chunk = waiting.pop()
                    flying[self._pool.submit(_work, chunk, fidelity)] = chunk
            except BrokenProcessPool:
                lost.append(chunk)
            done, _ = wait(flying, timeout=_WATCH_S, return_when=FIRST_COMPLETED)
            for future in done:
                chunk = flying.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(chunk)
            if lost:
                lost += flying.values()
                flying.clear()
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = self._started()
                for ordinal in np.concatenate(lost)[::-1].tolist():
                    design = np.array([ordinal], dtype=np.int64)
                    deaths[ordinal] = deaths.get(ordinal, 0) + 1
                    if deaths[ordinal] < _DEATHS:
                        alone.append(design)
                    else:
                        yield died(self._space, design)

    def close(self) -> None:
        """Stop all workers at once, whatever they are at."""
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def died(space: Space, ordinals: NDArray[np.int64]) -> Outcomes:
    """The outcomes of designs that nobody lived to evaluate."""
    count = len(ordinals)
    metrics = {name: np.full(count, np.nan) for name in metric_columns(space)}
    reason = np.full(count, "the worker died", dtype=object)
    return Outcomes(ordinals, np.full(count, FAILED, np.int8), reason, np.full(count, "", dtype=object), metrics)


_space: Space | None = None


def _begin(space: Space, parent: int) -> None:
    """In a worker: keep the space; leave Ctrl-C to the parent, and go when the parent has gone."""
    global _space
    _space = space
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(ordinals: NDArray[np.int64], fidelity: str) -> Outcomes:
    assert _space is not None
    return evaluate(_space, ordinals, fidelity)
