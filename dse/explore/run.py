"""One exploration: an engine asked and told, designs evaluated once, everything kept in a store, a summary at the end.

To go on with a run that was stopped is to run it again: the engine proposes the same designs from the same seed, and
those the store has are not evaluated again. The summary is made of the store's rows alone, so it is the same bytes
whatever the number of workers, wherever they are, and however often the run was stopped; or done in shards whose rows
it took over.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.outcomes import Outcomes
from dse.explore.correction import features_of
from dse.explore.engines import ENGINES, Engine, RandomSearch
from dse.explore.front import front_places, hypervolume, reference_box, scores
from dse.explore.pool import Evaluator
from dse.explore.promotion import WAVES, best, first_wave, next_wave, wave_sizes
from dse.explore.store import Store
from dse.space.space import Space
from simulator.road import FIDELITIES
from workloads.errors import InputError, unknown_name

__all__ = ["Exploration", "Progress", "Run", "explore"]

_BLOCK = 65_536
_STALLED = 50
"""Batches without a new design after which an engine is taken to have no more to propose."""


@dataclass(frozen=True)
class Exploration:
    """``budget`` designs proposed by ``engine``, ``batch`` at a time, at the first of ``fidelities``; of those the best
    ``promote`` share goes on to each next one, in ``waves`` each of which learns from those before it
    (`dse.explore.promotion`); with one wave the shallower fidelity alone decides. Budget None: all designs,
    exhaustively.

    ``shard`` (i, n): of what is proposed at the last fidelity only each n-th design is evaluated, from the i-th on.
    What is promoted is known only once all designs before it are, so the other fidelities are evaluated in full, and
    in one wave.
    """

    engine: str = "random"
    budget: int | None = 1000
    fidelities: tuple[str, ...] = ("roofline",)
    promote: float = 0.1
    waves: int = WAVES
    batch: int = 50
    seed: int = 0
    shard: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES, field="--engine")
        for fidelity in self.fidelities:
            if fidelity not in FIDELITIES:
                raise unknown_name("fidelity", fidelity, FIDELITIES, field="--fidelity")
        if list(self.fidelities) != sorted(set(self.fidelities), key=FIDELITIES.index):
            raise InputError(f"found {', '.join(self.fidelities)}", "fidelities once each, rising", "--fidelity")
        for name, value, good in (
            ("--budget", self.budget, self.budget is None or self.budget >= 1),
            ("--batch", self.batch, self.batch >= 1),
            ("--waves", self.waves, self.waves >= 1),
            ("--promote", self.promote, 0 < self.promote <= 1),
            ("--seed", self.seed, self.seed >= 0),
        ):
            if not good:
                raise InputError(f"found {value}", "a share up to 1" if name == "--promote" else "at least 1", name)
        if self.shard is None:
            return
        if not 1 <= self.shard[0] <= self.shard[1]:
            found = "/".join(map(str, self.shard))
            raise InputError(f"found {found}", "a part and how many there are, such as 2/4", "--shard")
        if len(self.fidelities) > 1 and self.waves > 1:
            raise InputError("a wave learns from those before it, so no part is done alone", "--waves 1", "--shard")
        if ENGINES[self.engine].learns:
            others = ", ".join(name for name, kind in ENGINES.items() if not kind.learns)
            raise InputError(f"{self.engine} learns from every design, so no part is done alone", others, "--shard")

    def part(self, ordinals: NDArray[np.int64], fidelity: str, before: int = 0) -> NDArray[np.int64]:
        """What of ``ordinals``, the first of which is number ``before`` (from 0) proposed at ``fidelity``, is evaluated
        here."""
        if self.shard is None or fidelity != self.fidelities[-1]:
            return ordinals
        place, of = self.shard
        return ordinals[(place - 1 - before) % of :: of]


Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how many designs are, and of how many."""


