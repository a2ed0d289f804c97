"""First fit in several orders: quick plans to begin with, and all that planners in machine-learning runtimes do.

Of the buffers in order, each goes to the lowest place where it fits among those before it. Pinned buffers go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mappers.planner.allocation.problem import AllocationProblem, Buffer, Piece

__all__ = ["ORDERS", "first_fit", "greedy_orders", "overlaps"]

ORDERS = ("size", "area", "lifetime", "start", "contention")
"""Largest first by each; start: earliest first."""

Conflicts = Sequence[Sequence[tuple[int, tuple[tuple[int, int], ...]]]]


def overlaps(problem: AllocationProblem) -> Conflicts:
    """For each buffer its neighbours, and which distances (offset of the neighbour less its own) are forbidden.

    Distances are open intervals, merged and in order.
    """
    buffers = problem.buffers
    pieces = [list(buffer.pieces) for buffer in buffers]
    found: list[list[tuple[int, tuple[tuple[int, int], ...]]]] = [[] for _ in buffers]
    order = sorted((i for i in range(len(buffers)) if pieces[i]), key=lambda i: buffers[i].lower)
    for place, i in enumerate(order):
        for j in order[place + 1 :]:
            if buffers[j].lower >= buffers[i].upper:
                break
            barred = _barred(pieces[i], pieces[j])
            if barred:
                found[i].append((j, barred))
                found[j].append((i, tuple((-b, -a) for a, b in reversed(barred))))
    return found


def _barred(one: Sequence[Piece], two: Sequence[Piece]) -> tuple[tuple[int, int], ...]:
    if len(one) == len(two) == 1:
        a, b = one[0], two[0]
        return ((a.low - b.high, a.high - b.low),) if a.lower < b.upper and b.lower < a.upper else ()
    spans = sorted(
        (a.low - b.high, a.high - b.low) for a in one for b in two if a.lower < b.upper and b.lower < a.upper
    )
    merged: list[tuple[int, int]] = []
    for low, high in spans:
        if merged and low < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def first_fit(
    problem: AllocationProblem, conflicts: Conflicts, order: Iterable[int], hinted: bool = False
) -> list[int] | None:
    """Offsets by first fit in ``order``, or None where two pinned buffers meet.

    With ``hinted`` a buffer goes to its hint where that is free and aligned.
    """
    buffers = problem.buffers
    offsets: list[int | None] = [None] * len(buffers)
    for i in sorted(order, key=lambda i: buffers[i].pinned is None):
        buffer = buffers[i]
        # Offset of the neighbour less its own must not lie within (a, b): its own not within (at - b, at - a).
        taken: list[tuple[int, int]] = []
        for j, barred in conflicts[i]:
            at = offsets[j]
            if at is not None:
                taken.extend((at - high, at - low) for low, high in barred)
        taken.sort()
        if buffer.pinned is not None:
            if any(low < buffer.pinned < high for low, high in taken):
                return None
            offsets[i] = buffer.pinned
            continue
        hint = buffer.hint if hinted else None
        if hint is not None and hint % buffer.alignment == 0 and not any(low < hint < high for low, high in taken):
            offsets[i] = hint
            continue
        offsets[i] = _lowest(taken, buffer)
    return [at for at in offsets if at is not None]


def _lowest(taken: Sequence[tuple[int, int]], buffer: Buffer) -> int:
    at = 0
    for low, high in taken:
        if at <= low:
            break
        if at < high:
            at = -(-high // buffer.alignment) * buffer.alignment
    return at


def greedy_orders(problem: AllocationProblem, conflicts: Conflicts) -> dict[str, list[int]]:
    """The orders of `ORDERS` by name."""
    buffers = problem.buffers
    around = [buffer.size + sum(buffers[j].size for j, _ in conflicts[i]) for i, buffer in enumerate(buffers)]
    keys = {
        "size": lambda i: (-buffers[i].size, -(buffers[i].upper - buffers[i].lower)),
        "area": lambda i: (-buffers[i].size * (buffers[i].upper - buffers[i].lower), -buffers[i].size),
        "lifetime": lambda i: (buffers[i].lower - buffers[i].upper, -buffers[i].size),
        "start": lambda i: (buffers[i].lower, -buffers[i].size),
        "contention": lambda i: (-around[i], -buffers[i].size),
    }
    return {name: sorted(range(len(buffers)), key=keys[name]) for name in ORDERS}
