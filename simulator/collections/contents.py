"""What a layer's cache misses, step by step, where the pieces of a step are wanted together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from simulator.collections.lru import lru_misses
from simulator.collections.replacement import Replacement

__all__ = ["STATIC", "set_misses", "static_misses"]

STATIC = "static"
"""Name of the rule by which nothing is ever replaced."""

_NEVER = 1 << 60


def set_misses(accesses: Sequence[Sequence[int]], slots: int, rule: Replacement) -> list[list[int]]:
    """The pieces missed at each step by a cache of ``slots`` pieces, empty at first, that replaces by ``rule``.

    A step's pieces are in the cache together: one of them leaves only where the step wants more than there are slots.
    Uses are counted once per step; `sch` looks ahead in steps.
    """
    if rule.kind == "lru":
        return lru_misses(accesses, slots)
    if rule.kind == "window":
        return _window_misses(accesses, slots, rule.look_ahead)
    uses: dict[int, list[int]] = {}
    for step, pieces in enumerate(accesses):
        for piece in pieces:
            uses.setdefault(piece, []).append(step)
    past = dict.fromkeys(uses, 0)
    last = dict.fromkeys(uses, -1)
    cache: set[int] = set()
    missed = []

    def worth(piece: int) -> tuple[int, int]:
        done = past[piece]
        if rule.kind == "lfu":
            return done, last[piece]
        if rule.kind == "belady":
            coming = uses[piece]
            return -(coming[done] if done < len(coming) else _NEVER), last[piece]
        return sum(step < now + rule.look_ahead for step in uses[piece][done : done + rule.look_ahead]), last[piece]

    for now, pieces in enumerate(accesses):
        wanted = set(pieces)
        missing = [piece for piece in pieces if piece not in cache]
        for piece in pieces:
            past[piece] += 1
            last[piece] = now
        for piece in missing:
            if len(cache) >= slots:
                cache.remove(min(cache, key=lambda held: (held in wanted, worth(held), held)))
            cache.add(piece)
        missed.append(missing)
    return missed


def _window_misses(accesses: Sequence[Sequence[int]], slots: int, tokens: int) -> list[list[int]]:
    """What the last ``tokens`` steps have not used, and what room was short for."""
    last: dict[int, int] = {}  # by last use, the oldest first
    missed = []
    for now, pieces in enumerate(accesses):
        while last and (oldest := next(iter(last))) is not None and last[oldest] < now - tokens:
            del last[oldest]
        missing = [piece for piece in pieces if piece not in last]
        for piece in pieces:
            last.pop(piece, None)
            last[piece] = now
        while len(last) > slots:
            del last[next(iter(last))]
        missed.append(missing)
    return missed


def static_misses(accesses: Sequence[Sequence[int]], slots: int, learned: int) -> list[list[int]]:
    """The same for a cache that holds what was used most in the first ``learned`` steps, and never changes."""
    counts = Counter(piece for pieces in accesses[:learned] for piece in pieces)
    held = {piece for piece, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:slots]}
    return [[piece for piece in pieces if piece not in held] for pieces in accesses]
