"""Which designs go on to a deeper fidelity: front after front, and of the last one those that stand most alone.

Where the shallower fidelity does not see what decides at the deeper one, its fronts are the wrong ones. So designs go
on in waves. The first is half of the best by the shallower fidelity and half of random ones, so that all of the space
is seen; what the deeper fidelity says of them corrects the scores of all others (`dse.explore.correction`), and each
wave after it takes the best by corrected scores, among those already judged.
"""

from __future__ import annotations

import heapq
import math

import numpy as np
from numpy.typing import NDArray

from dse.explore.correction import Features, corrected
from dse.explore.front import Scores

__all__ = ["WAVES", "best", "crowding", "first_wave", "front_ranks", "next_wave", "promoted", "wave_sizes"]

WAVES = 5
"""Waves unless told otherwise: each is a fifth of what goes on."""

_MOST_WEIGHED = 200
"""Designs of a wave at most that are chosen by hypervolume: beyond, by crowding, which takes less time."""

_LEAST = 8
"""Designs of a wave at least: fewer teach too little to correct by."""


def front_ranks(found: Scores) -> NDArray[np.int64]:
    """0 for designs no other dominates, 1 for those only they dominate, and so on; -1 for designs not feasible."""
    ranks = np.full(len(found), -1, dtype=np.int64)
    feasible = np.flatnonzero(np.isfinite(found).all(axis=1))
    if len(feasible):
        import moocore

        ranks[feasible] = moocore.pareto_rank(found[feasible])
    return ranks


def crowding(found: Scores) -> NDArray[np.float64]:
    """Crowding distance within one front (Deb et al., IEEE Trans. Evol. Comput. 6(2), 2002, section III-B): of each
    design the distance between its neighbours, summed over objectives; without end at the ends."""
    distance = np.zeros(len(found))
    for column in found.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if span > 0 and len(order) > 2:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def promoted(found: Scores, share: float) -> NDArray[np.int64]:
    """Places of the best ``share`` of the feasible designs (at least one), whole fronts first, then the least crowded
    of the next; sorted. Ties go to the design that was proposed first."""
    return best(found, np.ones(len(found), dtype=np.bool_), math.ceil(share * _feasible(found).sum()))


def best(found: Scores, allowed: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Places of the ``count`` best of the feasible designs that are ``allowed``: whole fronts first, then those of the
    next that are least crowded by it; sorted."""
    ranks = front_ranks(found)
    chosen: list[int] = []
    for rank in range(int(ranks.max(initial=-1)) + 1):
        members = np.flatnonzero(ranks == rank)
        mine = allowed[members]
        if len(chosen) + mine.sum() > count:
            order = np.argsort(-crowding(found[members])[mine], kind="stable")
            chosen += members[mine][order[: count - len(chosen)]].tolist()
        else:
            chosen += members[mine].tolist()
        if len(chosen) >= count:
            break
    return np.array(sorted(chosen), dtype=np.int64)


def wave_sizes(found: Scores, share: float, waves: int) -> list[int]:
    """How many designs go on in each wave: together ``share`` of the feasible ones, rounded up. Fewer waves where
    these would be small."""
    room = math.ceil(share * _feasible(found).sum())
    count = max(1, min(waves, room // _LEAST))
    return [(room * (at + 1)) // count - (room * at) // count for at in range(count)] if room else []


def first_wave(found: Scores, count: int, seed: int) -> NDArray[np.int64]:
    """Places of ``count`` feasible designs: half of them the best, others drawn from the rest by ``seed``; sorted."""
    allowed = np.ones(len(found), dtype=np.bool_)
    chosen = best(_spread(found), allowed, count - count // 2)
    allowed[chosen] = False
    left = np.flatnonzero(allowed & _feasible(found))
    drawn = np.random.default_rng([seed, 2]).choice(left, count - len(chosen), replace=False)
    return np.sort(np.concatenate([chosen, drawn]))


def next_wave(shallow: Scores, deep: Scores, features: Features, count: int) -> NDArray[np.int64]:
    """Places of the ``count`` best of the designs not judged yet, whose rows of ``deep`` are NaN; sorted.

    By corrected scores, among all: those that widen the front's hypervolume most, then front after front. Of those
    that are thought to be beyond a limit some go on only where no others are left.
    """
    found = _spread(corrected(shallow, deep, features))
    unknown = np.isnan(deep[:, 0])
    chosen = _widest(found, unknown, count) if count <= _MOST_WEIGHED else best(found, unknown, count)
    for scale in (found, _spread(shallow)):
        unknown[chosen] = False
        chosen = np.concatenate([chosen, best(scale, unknown, count - len(chosen))])
    return np.sort(chosen)


def _widest(found: Scores, allowed: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Up to ``count`` of the ``allowed`` designs on the front, one by one that which adds most to the hypervolume of
    those chosen and of the front's others. What a design adds only falls as others are chosen, so what it last added
    is enough to pass over most of them."""
    import moocore

    front = np.flatnonzero(front_ranks(found) == 0)
    feasible = found[_feasible(found)]
    low, high = feasible.min(axis=0), feasible.max(axis=0)
    worst = high + 0.1 * np.where(high > low, high - low, 1.0)
    points = found[front[~allowed[front]]]
    reached = float(moocore.hypervolume(points, ref=worst)) if len(points) else 0.0
    waiting = [(-math.inf, at) for at in front[allowed[front]].tolist()]
    chosen: list[int] = []
    judged_at: dict[int, int] = {}
    while waiting and len(chosen) < count:
        gain, at = heapq.heappop(waiting)
        if judged_at.get(at) == len(chosen):
            chosen.append(at)
            points = np.vstack([points, found[at]])
            reached -= gain
            continue
        judged_at[at] = len(chosen)
        added = float(moocore.hypervolume(np.vstack([points, found[at]]), ref=worst)) - reached
        heapq.heappush(waiting, (-added, at))
    return np.array(chosen, dtype=np.int64)


def _spread(found: Scores) -> Scores:
    """Scores on the scale on which hypervolumes are measured: logarithms of those that are above zero in all designs.
    What dominates what stays as it is."""
    result = found.copy()
    for column in result.T:
        if (column > 0).all():
            np.log(column, out=column)
    return result


def _feasible(found: Scores) -> NDArray[np.bool_]:
    return np.isfinite(found[:, 0])  # of designs that are not, every score is infinite
