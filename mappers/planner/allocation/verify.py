"""Does a plan hold? Looked at pair by pair, from the problem's text alone; shares no code with what makes plans."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mappers.planner.allocation.problem import AllocationProblem, Buffer

__all__ = ["faults"]


def _held(buffer: Buffer, start: int, end: int) -> list[tuple[int, int, int, int]]:
    """(from, until, low, high) of what ``buffer`` holds between two times."""
    points = sorted({start, end, *(t for gap in buffer.gaps for t in (gap.lower, gap.upper) if start < t < end)})
    held = []
    for left, right in itertools.pairwise(points):
        inside = [gap for gap in buffer.gaps if gap.lower <= left and right <= gap.upper]
        low, high = (0, buffer.size) if not inside else inside[0].window or (0, 0)
        held.append((left, right, low, high))
    return held


def faults(problem: AllocationProblem, offsets: Sequence[int], capacity_bytes: int | None = None) -> list[str]:
    """Everything that is wrong with ``offsets`` (bytes, in the order of the buffers); an empty list when nothing is."""
    buffers = problem.buffers
    if len(offsets) != len(buffers):
        return [f"{len(offsets)} offsets for {len(buffers)} buffers"]
    found = []
    for a, at in zip(buffers, offsets, strict=True):
        if at < 0:
            found.append(f"{a.id} begins below 0")
        if at % a.alignment:
            found.append(f"{a.id} at {at} is not aligned to {a.alignment}")
        if a.pinned is not None and at != a.pinned:
            found.append(f"{a.id} at {at} is pinned at {a.pinned}")
        if capacity_bytes is not None and a.size and at + a.size > capacity_bytes:
            found.append(f"{a.id} at {at} ends above {capacity_bytes}")
    order = sorted(range(len(buffers)), key=lambda i: buffers[i].lower)
    for place, i in enumerate(order):
        a = buffers[i]
        for j in order[place + 1 :]:
            b = buffers[j]
            if b.lower >= a.upper:
                break
            for l1, r1, low1, high1 in _held(a, b.lower, min(a.upper, b.upper)):
                for l2, r2, low2, high2 in _held(b, b.lower, min(a.upper, b.upper)):
                    bottom, top = max(offsets[i] + low1, offsets[j] + low2), min(offsets[i] + high1, offsets[j] + high2)
                    if max(l1, l2) < min(r1, r2) and low1 < high1 and low2 < high2 and bottom < top:
                        found.append(f"{a.id} and {b.id} share the bytes {bottom} to {top} at time {max(l1, l2)}")
    return found
