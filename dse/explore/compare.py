"""Engines side by side on one space of which every design is known: how much of the true hypervolume each finds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.explore.engines import ENGINES, EngineKind
from dse.explore.front import Scores, front_places, hypervolume, reference_box, scores
from dse.explore.pool import Evaluator, InProcess, evaluate
from dse.explore.store import Store
from dse.space.codec import Codec
from dse.space.space import Space
from workloads.errors import InfeasibleError, InputError, unknown_name

__all__ = [
    "MOST_DESIGNS",
    "MOST_S",
    "Truth",
    "compare_engines",
    "engine_kind",
    "proposals_of",
    "require_sweep",
    "sweep_seconds",
]
__all__ += ["truth_in", "truth_of"]

Row = dict[str, Any]

MOST_S = 600.0
"""How long a sweep of a whole space may take on the command line."""

MOST_DESIGNS = 50_000_000
"""How many designs are kept in memory at most: some 40 bytes each."""

_PILOT_S = 1.0
_PILOT_DESIGNS = 4096
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


def truth_of(space: Space, progress: Callable[[int], None] | None = None, evaluator: Evaluator | None = None) -> Truth:
    """Every design of ``space`` at its shallowest fidelity; ``progress`` is told how many are done.

    In this process where no ``evaluator`` is given; what is found does not depend on it.
    """
    evaluator = evaluator or InProcess(space)
    ordinals, found, done = [], [], 0
    for block in space.codec.blocks():
        for part in evaluator.run(block, space.default_fidelity):
            ordinals.append(part.ordinals)
            found.append(scores(space, part))
            done += len(part)
            if progress is not None:
                progress(done)
    order = np.argsort(together := np.concatenate(ordinals))
    return Truth(space.codec, together[order], np.concatenate(found)[order])


def sweep_seconds(space: Space, enough_s: float = 0.0) -> float:
    """How long `truth_of` takes in this process at most, by the time that some designs all over the space take.

    Of many designs at a time each takes less, so more and more are tried, until it is less than ``enough_s``.
    """
    rng = np.random.default_rng(0)
    count = 1
    while True:
        choices = rng.integers(0, space.codec.radices, (count, len(space.codec.radices)))
        begun = time.perf_counter()
        evaluate(space, np.unique(space.codec.encode(choices)), space.default_fidelity)
        taken_s = time.perf_counter() - begun
        whole_s = taken_s / count * space.codec.size
        # The first design pays for everything that is loaded once.
        if count > 1 and (whole_s < enough_s or taken_s > _PILOT_S or count >= _PILOT_DESIGNS):
            return whole_s
        count *= 8


def require_sweep(space: Space, most_s: float = MOST_S, workers: int = 1) -> None:
    """Raise `InfeasibleError` where `truth_of` would take longer than ``most_s`` or more memory than is sensible."""
    size = space.codec.size
    what = f"engines are compared by the true front, so all {size:,} designs of {space.name} are simulated"
    hint = "more --workers, fewer values, or --merge runs of all designs"
    if size > MOST_DESIGNS:
        raise InfeasibleError(what, size, MOST_DESIGNS, "designs", hint)
    needed_s = sweep_seconds(space, most_s / 10) / workers
    if needed_s > most_s:
        raise InfeasibleError(what, float(f"{needed_s:.2g}"), most_s, "s", hint)


def truth_in(space: Space, runs: Sequence[Path], fidelity: str) -> Truth:
    """Every design of ``space`` as earlier ``runs`` have it together, at any fidelity; what failed is not feasible.

    Raises `InputError` where they are of another space, or lack designs.
    """
    with tempfile.TemporaryDirectory(prefix="tiercade-") as scratch:
        store = Store(Path(scratch) / "designs.sqlite", space)
        try:
            for run in runs:
                store.take_over(run)
            known = store.get(fidelity)
        finally:
            store.close()
    if len(known) < space.codec.size:
        raise InputError(
            f"{len(known):,} of {space.codec.size:,} designs are there at {fidelity} fidelity",
            f"runs of all of them: tiercade explore {space.name} --fidelity {fidelity}, without --budget",
            "--merge",
        )
    return Truth(space.codec, known.ordinals, scores(space, known))


def engine_kind(name: str) -> EngineKind:
    """The kind of engine of that name. Raises `InputError` for an unknown one."""
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES, field="--compare")
    return ENGINES[name]


def proposals_of(truth: Truth, engine: str, seed: int, budget: int, batch: int = 50) -> NDArray[np.int64]:
    """The first ``budget`` different designs that an engine proposes when told their true scores, ``batch`` at a time;
    fewer where it ends before. Raises `InputError` for an unknown engine."""
    kind = engine_kind(engine)
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
    truth: Truth,
    engines: Sequence[str],
    budgets: Sequence[int],
    seeds: Sequence[int] = range(5),
    batch: int = 50,
    progress: Callable[[str, int], None] = lambda _engine, _seeds: None,
) -> list[Row]:
    """One row for each engine and budget: ``engine``, ``budget``, ``seeds`` (how many), ``hypervolume`` and
    ``hypervolume_sd`` (mean and sample deviation over seeds, as a share of the true front's), ``front_share`` (mean
    share of the true front's points found) and ``designs`` (mean number proposed, below the budget where an engine
    ends).

    A seed is one run to the largest budget; smaller budgets are its beginnings, so a budget is not planned for.
    ``progress`` is told of how many seeds an engine has run.
    """
    for name, values in (("--budgets", budgets), ("--seeds", seeds)):
        if not len(values) or min(values) < (name == "--budgets"):
            raise InputError(f"found {list(values)}", "one number at least, none of them below one", name)
    rows: list[Row] = []
    for engine in engines:
        runs = []
        for seed in seeds:
            runs.append(proposals_of(truth, engine, seed, max(budgets), batch))
            progress(engine, len(runs))
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
