"""The stack algorithm, compiled: hits of a cache of every size in one pass over a sample."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["BELADY", "LFU", "LRU", "SCH", "stack_hits"]

LRU, LFU, BELADY, SCH = range(4)
_TURN = 1 << 32
"""Counts stand above the recency that breaks their ties."""


@njit(cache=True)
def stack_hits(picks, pieces, rule, look_ahead, hits):  # type: ignore[no-untyped-def]
    """Add to ``hits[size - 1]`` the uses of ``picks[token, use]`` that hit from that size on.

    ``order[d]`` is the piece that a cache holds from size d + 1 on; ``worth`` decides between two pieces which stays,
    the same at every size, so that caches contain all smaller ones (Mattson et al., IBM Systems Journal 9(2), 1970).
    """
    tokens, uses = picks.shape
    order = np.full(pieces, -1, np.int64)
    depth = np.full(pieces, -1, np.int64)
    worth = np.zeros(pieces, np.int64)
    coming = np.zeros((tokens, uses) if rule == BELADY else (1, 1), np.int64)
    if rule == BELADY:
        last = np.full(pieces, tokens * uses, np.int64)
        for token in range(tokens - 1, -1, -1):
            for use in range(uses - 1, -1, -1):
                piece = picks[token, use]
                coming[token, use] = last[piece]
                last[piece] = token * uses + use
    if rule == SCH:
        for token in range(min(look_ahead, tokens)):
            for use in range(uses):
                worth[picks[token, use]] += _TURN
    seen = 0
    clock = 0
    known = 0
    for token in range(tokens):
        for use in range(uses):
            piece = picks[token, use]
            if depth[piece] >= 0:
                hits[depth[piece]] += 1
            else:
                hits[known] += 1
                known += 1
        for use in range(uses):
            piece = picks[token, use]
            reach = depth[piece]
            if reach < 0:
                reach = seen
                seen += 1
            if reach > 0:
                carried = order[0]
                for at in range(1, reach):
                    other = order[at]
                    if worth[carried] > worth[other]:
                        order[at] = carried
                        depth[carried] = at
                        carried = other
                order[reach] = carried
                depth[carried] = reach
            order[0] = piece
            depth[piece] = 0
            clock += 1
            if rule == LRU:
                worth[piece] = clock
            elif rule == LFU:
                worth[piece] = (worth[piece] // _TURN + 1) * _TURN + clock
            elif rule == BELADY:
                worth[piece] = -coming[token, use]
            else:
                worth[piece] = (worth[piece] // _TURN - 1) * _TURN + clock
        if rule == SCH and token + look_ahead < tokens:
            for use in range(uses):
                worth[picks[token + look_ahead, use]] += _TURN
