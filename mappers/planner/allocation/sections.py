"""A problem as arrays over sections of time, and the bounds that can be read off them.

Between two times at which something begins or ends nothing changes: that is a section. Sizes are divided by what all
sizes, pins and alignments have in common. A section whose buffers are all alive in the one beside it adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mappers.planner.allocation.problem import AllocationProblem, Buffer

__all__ = ["Instance", "contention", "crowd", "instance_of", "least_peak_bytes"]

Ints = NDArray[np.int64]

BUFFER = np.dtype([
    (name, np.int64) for name in ("size", "step", "pin", "first", "last", "twin", "rank", "salt_a", "salt_b")
])  # fmt: skip
"""A buffer as the search sees it: units, sections, the identical buffer before it, its rank, hash salts."""


def contention(problem: AllocationProblem) -> tuple[int, int]:
    """The most bytes alive at once, and the first time at which they are; (0, 0) without any."""
    changes: dict[int, int] = {}
    for buffer in problem.buffers:
        for piece in buffer.pieces:
            held = piece.high - piece.low
            changes[piece.lower] = changes.get(piece.lower, 0) + held
            changes[piece.upper] = changes.get(piece.upper, 0) - held
    most, when, alive = 0, 0, 0
    for time in sorted(changes):
        alive += changes[time]
        if alive > most:
            most, when = alive, time
    return most, when


def crowd(problem: AllocationProblem, capacity: int) -> tuple[str, ...]:
    """Buffers alive together that exceed ``capacity``, and would not without any one of them; none where none do."""
    most, when = contention(problem)
    if most <= capacity:
        return ()
    held = [
        (piece.high - piece.low, buffer.id)
        for buffer in problem.buffers
        for piece in buffer.pieces
        if piece.lower <= when < piece.upper
    ]
    chosen, total = [], 0
    for size, name in sorted(held, key=lambda one: -one[0]):
        chosen.append(name)
        total += size
        if total > capacity:
            break
    return tuple(chosen)


def least_peak_bytes(problem: AllocationProblem) -> tuple[int, str]:
    """What no plan's peak is below, and why: the bytes alive at one time, one buffer alone, or a pin."""
    most, when = contention(problem)
    bound, why = most, f"buffers alive at time {when} hold {most} bytes together"
    for buffer in problem.buffers:
        top = buffer.size + (buffer.pinned or 0)
        if buffer.size and top > bound:
            how = f"alone has {top} bytes" if buffer.pinned is None else f"is pinned up to {top}"
            bound, why = top, f"{buffer.id} {how}"
    unit = unit_bytes(problem.buffers)
    return -(-bound // unit) * unit, why


def unit_bytes(buffers: Sequence[Buffer]) -> int:
    """What sizes, pins, windows and alignments are all multiples of; so are the offsets of some lowest plan."""
    unit = 0
    for buffer in buffers:
        unit = math.gcd(unit, buffer.size, buffer.pinned or 0)
        for gap in buffer.gaps:
            unit = math.gcd(unit, *(gap.window or (0, 0)))
    unit = unit or 1
    while any(buffer.alignment % unit and unit % buffer.alignment for buffer in buffers):
        for buffer in buffers:
            if unit % buffer.alignment:
                unit = math.gcd(unit, buffer.alignment)
    return unit


@dataclass(frozen=True)
class Instance:
    """The buffers that have bytes (``index``: their places in the problem), in order of their first section.

    Sizes are in units of ``unit`` bytes.
    A window counts as the whole buffer here: a plan holds all the more, a proof that nothing fits does not carry over.
    ``of[u]`` lists the sections buffer u is alive in, ``members[s]`` the buffers of section s, ``beside[u]`` the
    buffers that share a section with u; all in rising order.
    """

    unit: int
    index: tuple[int, ...]
    buffers: NDArray[Any]
    of: tuple[tuple[int, ...], ...]
    members: tuple[tuple[int, ...], ...]
    beside: tuple[tuple[int, ...], ...]
    lifetimes: tuple[int, ...]

    @cached_property
    def contention(self) -> tuple[int, ...]:
        """Units alive in each section."""
        sizes = self.buffers["size"].tolist()
        return tuple(sum(sizes[u] for u in members) for members in self.members)

    @cached_property
    def rows(self) -> tuple[Ints, Ints, Ints, Ints, Ints, Ints]:
        """``of`` and ``beside`` as row starts and entries, row starts of ``members``, the first buffer of a section.

        That is the first whose life begins in the section or later.
        """
        begin = np.searchsorted(self.buffers["first"], np.arange(len(self.members) + 1)).astype(np.int64)
        return *_rows(self.of), *_rows(self.beside), _rows(self.members)[0], begin

    def ranked(self, order: str) -> NDArray[Any]:
        """The buffers with ranks by ``order``: its letters are keys, first to last, each descending.

        W time alive, Z size, A their product, T the greatest contention met, C sections, O buffers beside.
        """
        size = self.buffers["size"].tolist()
        alive = self.lifetimes
        keys: dict[str, Sequence[int]] = {
            "W": alive,
            "Z": size,
            "A": [w * z for w, z in zip(alive, size, strict=True)],
            "T": [max(self.contention[s] for s in sections) for sections in self.of],
            "C": [len(sections) for sections in self.of],
            "O": [len(beside) for beside in self.beside],
        }
        places = sorted(range(len(size)), key=lambda u: [-keys[letter][u] for letter in order])
        ranked = self.buffers.copy()
        ranked["rank"][places] = np.arange(len(size))
        return ranked


def instance_of(problem: AllocationProblem) -> Instance:
    """``problem`` as arrays."""
    begins = [next((piece.lower for piece in buffer.pieces), None) for buffer in problem.buffers]
    held = [(begin, i) for i, begin in enumerate(begins) if begin is not None]
    index = tuple(i for _, i in sorted(held))
    buffers = [problem.buffers[i] for i in index]
    unit = unit_bytes(problem.buffers)
    spans = [[(piece.lower, piece.upper) for piece in buffer.pieces] for buffer in buffers]
    members = _sections(spans)
    of: list[list[int]] = [[] for _ in buffers]
    beside: list[set[int]] = [set() for _ in buffers]
    for s, section in enumerate(members):
        for u in section:
            of[u].append(s)
            beside[u].update(section)
    array = np.zeros(len(buffers), BUFFER)
    last: dict[tuple[object, ...], int] = {}
    for u, buffer in enumerate(buffers):
        beside[u].discard(u)
        array[u]["size"] = buffer.size // unit
        array[u]["step"] = max(1, buffer.alignment // unit)
        array[u]["pin"] = -1 if buffer.pinned is None else buffer.pinned // unit
        array[u]["first"], array[u]["last"] = of[u][0], of[u][-1]
        key = (tuple(of[u]), buffer.size, buffer.alignment)
        array[u]["twin"] = last.get(key, -1) if buffer.pinned is None else -1
        if buffer.pinned is None:
            last[key] = u
    salts = np.random.default_rng(20231)
    array["salt_a"] = salts.integers(1 << 62, size=len(buffers))
    array["salt_b"] = salts.integers(1 << 62, size=len(buffers))
    return Instance(
        unit,
        index,
        array,
        tuple(map(tuple, of)),
        tuple(map(tuple, members)),
        tuple(tuple(sorted(near)) for near in beside),
        tuple(sum(right - left for left, right in span) for span in spans),
    )


def _sections(spans: Sequence[Sequence[tuple[int, int]]]) -> list[list[int]]:
    """The buffers alive together, wherever some have begun and one ends next: any other section is part of such."""
    begins: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for u, span in enumerate(spans):
        for left, right in span:
            begins.setdefault(left, []).append(u)
            ends.setdefault(right, []).append(u)
    alive: set[int] = set()
    found: list[list[int]] = []
    grown = False
    for time in sorted({*begins, *ends}):
        leaving = set(ends.get(time, ())) - set(begins.get(time, ()))
        if leaving and grown:
            found.append(sorted(alive))
            grown = False
        alive -= leaving
        if set(begins.get(time, ())) - alive:
            alive.update(begins[time])
            grown = True
    return found


def _rows(lists: Iterable[Sequence[int]]) -> tuple[Ints, Ints]:
    starts, entries = [0], list[int]()
    for row in lists:
        entries.extend(row)
        starts.append(len(entries))
    return np.array(starts, np.int64), np.array(entries, np.int64)
