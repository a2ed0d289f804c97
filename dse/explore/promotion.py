"""Which designs go on to a deeper fidelity: front after front, and of the last one those that stand most alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dse.explore.front import Scores

__all__ = ["crowding", "front_ranks", "promoted"]


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
    ranks = front_ranks(found)
    room = math.ceil(share * int((ranks >= 0).sum()))
    chosen: list[int] = []
    for rank in range(int(ranks.max(initial=-1)) + 1):
        members = np.flatnonzero(ranks == rank)
        if len(chosen) + len(members) > room:
            order = np.argsort(-crowding(found[members]), kind="stable")
            members = members[order[: room - len(chosen)]]
        chosen += members.tolist()
        if len(chosen) >= room:
            break
    return np.array(sorted(chosen), dtype=np.int64)
