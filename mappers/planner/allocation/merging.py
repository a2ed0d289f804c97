"""Buffers put together into larger ones before the search, so that it has fewer to lay.

Two buffers that share time are stacked; two that do not lie side by side at one offset. Where they are cut from one
block, as tensors of one operation or a chain of equal tensors, the pair fills its box without waste, and it is seldom
by chance that they do. So the pair with the least waste goes first, and of those the one that chance explains least; a
pair is put together only while the contention of what results stays under a ceiling. A plan of the boxes is a plan of
the buffers; that there is none proves nothing.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappers.planner.allocation.problem import AllocationProblem, Buffer

__all__ = ["MOST_MERGED", "Merged", "merge_buffers"]

Ints = NDArray[np.int64]

MOST_MERGED = 5_000
"""The most buffers: every pair is looked at."""

_CHANCE = 0.02
"""What a pair that one such pair is expected to match by chance counts as wasted."""

_SHUFFLE = 0.3
"""How much a seed may change the order of pairs."""


@dataclass(frozen=True)
class Merged:
    """``problem`` has the boxes; ``parts[k]`` are those of box k: place in the original, and offset in the box."""

    problem: AllocationProblem
    parts: tuple[tuple[tuple[int, int], ...], ...]

    def offsets(self, boxes: Sequence[int]) -> list[int]:
        """Offsets of the original buffers from those of the boxes."""
        found = {place: at + inside for at, parts in zip(boxes, self.parts, strict=True) for place, inside in parts}
        return [found[place] for place in range(len(found))]


class _Pool:
    """Boxes alive, and the pairs worth putting together, the best first."""

    def __init__(
        self, problem: AllocationProblem, ceiling: int, tolerance: float, most_chance: float, seed: int
    ) -> None:
        buffers = problem.buffers
        n = len(buffers)
        self.n, self.tolerance, self.most_chance = n, tolerance, most_chance
        self.times = np.unique(np.array([(b.lower, b.upper) for b in buffers], np.int64))
        self.first, self.last, self.size = (np.zeros(2 * n, np.int64) for _ in range(3))
        self.first[:n] = np.searchsorted(self.times, [b.lower for b in buffers])
        self.last[:n] = np.searchsorted(self.times, [b.upper for b in buffers])
        self.size[:n] = [b.size for b in buffers]
        plain = [b.size > 0 and b.alignment == 1 and b.pinned is None and not b.gaps for b in buffers]
        self.alive = np.zeros(2 * n, bool)
        self.begins, self.ends = (np.zeros(len(self.times), np.int64) for _ in range(2))
        self.alike, self.total = Counter[int](), 0
        for i in np.flatnonzero(plain):
            self._count(int(i), 1)
        self.room = np.full(len(self.times), ceiling, np.int64)
        for first, last, size in zip(self.first[:n], self.last[:n], self.size[:n], strict=True):
            self.room[first:last] -= size
        self.noise = np.random.default_rng(seed).random(2 * n)
        self.inside: dict[int, tuple[int, int, int]] = {}
        self.pairs: list[tuple[float, bool, int, int]] = []
        for i in np.flatnonzero(self.alive[:n]):
            self._pair(int(i), np.flatnonzero(self.alive[:i]))

    def _pair(self, i: int, others: Ints) -> None:
        """Keep the pairs of ``i`` with ``others`` whose waste is tolerated."""
        if not len(others):
            return
        first, last, size, times = self.first, self.last, self.size, self.times
        span = times[np.maximum(last[i], last[others])] - times[np.minimum(first[i], first[others])]
        alone = times[last[i]] - times[first[i]], times[last[others]] - times[first[others]]
        area = alone[0] * size[i] + alone[1] * size[others]
        apart = (last[i] <= first[others]) | (last[others] <= first[i])
        box = span * np.where(apart, np.maximum(size[i], size[others]), size[i] + size[others])
        waste = (box - area) / box
        for k in np.flatnonzero(waste <= self.tolerance):
            j, beside = int(others[k]), bool(apart[k])
            chance = self._chance(i, j, beside)
            if chance <= self.most_chance:
                score = float(waste[k]) + _CHANCE * chance * (1 + _SHUFFLE * float(self.noise[i]))
                heapq.heappush(self.pairs, (score, beside, i, j))

    def _chance(self, i: int, j: int, beside: bool) -> float:
        """How many pairs like this one are expected among boxes that have nothing to do with each other."""
        if beside:
            end = max(self.first[i], self.first[j])
            alike = self.alike[int(self.size[i])] / self.total
            return float(self.ends[end] * self.begins[end]) * alike**2
        return float(self.begins[self.first[i]] * self.ends[self.last[i]]) / self.total

    def _count(self, box: int, change: int) -> None:
        """A box appears (1) or goes (-1)."""
        self.alive[box] = change > 0
        self.begins[self.first[box]] += change
        self.ends[self.last[box]] += change
        self.alike[int(self.size[box])] += change
        self.total += change

    def run(self) -> None:
        """Put pairs together until none is left."""
        made = self.n
        while self.pairs:
            _, beside, i, j = heapq.heappop(self.pairs)
            if not (self.alive[i] and self.alive[j]):
                continue
            first, last = min(self.first[i], self.first[j]), max(self.last[i], self.last[j])
            size = max(self.size[i], self.size[j]) if beside else self.size[i] + self.size[j]
            for one in (i, j):
                self.room[self.first[one] : self.last[one]] += self.size[one]
            fits = self.room[first:last].min() >= size
            if fits:
                self.room[first:last] -= size
                self._count(i, -1)
                self._count(j, -1)
                self.first[made], self.last[made], self.size[made] = first, last, size
                self.inside[made] = (i, j, 0 if beside else int(self.size[i]))
                others = np.flatnonzero(self.alive[:made])
                self._count(made, 1)
                self._pair(made, others)
                made += 1
            else:
                for one in (i, j):
                    self.room[self.first[one] : self.last[one]] -= self.size[one]

    def parts(self, box: int) -> tuple[tuple[int, int], ...]:
        """The original buffers in ``box``, and where in it they lie."""
        found, left = [], [(box, 0)]
        while left:
            at, inside = left.pop()
            if at < self.n:
                found.append((at, inside))
            else:
                low, high, shift = self.inside[at]
                left += [(low, inside), (high, inside + shift)]
        return tuple(found)


def merge_buffers(
    problem: AllocationProblem,
    ceiling: int,
    *,
    tolerance: float = 0.0,
    most_chance: float = math.inf,
    seed: int = 0,
) -> Merged:
    """``problem`` with pairs of plain buffers put together whose box wastes at most ``tolerance`` of itself.

    Pairs of which more than ``most_chance`` are expected by chance stay apart, and so do buffers with an alignment, a
    pin or gaps. The contention of the result is at most ``ceiling`` bytes if that of the problem is.
    """
    pool = _Pool(problem, ceiling, tolerance, most_chance, seed)
    pool.run()
    merged = {int(box) for box in np.flatnonzero(pool.alive)}
    inside = {place for box in merged for place, _ in pool.parts(box)}
    boxes = sorted(merged | (set(range(pool.n)) - inside))
    buffers = [
        problem.buffers[box]
        if box < pool.n
        else Buffer(
            f"box {box}",
            int(pool.times[pool.first[box]]),
            int(pool.times[pool.last[box]]),
            int(pool.size[box]),
        )
        for box in boxes
    ]
    parts = tuple(pool.parts(box) for box in boxes)
    return Merged(AllocationProblem(problem.name, tuple(buffers)), parts)
