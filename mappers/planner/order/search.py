"""The exact search: over sets of operations that have run, the set with the lowest peak so far first.

The cost of a path is its largest step, so this is Dijkstra's algorithm with max in the place of +: the first time the
full set comes up, its peak is the lowest there is. Of sets with equal peaks the fullest comes first, so where the
proven bound can be met the search dives. Two things keep it small:

* Peaks start at the proven bound: what lies below it makes no difference. Nothing at or above the best known order is
  kept.
* An operation that may run at once without loss (`free_op`) runs without alternatives.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from mappers.planner.order.graph import bits
from mappers.planner.order.greedy import free_op, unwound
from mappers.planner.order.steps import Moves

__all__ = ["Found", "search_orders"]

MOST_STATES = 3_000_000
"""At 200 bytes each, measured, about 600 MB; a search that grows beyond ends."""


@dataclass(frozen=True)
class Found:
    """The best order below what was known (or None), what no order goes below, and how the search ended."""

    order: list[int] | None
    lower_bound_bytes: int
    finished: bool
    states: int


def search_orders(moves: Moves, bound_bytes: int, known_bytes: int, stop: Callable[[], bool]) -> Found:
    """Look for an order whose peak is below ``known_bytes``; peaks up to ``bound_bytes`` are all as good.

    ``bound_bytes`` is what no order goes below, or a capacity within which any order will do.
    """
    held, ready = moves.start()
    count = states = 0
    heap: list[tuple[int, int, int, int, int, int, object]] = [(bound_bytes, 0, 0, 0, held, ready, None)]
    seen: set[int] = set()
    while heap:
        peak, _, _, done, held, ready, trail = heapq.heappop(heap)
        if peak >= known_bytes:
            break
        if done in seen:
            continue
        seen.add(done)
        states += 1
        if states % 256 == 0 and (stop() or states + len(heap) > MOST_STATES):
            return Found(None, peak, False, states)
        popped = done
        while (free := free_op(moves, ready, done, held, peak)) is not None:
            held += moves.cost(free, done)[1]
            ready = moves.ready_after(free, done, ready)
            done |= 1 << free
            trail = (trail, free)
        if done == moves.full:
            return Found(unwound(trail), peak, True, states)
        if done != popped and done in seen:
            continue
        seen.add(done)
        for op in bits(ready):
            during, grows = moves.cost(op, done)
            reached = max(peak, held + during)
            following = done | 1 << op
            if reached < known_bytes and following not in seen:
                count += 1
                left = held + grows
                entry = (reached, -following.bit_count(), count, following, left)
                heapq.heappush(heap, (*entry, moves.ready_after(op, done, ready), (trail, op)))
    return Found(None, known_bytes, True, states)
