"""Engines: what proposes designs. All of them are asked for designs and told how good these were.

An engine's proposals depend on its seed and on what it was told, never on time or workers. It may propose a design
twice; the run remembers designs and evaluates none twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dse.explore.front import Scores
from dse.space.codec import Codec

__all__ = ["ENGINES", "Engine", "EngineKind", "Exhaustive", "RandomSearch", "Sobol"]

_POINTS = 1024
"""Drawn at a time; a power of two keeps the sequence balanced."""


class Engine(Protocol):
    """``ask`` proposes at most ``count`` designs by ordinal, none when it has no more to propose; ``tell`` gives the
    scores of what was asked last, in that order."""

    def ask(self, count: int) -> NDArray[np.int64]: ...

    def tell(self, ordinals: NDArray[np.int64], found: Scores) -> None: ...


class Exhaustive:
    """Every design, in the order of their numbers."""

    def __init__(self, codec: Codec, seed: int, objectives: int) -> None:
        self._blocks = codec.blocks()
        self._left = np.empty(0, dtype=np.int64)

    def ask(self, count: int) -> NDArray[np.int64]:
        while len(self._left) < count:
            block = next(self._blocks, None)
            if block is None:
                break
            self._left = np.concatenate([self._left, block])
        asked, self._left = self._left[:count], self._left[count:]
        return asked

    def tell(self, ordinals: NDArray[np.int64], found: Scores) -> None:
        """What comes next does not depend on it."""


class RandomSearch:
    """Designs drawn without replacement, each as likely as any other."""

    def __init__(self, codec: Codec, seed: int, objectives: int) -> None:
        self._codec, self._rng = codec, np.random.default_rng(seed)
        self._seen: set[int] = set()

    def ask(self, count: int) -> NDArray[np.int64]:
        drawn: list[int] = []
        while len(drawn) < count and len(self._seen) < self._codec.size:
            ordinals = self._rng.integers(0, self._codec.product, 2 * count + 16)
            for ordinal in ordinals[self._codec.is_design(ordinals)].tolist():
                if ordinal not in self._seen and len(drawn) < count:
                    self._seen.add(ordinal)
                    drawn.append(ordinal)
        return np.array(drawn, dtype=np.int64)

    def tell(self, ordinals: NDArray[np.int64], found: Scores) -> None:
        """What comes next does not depend on it."""


class Sobol:
    """Points of a scrambled Sobol sequence over the parameters, which fill the space evenly (scipy.stats.qmc).

    None of them is skipped: what is proposed in several batches is what would be proposed in one.
    """

    def __init__(self, codec: Codec, seed: int, objectives: int) -> None:
        from scipy.stats.qmc import Sobol as Points

        self._codec = codec
        self._points = Points(len(codec.radices), scramble=True, rng=np.random.default_rng(seed))
        self._seen: set[int] = set()
        self._left: deque[int] = deque()
        self._most = 64 * codec.size + _POINTS  # small spaces: when even many points bring nothing new, it ends
        self._drawn = 0

    def ask(self, count: int) -> NDArray[np.int64]:
        fresh: list[int] = []
        while len(fresh) < count and len(self._seen) < self._codec.size:
            if not self._left:
                if self._drawn >= self._most:
                    break
                self._left.extend(self._next_points())
            ordinal = self._left.popleft()
            if ordinal not in self._seen:
                self._seen.add(ordinal)
                fresh.append(ordinal)
        return np.array(fresh, dtype=np.int64)

    def _next_points(self) -> list[int]:
        points = self._points.random(_POINTS)
        self._drawn += _POINTS
        radices = self._codec.radices
        ordinals: list[int] = self._codec.encode(np.minimum((points * radices).astype(np.int64), radices - 1)).tolist()
        return ordinals

    def tell(self, ordinals: NDArray[np.int64], found: Scores) -> None:
        """What comes next does not depend on it."""


@dataclass(frozen=True)
class EngineKind:
    """A kind of engine: ``make`` builds one from the numbering of designs, a seed and the number of objectives.

    ``learns``: what it proposes depends on the scores it is told.
    """

    summary: str
    make: Callable[[Codec, int, int], Engine]
    learns: bool = True

    def __call__(self, codec: Codec, seed: int, objectives: int) -> Engine:
        """A new engine."""
        return self.make(codec, seed, objectives)


def _nsga2(codec: Codec, seed: int, objectives: int) -> Engine:
    from dse.explore.nsga2 import GeneticSearch

    return GeneticSearch(codec, seed, objectives)


def _local(codec: Codec, seed: int, objectives: int) -> Engine:
    from dse.explore.local import LocalSearch

    return LocalSearch(codec, seed, objectives)


def _agents(codec: Codec, seed: int, objectives: int) -> Engine:
    from dse.explore.agents import Agents

    return Agents(codec, seed, objectives)


def _agent(codec: Codec, seed: int, objectives: int) -> Engine:
    from dse.explore.agents import OneAgent

    return OneAgent(codec, seed, objectives)


def _optuna(sampler: Literal["tpe", "nsga2"]) -> Callable[[Codec, int, int], Engine]:
    def make(codec: Codec, seed: int, objectives: int) -> Engine:
        from dse.explore.optuna_engine import OptunaSearch

        return OptunaSearch(codec, seed, objectives, sampler)

    return make


ENGINES: dict[str, EngineKind] = {
    "exhaustive": EngineKind("every design, in order", Exhaustive, learns=False),
    "random": EngineKind("designs drawn without replacement, all equally likely", RandomSearch, learns=False),
    "sobol": EngineKind("points that fill the space evenly", Sobol, learns=False),
    "nsga2": EngineKind("genetic search on ordered integers (pymoo; extra explore)", _nsga2),
    "local": EngineKind("neighbours of the front's least explored members", _local),
    "agents": EngineKind("one learning agent for each parameter, with a common reward", _agents),
    "agent": EngineKind("one learning agent that decides the whole design", _agent),
    "optuna": EngineKind("tree-structured Parzen estimator (Optuna; extra optuna)", _optuna("tpe")),
    "optuna-nsga2": EngineKind("Optuna's genetic search (extra optuna)", _optuna("nsga2")),
}
"""By name."""
