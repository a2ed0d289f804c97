"""Objectives as numbers to be made small, fronts, and hypervolumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.outcomes import OK, Outcomes
from dse.space.space import Space

__all__ = ["Scores", "front_places", "hypervolume", "reference_box", "scores"]

Scores = NDArray[np.float64]
"""(designs, objectives): all to be made small; infinity in every column for designs that are not feasible."""


def scores(space: Space, outcomes: Outcomes) -> Scores:
    """The objectives of each design, maximised ones with their sign turned. An objective that cannot be had counts as
    not feasible."""
    columns = [
        outcomes.metrics[name] * (1.0 if sense == "minimise" else -1.0) for name, sense in space.objectives.items()
    ]
    found = np.stack(columns, axis=1)
    found[(outcomes.status != OK) | np.isnan(found).any(axis=1)] = np.inf
    return found


def front_places(found: Scores) -> NDArray[np.int64]:
    """Places of the feasible designs that no other beats in one objective without being beaten in another, sorted by
    their objectives; of designs that are equal in all objectives the first stays."""
    feasible = np.flatnonzero(np.isfinite(found).all(axis=1))
    if not len(feasible):
        return feasible
    import moocore  # takes its time to load

    kept = feasible[moocore.is_nondominated(found[feasible])]
    order: NDArray[np.int64] = kept[np.lexsort(found[kept].T[::-1])]
    return order


def reference_box(found: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The best and worst value of each objective over the feasible designs; None where there are none."""
    feasible = found[np.isfinite(found).all(axis=1)]
    return (feasible.min(axis=0), feasible.max(axis=0)) if len(feasible) else None


def hypervolume(found: Scores, box: tuple[NDArray[np.float64], NDArray[np.float64]] | None) -> float:
    """Share of ``box`` that the feasible designs of ``found`` dominate, each objective on a logarithmic scale where all
    of the box is above zero, else on a linear one; its worst corner is moved out by a tenth, so that extremes count.
    """
    feasible = found[np.isfinite(found).all(axis=1)]
    if box is None or not len(feasible):
        return 0.0
    import moocore

    scaled = np.empty_like(feasible)
    for at, (low, high) in enumerate(zip(*box, strict=True)):
        values = feasible[:, at]
        if low > 0:
            low, high, values = np.log(low), np.log(high), np.log(values)
        scaled[:, at] = (values - low) / (high - low) if high > low else 0.0
    worst = 1.1
    volume = float(moocore.hypervolume(np.maximum(scaled, 0.0), ref=[worst] * found.shape[1]))
    return volume / float(worst ** found.shape[1])
