"""Hit rates of a prefix cache over a trace, for every capacity in one pass.

The rule: requests in the order of the trace; each touches the blocks of its prompt in order; a block that is missing is
inserted and the least recently used evicted at once. A request's hits are its leading blocks that were there before it;
blocks behind the first miss count as misses and are refreshed. The rate is hits by blocks.

A cache of C blocks that evicts the least recently used holds the C blocks used last, so a block is there if fewer than
C others were used since (Mattson et al., IBM Systems Journal 9, 1970): its distance at the request's beginning. Leading
blocks hit together where C exceeds the largest of their distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workloads.errors import InputError
from workloads.traces.requests import RequestTrace

__all__ = ["PrefixHits", "prefix_hits", "prefix_hits_of"]


@dataclass(frozen=True, eq=False)
class PrefixHits:
    """``blocks`` of all prompts, ``distinct`` of them; ``hits[c]`` of them hit in a cache of ``c`` blocks.

    ``hits`` has an entry for each capacity from 0 to the largest that makes a difference.
    """

    blocks: int
    distinct: int
    hits: NDArray[np.int64]

    def rate(self, capacity_blocks: float) -> float:
        """Hits by blocks with room for ``capacity_blocks``, which may be infinite."""
        if not capacity_blocks >= 0:
            raise InputError(f"room for {capacity_blocks:g} blocks", "0 or more", "capacity_blocks")
        return float(self.hits[int(min(capacity_blocks, len(self.hits) - 1))]) / self.blocks if self.blocks else 0.0


def prefix_hits(trace: RequestTrace, capacity_blocks: float) -> float:
    """The hit rate of ``trace`` with room for ``capacity_blocks``: `PrefixHits.rate`."""
    return prefix_hits_of(trace).rate(capacity_blocks)


def prefix_hits_of(trace: RequestTrace) -> PrefixHits:
    """Hits of every capacity. Raises `InputError` where the trace knows no prefixes."""
    if trace.blocks is None:
        raise InputError(f"{trace.name} does not know its prompts' prefixes", "a trace with blocks", "blocks")
    return _hits(trace.blocks)


def _hits(prompts: Sequence[Sequence[int]]) -> PrefixHits:
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    ids = np.fromiter((block for prompt in prompts for block in prompt), dtype=np.int64, count=int(lengths.sum()))
    names, dense = np.unique(ids, return_inverse=True)
    needed = _needed(lengths, dense.astype(np.int64).reshape(-1), len(names))
    largest = int(needed.max(initial=0))
    return PrefixHits(len(ids), len(names), np.cumsum(np.bincount(needed[needed > 0], minlength=largest + 1)))


@njit(cache=True)
def _needed(lengths, ids, names):  # type: ignore[no-untyped-def]
    """The smallest capacity in which each block hits, 0 for none. A Fenwick tree counts the latest uses by time."""
    count = len(ids)
    needed = np.zeros(count, np.int64)
    latest = np.zeros(names, np.int64)  # time of the latest use, from 1; 0 before the first
    tree = np.zeros(count + 1, np.int64)
    present = 0
    first = 0
    for request in range(len(lengths)):
        last = first + lengths[request]
        reach = 0
        for at in range(first, last):
            time = latest[ids[at]]
            if time == 0:
                break
            before = 0  # blocks whose latest use is not after this one's
            while time > 0:
                before += tree[time]
                time -= time & -time
            reach = max(reach, present - before + 1)
            needed[at] = reach
        for at in range(first, last):
            time = latest[ids[at]]
            if time == 0:
                present += 1
            while 0 < time <= count:
                tree[time] -= 1
                time += time & -time
            time = at + 1
            latest[ids[at]] = time
            while time <= count:
                tree[time] += 1
                time += time & -time
        first = last
    return needed
