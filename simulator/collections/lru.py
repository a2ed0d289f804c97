"""Least-recently-used replacement over piece numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

__all__ = ["lru_misses"]


def lru_misses(accesses: Iterable[Sequence[int]], slots: int, warm: Sequence[int] = ()) -> list[list[int]]:
    """The pieces missed at each step by a cache of ``slots`` pieces that evicts the least recently used.

    A step's pieces are wanted together: those already cached are first marked as used, so that fetching a missing one
    cannot evict one that the same step still needs while other room is left. ``warm`` are the pieces cached at the
    start, the last of them the most recently used.
    """
    cache: OrderedDict[int, None] = OrderedDict((piece, None) for piece in warm)
    while len(cache) > slots:
        cache.popitem(last=False)
    missed = []
    for pieces in accesses:
        missing = [piece for piece in pieces if piece not in cache]
        for piece in pieces:
            if piece in cache:
                cache.move_to_end(piece)
        for piece in missing:
            cache[piece] = None
            if len(cache) > slots:
                cache.popitem(last=False)
        missed.append(missing)
    return missed
