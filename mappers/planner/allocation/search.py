"""Searching by decisions: does everything fit under a ceiling? Several ways to branch take turns, for longer each time.

A search that goes wrong early seldom comes back, and another one often goes right at once: so each way has a few nodes,
and all have twice as many in the next round. What a way has learnt under a ceiling (parts that failed, sections that
end branches) stays with it. Ways are run side by side by threads; the first in order that decides counts and the others
are dropped, so that the number of threads changes the time and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mappers.planner.allocation.kernel import EXHAUSTED, FITS, STOPPED, run_search
from mappers.planner.allocation.sections import Instance

__all__ = ["WAYS", "Prober"]

Ints = NDArray[np.int64]

WAYS = (
    (0, "TCA"), (1, "WAT"), (2, "AWT"), (3, "ZAT"), (1, "TAW"), (2, "WAT"), (0, "ZAT"),
    (3, "TCA"), (2, "TCA"), (1, "AWT"), (2, "ZAT"), (0, "WAT"), (1, "ZAT"),
)  # fmt: skip
"""How the section is chosen (see the kernel), and the order of the buffers that may lie there."""

_POLL_S = 0.02
_LEAST_MEMORY, _MOST_MEMORY = 1 << 14, 1 << 19


@dataclass
class _Way:
    """What one way has learnt under one ceiling."""

    failed: Ints
    weight: Ints
    out: Ints
    stop: Ints = field(default_factory=lambda: np.zeros(1, np.int64))

    def remember(self, entries: int) -> None:
        """Room for as many failed parts, within limits; those known move along."""
        size = len(self.failed)
        wanted = size
        while wanted < min(entries, _MOST_MEMORY):
            wanted *= 2
        if wanted == size:
            return
        known = self.failed[self.failed.any(axis=1)]
        self.failed = np.zeros((wanted, 2), np.int64)
        self.failed[known[:, 0] & (wanted - 1)] = known


class Prober:
    """Decides whether an instance fits under ceilings (in its units). Use it as a context: it may hold threads."""

    def __init__(self, instance: Instance, workers: int, should_stop: Callable[[], bool]) -> None:
        self.instance = instance
        self.nodes = 0
        self.first_limit = 2 * len(instance.buffers)
        self._should_stop = should_stop
        self._ranked = {order: instance.ranked(order) for _, order in WAYS}
        self._rows = instance.rows
        self._holes = any(len(of) != of[-1] - of[0] + 1 for of in instance.of)
        self._learnt: dict[int, list[_Way]] = {}
        self._pool = ThreadPoolExecutor(min(workers, len(WAYS)))

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def forget(self, below: int, above: int) -> None:
        """Drop what was learnt under ceilings that are decided: less than ``below``, or ``above`` and higher."""
        self._learnt = {ceiling: ways for ceiling, ways in self._learnt.items() if below <= ceiling < above}

    def probe(self, ceiling: int, limit: int, most: int = len(WAYS)) -> tuple[int, list[int] | None]:
        """(FITS, offsets), (EXHAUSTED, None) or (STOPPED, None); the first ``most`` ways have ``limit`` nodes each."""
        ways = self._learnt.get(ceiling)
        if ways is None:
            ways = [self._new_way() for _ in WAYS]
            self._learnt[ceiling] = ways
        for way in ways:
            way.remember(2 * limit)
        tasks = [(way, self._ranked[order], rule) for way, (rule, order) in zip(ways, WAYS, strict=True)]
        return self._first(tasks[:most], ceiling, limit, (FITS, EXHAUSTED))

    def _first(
        self, tasks: Sequence[tuple[_Way, NDArray[Any], int]], ceiling: int, limit: int, decisive: tuple[int, ...]
    ) -> tuple[int, list[int] | None]:
        """Status and offsets of the first task in order whose status is decisive; (STOPPED, None) without one."""
        for (way, _, _), (status, nodes) in zip(tasks, self._outcomes(tasks, ceiling, limit), strict=False):
            self.nodes += nodes
            if status in decisive:
                return status, [int(at) for at in way.out] if status == FITS else None
            if self._should_stop():
                break
        return STOPPED, None

    def probe_one(self, place: int, ceiling: int, limit: int) -> tuple[int, list[int] | None]:
        """Like `probe`, by the way at ``place`` alone, which has learnt nothing before."""
        way = self._new_way()
        rule, order = WAYS[place]
        status, _ = self._run(way, self._ranked[order], rule, ceiling, limit)
        return status, [int(at) for at in way.out] if status == FITS else None

    def _new_way(self) -> _Way:
        n, sections = len(self.instance.buffers), len(self.instance.members)
        return _Way(np.zeros((_LEAST_MEMORY, 2), np.int64), np.ones(sections, np.int64), np.zeros(n, np.int64))

    def _outcomes(
        self, tasks: Sequence[tuple[_Way, NDArray[Any], int]], ceiling: int, limit: int
    ) -> Iterator[tuple[int, int]]:
        """Status and nodes of each task in order; those not asked for any more are stopped."""
        for way, _, _ in tasks:
            way.stop[0] = 0
        running: list[Future[tuple[int, int]]] = [self._pool.submit(self._run, *task, ceiling, limit) for task in tasks]
        try:
            for future in running:
                while not future.done():
                    if self._should_stop():
                        for way, _, _ in tasks:
                            way.stop[0] = 1
                    wait([future], _POLL_S, FIRST_COMPLETED)
                yield future.result()
        finally:
            for (way, _, _), future in zip(tasks, running, strict=True):
                future.cancel()
                way.stop[0] = 1
            wait(running)

    def _run(self, way: _Way, buffers: NDArray[Any], rule: int, ceiling: int, limit: int) -> tuple[int, int]:
        learnt = (way.failed, way.weight, way.stop, way.out)
        status, nodes = run_search(ceiling, limit, rule, self._holes, buffers, *self._rows, *learnt)
        return int(status), int(nodes)
