"""The obvious way to the lowest peak: try every order, each buffer onto what lies under it; and random problems.

In a lowest plan push every buffer down as far as it goes: each then lies on the ground or on a buffer below. Laid in
order of offsets, each buffer goes to the top of those laid before it that share time with it. So some order finds it.
"""

from __future__ import annotations

import itertools
import random

from mappers.planner.allocation import AllocationProblem, Buffer, Gap

__all__ = ["lowest_peak", "random_problem", "rectangle_cut"]


def lowest_peak(problem: AllocationProblem) -> int | None:
    """The lowest peak over all orders; None when pins leave no plan. For a few buffers without windows."""
    buffers = problem.buffers
    together = [[_together(a, b) for b in buffers] for a in buffers]
    best: int | None = None
    for order in itertools.permutations(range(len(buffers))):
        tops: dict[int, int] = {}
        for i in order:
            under = max((top for j, top in tops.items() if together[i][j]), default=0)
            at = -(-under // buffers[i].alignment) * buffers[i].alignment
            pinned = buffers[i].pinned
            if pinned is not None:
                if at > pinned:
                    break
                at = pinned
            tops[i] = at + buffers[i].size
            if best is not None and tops[i] >= best:
                break
        else:
            best = max(tops.values(), default=0)
    return best


def _together(a: Buffer, b: Buffer) -> bool:
    times = range(max(a.lower, b.lower), min(a.upper, b.upper))
    return any(
        not any(gap.lower <= time < gap.upper for gap in (*a.gaps, *b.gaps)) for time in times
    )  # fmt: skip


def random_problem(seed: int, most: int = 6, plain: bool = False) -> AllocationProblem:
    """Up to ``most`` buffers, crowded, so that orders matter; with alignments, pins and gaps unless plain."""
    draw = random.Random(seed)
    span = draw.choice((4, 6, 9))
    buffers = []
    for i in range(draw.randint(1, most)):
        lower = draw.randrange(span)
        upper = draw.randint(lower + 1, span)
        size = draw.randint(1, 9)
        alignment, pinned, gaps = 1, None, ()
        if not plain and draw.random() < 0.3:
            alignment = draw.choice((2, 3, 4))
        if not plain and draw.random() < 0.12:
            pinned = alignment * draw.randint(0, 4)
        if not plain and upper - lower >= 3 and draw.random() < 0.4:
            gaps = (Gap(lower + 1, draw.randint(lower + 2, upper - 1)),)
        buffers.append(Buffer(f"b{i}", lower, upper, size, alignment, pinned, None, gaps))
    return AllocationProblem(f"random {seed}", tuple(buffers))


def rectangle_cut(seed: int, count: int, time: int = 200, height: int = 1000) -> AllocationProblem:
    """A rectangle cut into ``count`` buffers by straight cuts: the lowest peak is ``height``, without waste."""
    draw = random.Random(seed)
    pieces = [(0, time, height)]
    while len(pieces) < count:
        pieces.sort(key=lambda piece: (piece[1] - piece[0]) * piece[2])
        lower, upper, size = pieces.pop(draw.randrange(len(pieces) // 2, len(pieces)))
        across = draw.random() < 0.5
        if across and upper - lower >= 2:
            cut = draw.randint(lower + 1, upper - 1)
            pieces += [(lower, cut, size), (cut, upper, size)]
        elif size >= 2:
            cut = draw.randint(1, size - 1)
            pieces += [(lower, upper, cut), (lower, upper, size - cut)]
        else:
            pieces.append((lower, upper, size))
    draw.shuffle(pieces)
    return AllocationProblem(f"cut {seed}", tuple(Buffer(f"b{i}", *piece) for i, piece in enumerate(pieces)))