@dataclass
class Run:
    """What came of it. ``proposed`` are the ordinals at each fidelity, in the order proposed (of a shard, those it
    evaluates, of ``whole`` at the last fidelity in all shards); ``evaluated`` counts the designs that were not known
    before, in ``wall_s`` seconds."""

    space: Space
    options: Exploration
    proposed: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    random: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    whole: int = 0
    evaluated: int = 0
    wall_s: float = 0.0
    interrupted: bool = False

    def summary(self, store: Store) -> dict[str, Any]:
        """Everything about the run that does not depend on time: designs, front, hypervolumes, reasons."""
        last = [fidelity for fidelity in self.options.fidelities if fidelity in self.proposed][-1]
        outcomes = store.get(last, self.proposed[last])
        found = scores(self.space, outcomes)
        beside = scores(self.space, store.get(last, self.random)) if len(self.random) else found
        box = reference_box(np.concatenate([found, beside]))
        places = front_places(found)
        first = self.options.fidelities[0]
        statuses = store.get(first, self.proposed[first])
        reasons, counts = np.unique(statuses.reason.astype(str), return_counts=True)
        return {
            "space": self.space.name,
            "engine": self.options.engine,
            "seed": self.options.seed,
            **({"shard": "/".join(map(str, self.options.shard))} if self.options.shard else {}),
            "fidelities": {name: len(ordinals) for name, ordinals in self.proposed.items()},
            "designs": len(self.proposed[first]),
            "space_size": self.space.codec.size,
            "infeasible": {str(r): int(n) for r, n in zip(reasons, counts, strict=True) if r},
            "objectives": dict(self.space.objectives),
            "hypervolume": hypervolume(found, box),
            "random_hypervolume": hypervolume(beside, box),
            "front": [_design(self.space, outcomes, at) for at in places.tolist()],
            **({"interrupted": True} if self.interrupted else {}),
        }


def _design(space: Space, outcomes: Outcomes, at: int) -> dict[str, Any]:
    choices = space.codec.decode(outcomes.ordinals[at : at + 1])[0]
    metrics = {name: float(values[at]) for name, values in outcomes.metrics.items()}
    return {
        "ordinal": int(outcomes.ordinals[at]),
        "parameters": space.codec.named(choices),
        "metrics": {name: None if math.isnan(value) else value for name, value in metrics.items()},
        "bottleneck": outcomes.bottleneck[at],
    }


