"""One number for how good a design is among several objectives: what engines that need a reward learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dse.explore.front import Scores, front_places, reference_box

__all__ = ["FrontReward", "shortfall"]

_NOT_FEASIBLE = -1.0


def shortfall(points: Scores, front: Scores) -> NDArray[np.float64]:
    """By how much a point would have to be smaller in every objective for no point of ``front`` to dominate it;
    negative where it is beyond the front. Both finite and on one scale; ``front`` has a point at least.

    The additive epsilon indicator of a single point (Zitzler et al., IEEE Trans. Evol. Comput. 7(2), 2003), with its
    sign turned: it ranks dominated designs below those that dominate them and prefers no part of the front.
    """
    worst = np.full(len(points), -np.inf)
    for member in front:
        worst = np.maximum(worst, (points - member).min(axis=1))
    return worst


class FrontReward:
    """The reward of designs against the front of all told before: 0 on it, positive beyond, down to -1.

    Objectives are scaled to 0..1 between the best and worst feasible value told so far, on a logarithmic scale where
    all of these are above zero. A design that is not feasible has -1. Designs told first, when there is no front, are
    held against their own.
    """

    def __init__(self, objectives: int) -> None:
        self._front = np.empty((0, objectives))
        self._box: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def tell(self, found: Scores) -> NDArray[np.float64]:
        """The rewards of newly told designs, which then take their part in the front."""
        if self._box is not None:
            self._box = reference_box(np.concatenate([found, *(edge[None] for edge in self._box)]))
        else:
            self._box = reference_box(found)
        joined = np.concatenate([self._front, found])
        front = joined[front_places(joined)]
        rewards = self.against(found, self._front if len(self._front) else front)
        self._front = front
        return rewards

    def now(self, found: Scores) -> NDArray[np.float64]:
        """Rewards of designs told before, against the front as it is now: none is above 0."""
        return self.against(found, self._front)

    def against(self, found: Scores, front: Scores) -> NDArray[np.float64]:
        """Rewards against a given front."""
        rewards = np.full(len(found), _NOT_FEASIBLE)
        feasible = np.isfinite(found).all(axis=1)
        if feasible.any() and self._box is not None:
            lost = shortfall(self._scaled(found[feasible]), self._scaled(front))
            rewards[feasible] = np.clip(-lost, _NOT_FEASIBLE, 1.0)
        return rewards

    def _scaled(self, found: Scores) -> Scores:
        assert self._box is not None
        low, high = self._box
        scaled = np.empty_like(found)
        for at in range(found.shape[1]):
            first, last, values = low[at], high[at], found[:, at]
            if first > 0:
                first, last, values = np.log(first), np.log(last), np.log(values)
            scaled[:, at] = (values - first) / (last - first) if last > first else 0.0
        return scaled
