"""Engines side by side on one space of which every design is known: how much of the true hypervolume each finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.many import evaluate_many
from dse.explore.engines import ENGINES
from dse.explore.front import Scores, front_places, hypervolume, reference_box, scores
from dse.space.codec import Codec
from dse.space.space import Space
from workloads.errors import InputError, unknown_name

__all__ = ["Truth", "compare_engines", "proposals_of", "truth_of"]

Row = dict[str, Any]

_STALLED = 50
"""Batches without a new design after which an engine is taken to have no more to propose."""


@dataclass(frozen=True)
class Truth:
    """Every design of a space and its scores; ``ordinals`` rise."""

    codec: Codec
    ordinals: NDArray[np.int64]
    found: Scores

    def of(self, ordinals: NDArray[np.int64]) -> Scores:
        """The scores of some designs, in the order given."""
        return self.found[np.searchsorted(self.ordinals, ordinals)]

    @cached_property
    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Best and worst of each objective over all feasible designs. Raises `InputError` where there are none."""
        box = reference_box(self.found)
        if box is None:
            raise InputError("no design of the space is feasible", "at least one, to compare engines by", "constraints")
        return box

    @cached_property
    def hypervolume(self) -> float:
        """Of the true front, as a share of the box."""
        return hypervolume(self.found, self.box)

    @cached_property
    def front(self) -> Scores:
        """The objectives of the true front."""
        return self.found[front_places(self.found)]


def truth_of(space: Space, progress: Callable[[int], None] | None = None) -> Truth:
    """Every design of ``space`` at roofline fidelity, in this process; ``progress`` is told how many are done."""
    ordinals, found, done = [], [], 0
    for block in space.codec.blocks():
        for start in range(0, len(block), 8192):
            part = block[start : start + 8192]
            ordinals.append(part)
            found.append(scores(space, evaluate_many(space, part)))
            done += len(part)
            if progress is not None:
                progress(done)
    return Truth(space.codec, np.concatenate(ordinals), np.concatenate(found))


def proposals_of(truth: Truth, engine: str, seed: int, budget: int, batch: int = 50) -> NDArray[np.int64]:
    """The first ``budget`` different designs that an engine proposes when told their true scores, ``batch`` at a time;
    fewer where it ends before. Raises `InputError` for an unknown engine."""
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES, field="--compare")
    kind = ENGINES[engine]
    made = kind(truth.codec, seed, truth.found.shape[1])
    proposed: dict[int, None] = {}
    stalled = 0
    while len(proposed) < budget and stalled < _STALLED:
        asked = made.ask(min(batch if kind.learns else budget, budget - len(proposed)))
        if not len(asked):
            break
        before = len(proposed)
        proposed.update(dict.fromkeys(asked.tolist()))
        stalled = 0 if len(proposed) > before else stalled + 1
        made.tell(asked, truth.of(asked))
    return np.array(list(proposed), dtype=np.int64)


def compare_engines(
    truth: Truth, engines: Sequence[str], budgets: Sequence[int], seeds: Sequence[int] = range(5), batch: int = 50
) -> list[Row]:
    """One row for each engine and budget: ``engine``, ``budget``, ``seeds`` (how many), ``hypervolume`` and
    ``hypervolume_sd`` (mean and sample deviation over seeds, as a share of the true front's), ``front_share`` (mean
    share of the true front's points found) and ``designs`` (mean number proposed, below the budget where an engine
    ends).

    A seed is one run to the largest budget; smaller budgets are its beginnings, so a budget is not planned for.
    """
    for name, values in (("--budgets", budgets), ("--seeds", seeds)):
        if not len(values) or min(values) < (name == "--budgets"):
            raise InputError(f"found {list(values)}", "one number at least, none of them below one", name)
    rows: list[Row] = []
    for engine in engines:
        runs = [proposals_of(truth, engine, seed, max(budgets), batch) for seed in seeds]
        for budget in budgets:
            parts = [truth.of(run[:budget]) for run in runs]
            shares = [hypervolume(part, truth.box) / truth.hypervolume for part in parts]
            row = {"engine": engine, "budget": budget, "seeds": len(seeds), "hypervolume": float(np.mean(shares))}
            row["hypervolume_sd"] = float(np.std(shares, ddof=1)) if len(shares) > 1 else 0.0
            row["front_share"] = float(np.mean([_met(part, truth.front) for part in parts]))
            row["designs"] = float(np.mean([len(part) for part in parts]))
            rows.append(row)
    return rows


def _met(found: Scores, front: Scores) -> float:
    """Share of the points of ``front`` that some design of ``found`` has."""
    points = {tuple(point) for point in found.tolist()}
    return sum(tuple(point) in points for point in front.tolist()) / len(front)
