"""What an engine has proposed so far, and random designs beside it: shared by all engines that learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dse.space.codec import Choices, Codec

__all__ = ["Proposals", "playing"]

_DRAWS = 8
"""Rounds of random draws before what is left is walked through in order: near the end of a space draws rarely hit."""


class Proposals:
    """The designs proposed so far; none is ever proposed twice."""

    def __init__(self, codec: Codec, rng: np.random.Generator) -> None:
        self._codec, self._rng = codec, rng
        self._blocks = codec.blocks()
        self._walked = np.empty(0, dtype=np.int64)
        self.seen: set[int] = set()

    @property
    def left(self) -> int:
        """How many designs were not proposed yet."""
        return self._codec.size - len(self.seen)

    def take(self, ordinals: NDArray[np.int64], count: int) -> list[int]:
        """The first ``count`` of ``ordinals`` that were not proposed yet; from now on they are."""
        fresh: list[int] = []
        for ordinal in ordinals.tolist():
            if len(fresh) == count:
                break
            if ordinal not in self.seen:
                self.seen.add(ordinal)
                fresh.append(ordinal)
        return fresh

    def random(self, count: int) -> list[int]:
        """``count`` designs not proposed yet, each parameter's values equally likely; fewer where fewer are left."""
        drawn: list[int] = []
        for _ in range(_DRAWS):
            missing = min(count - len(drawn), self.left)
            if not missing:
                return drawn
            choices = self._rng.integers(0, self._codec.radices, (2 * missing + 16, len(self._codec.radices)))
            drawn += self.take(self._codec.encode(choices), missing)
        while len(drawn) < count and self.left:
            if not len(self._walked):
                self._walked = self._rng.permutation(next(self._blocks))
            part, self._walked = self._walked[:1024], self._walked[1024:]
            found = self.take(part, count - len(drawn))
            drawn += found
            if len(drawn) == count:
                rest = part[~np.isin(part, found)]
                self._walked = np.concatenate([rest, self._walked])
        return drawn


def playing(codec: Codec, choices: Choices) -> NDArray[np.bool_]:
    """(designs, parameters): whether a parameter plays a part in the design; one with a single value always does."""
    result = np.ones(choices.shape, dtype=np.bool_)
    for place, parameter in enumerate(codec.parameters.values()):
        if parameter.when and codec.radices[place] > 1:
            probe = choices.copy()
            probe[:, place] = 1
            result[:, place] = codec.canonical(probe)[:, place] == 1
    return result
