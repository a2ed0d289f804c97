"""Designs of a run looked at in depth: chosen from the front, simulated once more, with everything a result knows.

The store keeps metrics only. What a design does with its time, energy, area and memory is worked out again, at the
fidelity the run ended with. A simulation has no randomness, so the numbers are those of the run unless the simulator
has changed since. Served traces are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.design import Design, design_of, system_names_of
from dse.evaluate.limits import quantities
from dse.evaluate.on_road import known_of, result_of, system_names
from dse.explore.front import front_places, scores
from dse.reports.exploration.areas import AreaStack, area_stacks
from dse.reports.exploration.run import ExploredRun
from dse.space.space import Space
from simulator.result import Result
from workloads.errors import InfeasibleError, InputError

__all__ = ["DRAWN", "MOST_DRAWN", "DesignInDepth", "can_be_drawn", "chosen_designs", "in_depth", "spread"]

DRAWN = ("prefill", "decode")
"""Phases that are one step on the road."""

MOST_DRAWN = 12
_FEW = 16
"""A front of up to so many designs is taken whole."""


@dataclass(frozen=True)
class DesignInDepth:
    """One design with the results of its workloads, by their names, and what its area is made of.

    ``kept_s`` are the latencies that the run's store has of the workloads (NaN where it has none).
    """

    ordinal: int
    design: Design
    results: Mapping[str, Result]
    kept_s: Mapping[str, float]
    areas: tuple[AreaStack, ...]


def can_be_drawn(space: Space) -> bool:
    """Whether a workload of the space is one step on the road, not a served trace or a training step."""
    return any(spec.phase in DRAWN for spec in space.workloads.values())


def chosen_designs(run: ExploredRun, most: int = MOST_DRAWN, picks: Sequence[int] = ()) -> list[int]:
    """Ordinals of up to ``most`` designs of the front, well spread, after those of ``picks``.

    Raises `InputError` for a pick that the run did not simulate at its last fidelity.
    """
    outcomes = run.stages[-1].outcomes
    known = outcomes.ordinals[np.isfinite(outcomes.metrics["latency_s"])]
    for ordinal in picks:
        if ordinal not in known:
            nearest = known[np.argmin(np.abs(known - ordinal))] if len(known) else None
            raise InputError(
                f"design {ordinal:,} was not simulated in this run at {run.stages[-1].fidelity}",
                f"one that was, such as {nearest}",
                "--design",
            )
    found = scores(run.space, outcomes)
    front = front_places(found)
    whole = len(front) <= _FEW and most >= MOST_DRAWN
    best = front if whole else front[spread(found[front], most)]
    return list(dict.fromkeys([*picks, *outcomes.ordinals[best].tolist()]))


def spread(found: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Places of ``most`` rows of ``found`` (designs, objectives) that lie far apart, rising.

    The best in each objective come first; then always the row farthest from all that are chosen (Gonzalez, Theor.
    Comput. Sci. 38, 1985, pages 293-306), each objective scaled to its range, of its logarithm where all is positive.
    """
    if len(found) <= most:
        return np.arange(len(found))
    scaled = np.zeros_like(found)
    for at, column in enumerate(found.T):
        values = np.log(np.abs(column)) * np.sign(column) if (column > 0).all() or (column < 0).all() else column
        scaled[:, at] = (values - values.min()) / (np.ptp(values) or 1.0)
    chosen = list(dict.fromkeys(np.argmin(scaled, axis=0).tolist()))[:most]
    while len(chosen) < most:
        gaps = ((scaled[:, None] - scaled[chosen][None]) ** 2).sum(axis=2).min(axis=1)
        gaps[chosen] = -1.0  # rows may be equal
        chosen.append(int(np.argmax(gaps)))
    return np.array(sorted(chosen), dtype=np.int64)


def in_depth(
    run: ExploredRun, ordinals: Sequence[int], progress: Callable[[int, int], None] | None = None
) -> tuple[tuple[DesignInDepth, ...], dict[int, str]]:
    """The designs, simulated at the run's last fidelity, and why others can be no longer: models or machines may have
    changed since the run. ``progress`` is told how many of how many are done.
    """
    found: list[DesignInDepth] = []
    refused: dict[int, str] = {}
    for done, ordinal in enumerate(ordinals):
        if progress is not None:
            progress(done, len(ordinals))
        try:
            found.append(_one(run, ordinal))
        except (InputError, InfeasibleError) as error:
            refused[ordinal] = str(error)
    return tuple(found), refused


def _one(run: ExploredRun, ordinal: int) -> DesignInDepth:
    space, stage = run.space, run.stages[-1]
    choices = space.codec.decode(np.array([ordinal], dtype=np.int64))[0]
    design = design_of(space, space.codec.named(choices))
    results = {
        name: result_of(space, design, workload, stage.fidelity)
        for name, workload in design.workloads.items()
        if workload.spec.phase in DRAWN
    }
    place = int(np.flatnonzero(stage.outcomes.ordinals == ordinal)[0])
    metrics = {name: float(values[place]) for name, values in stage.outcomes.metrics.items()}
    numbers: dict[str, Any] = {
        **design.values,
        **system_names_of(design.system, system_names(space)),
        **known_of(design),
        **{name: value for name, value in metrics.items() if np.isfinite(value)},
    }
    kept = {name: metrics[f"{name}.latency_s"] for name in results}
    areas = area_stacks(space, design.system, quantities(space, numbers))
    return DesignInDepth(ordinal, design, results, kept, areas)