def explore(
    space: Space,
    store: Store,
    evaluator: Evaluator,
    options: Exploration,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Run ``options`` over ``space``. KeyboardInterrupt, or ``stop`` once it is true, ends it early: what was evaluated
    until then is in the store, and the run says that it was interrupted."""
    run = Run(space, options)

    def done(what: str, count: int, total: int | None) -> None:
        if progress is not None:
            progress(what, count, total)
        if stop():
            raise KeyboardInterrupt

    begun = time.perf_counter()
    try:
        _search(run, store, evaluator, done)
        for before, after in zip(options.fidelities, options.fidelities[1:], strict=False):
            _promote(run, store, evaluator, before, after, done)
        _beside_random(run, store, evaluator, done)
    except KeyboardInterrupt:
        run.interrupted = True
        _keep_what_is_known(run, store)
    run.wall_s = time.perf_counter() - begun
    return run


def _search(run: Run, store: Store, evaluator: Evaluator, progress: Progress) -> None:
    options, space = run.options, run.space
    kind = ENGINES["exhaustive" if options.budget is None else options.engine]
    engine: Engine = kind(space.codec, options.seed, len(space.objectives))
    budget = space.codec.size if options.budget is None else min(options.budget, space.codec.size)
    fidelity = options.fidelities[0]
    seen: dict[int, None] = {}
    run.proposed[fidelity] = np.empty(0, dtype=np.int64)
    parts: list[NDArray[np.int64]] = []
    stalled = 0
    while len(seen) < budget and stalled < _STALLED:
        asked = engine.ask(min(options.batch if kind.learns else _BLOCK, budget - len(seen)))
        if not len(asked):
            break
        fresh = np.array([o for o in dict.fromkeys(asked.tolist()) if o not in seen], dtype=np.int64)
        fresh = fresh[: budget - len(seen)]
        stalled = 0 if len(fresh) else stalled + 1
        parts.append(options.part(fresh, fidelity, len(seen)))
        seen.update(dict.fromkeys(fresh.tolist()))
        run.whole = len(seen)
        run.proposed[fidelity] = np.concatenate(parts)
        done, total = len(run.proposed[fidelity]), budget * len(run.proposed[fidelity]) // len(seen)
        _evaluate(run, store, evaluator, fidelity, parts[-1], progress, done, total)
        if kind.learns:
            told = asked[np.isin(asked, run.proposed[fidelity])]
            engine.tell(told, scores(space, store.get(fidelity, told)))


def _promote(run: Run, store: Store, evaluator: Evaluator, before: str, after: str, progress: Progress) -> None:
    """Have the best of the designs at fidelity ``before`` evaluated at ``after``, wave after wave."""
    options, known = run.options, run.proposed[before]
    outcomes = store.get(before, known)
    shallow = scores(run.space, outcomes)
    sizes = wave_sizes(shallow, options.promote, options.waves)
    everywhere = np.ones(len(known), dtype=np.bool_)
    chosen = np.empty(0, dtype=np.int64)
    run.proposed[after] = np.empty(0, dtype=np.int64)
    run.whole = sum(sizes)
    for at, size in enumerate(sizes):
        if len(sizes) == 1:
            wave = best(shallow, everywhere, size)
        elif at == 0:
            wave = first_wave(shallow, size, options.seed)
        else:
            deep = np.full_like(shallow, np.nan)
            deep[chosen] = scores(run.space, store.get(after, known[chosen]))
            features = features_of(run.space.codec, known, outcomes.bottleneck)
            wave = next_wave(shallow, deep, features, size)
        chosen = np.concatenate([chosen, wave])
        fresh = options.part(known[wave], after)
        run.proposed[after] = np.concatenate([run.proposed[after], fresh])
        _evaluate(run, store, evaluator, after, fresh, progress, len(run.proposed[after]), run.whole)


def _evaluate(
    run: Run,
    store: Store,
    evaluator: Evaluator,
    fidelity: str,
    ordinals: NDArray[np.int64],
    progress: Progress,
    done: int | None = None,
    total: int | None = None,
) -> None:
    """Have the designs that are not in the store evaluated, and keep each part as it comes."""
    missing = np.array(sorted(set(ordinals.tolist()) - store.known(fidelity, ordinals)), dtype=np.int64)
    finished = (done or len(ordinals)) - len(missing)
    for part in evaluator.run(missing, fidelity):
        store.add(part, fidelity)
        run.evaluated += len(part)
        finished += len(part)
        progress(fidelity, finished, total or len(ordinals))


def _beside_random(run: Run, store: Store, evaluator: Evaluator, progress: Progress) -> None:
    """Random designs, as many as were proposed, at the last fidelity; none where that would be the same."""
    options, codec = run.options, run.space.codec
    last = options.fidelities[-1]
    if (options.engine == "random" and len(options.fidelities) == 1) or not 0 < run.whole < codec.size:
        return
    run.random = options.part(RandomSearch(codec, options.seed + 1, 0).ask(run.whole), last)
    _evaluate(run, store, evaluator, last, run.random, progress)


def _keep_what_is_known(run: Run, store: Store) -> None:
    """Of what was proposed, what the store has: the summary of an interrupted run is of that."""
    for fidelity, ordinals in list(run.proposed.items()):
        run.proposed[fidelity] = ordinals[np.isin(ordinals, list(store.known(fidelity, ordinals)))]
        if not len(run.proposed[fidelity]) and len(run.proposed) > 1:
            del run.proposed[fidelity]
    last = list(run.proposed)[-1]
    if len(run.random):
        run.random = run.random[np.isin(run.random, list(store.known(last, run.random)))]
