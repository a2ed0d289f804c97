"""Local search along the front: the neighbours of its members, least explored members first."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from dse.explore.front import Scores, front_places
from dse.explore.proposals import Proposals, playing
from dse.space.codec import Codec

__all__ = ["LocalSearch", "neighbours"]


def neighbours(codec: Codec, ordinal: int) -> NDArray[np.int64]:
    """Designs that differ from one in a single parameter that plays a part in it: by one step where its values are
    numbers, by any other value where they are words; sorted. Parameters let in by that stand at their first value."""
    (choices,) = codec.decode(np.array([ordinal]))
    parts = playing(codec, choices[None])[0]
    changed = []
    for place, values in enumerate(codec.values.values()):
        if not parts[place]:
            continue
        now = int(choices[place])
        words = any(isinstance(value, str | bool) for value in values)
        for choice in range(len(values)) if words else (now - 1, now + 1):
            if choice != now and 0 <= choice < len(values):
                neighbour = choices.copy()
                neighbour[place] = choice
                changed.append(neighbour)
    if not changed:
        return np.empty(0, dtype=np.int64)
    return np.unique(codec.encode(np.array(changed)))


class LocalSearch:
    """Begins with random designs, as many as are asked for first. Then one neighbour at a time of the front's member of
    which the fewest were asked for, of equals the one that stands longest; random designs when none is left."""

    def __init__(self, codec: Codec, seed: int, objectives: int) -> None:
        self._codec, self._rng = codec, np.random.default_rng(seed)
        self._proposals = Proposals(codec, self._rng)
        self._front = np.empty(0, dtype=np.int64)
        self._found = np.empty((0, objectives))
        self._left: dict[int, list[int]] = {}
        self._explored: dict[int, int] = {}

    def ask(self, count: int) -> NDArray[np.int64]:
        asked: list[int] = []
        queue = [(self._explored[member], at, member) for at, member in enumerate(self._left)]
        heapq.heapify(queue)
        while queue and len(asked) < count:
            _, at, member = heapq.heappop(queue)
            fresh = self._next(member)
            if fresh is not None:
                asked.append(fresh)
                self._explored[member] += 1
                heapq.heappush(queue, (self._explored[member], at, member))
        asked += self._proposals.random(count - len(asked))
        return np.array(asked, dtype=np.int64)

    def _next(self, member: int) -> int | None:
        """A neighbour of ``member`` that was not proposed yet."""
        left = self._left[member]
        while left:
            fresh = self._proposals.take(np.array([left.pop()]), 1)
            if fresh:
                return fresh[0]
        return None

    def tell(self, ordinals: NDArray[np.int64], found: Scores) -> None:
        everything = np.concatenate([self._front, ordinals])
        all_found = np.concatenate([self._found, found])
        places = np.sort(front_places(all_found))  # those told first stay first
        self._front, self._found = everything[places], all_found[places]
        left = {}
        for member in self._front.tolist():
            if member not in self._left:
                left[member] = self._rng.permutation(neighbours(self._codec, member)).tolist()
                self._explored[member] = 0
            else:
                left[member] = self._left[member]
        self._left = left
