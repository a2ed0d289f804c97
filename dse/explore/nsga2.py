"""NSGA-II (Deb et al., IEEE Trans. Evol. Comput. 6(2), 2002) on ordered integers, by pymoo's operators."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.explore.front import Scores
from dse.explore.proposals import Proposals
from dse.space.codec import Codec
from workloads.errors import InputError

__all__ = ["GeneticSearch"]

_LEAST = 10
"""Designs of a generation at least: a tournament needs different parents."""

_MATINGS = 10
"""Rounds of mating for a generation before random designs fill it up."""

_SPREAD = 3.0
"""Distribution index of crossover and mutation: pymoo's documentation gives this value for integers."""


class GeneticSearch:
    """A generation is as large as what is asked for first, and random. Designs are vectors of choices; in those bred,
    parameters that play no part are set back, and designs proposed before are dropped and bred anew, up to a limit,
    then random ones fill up.

    Objectives that are above zero in all designs so far take part as their logarithms. That changes nothing about which
    design dominates which, but spreads the front evenly on the scale on which its hypervolume is measured.
    """

    def __init__(self, codec: Codec, seed: int, objectives: int) -> None:
        self._codec, self._objectives = codec, objectives
        self._proposals = Proposals(codec, np.random.default_rng([seed, 1]))
        self._algorithm = _algorithm(codec, self._proposals.seen, seed, objectives)
        self._size = 0
        self._parents: Any = None
        self._generation: dict[int, Any] = {}
        self._waiting: list[int] = []
        self._found: dict[int, NDArray[np.float64]] = {}
        self._least = np.full(objectives, np.inf)

    def ask(self, count: int) -> NDArray[np.int64]:
        if not self._waiting and self._proposals.left and count:
            self._size = self._size or max(count, _LEAST)
            self._select()
            self._breed()
        asked, self._waiting = self._waiting[:count], self._waiting[count:]
        return np.array(asked, dtype=np.int64)

    def tell(self, ordinals: NDArray[np.int64], found: Scores) -> None:
        self._found.update(zip(ordinals.tolist(), found, strict=True))
        feasible = found[np.isfinite(found).all(axis=1)]
        self._least = np.minimum(self._least, feasible.min(axis=0, initial=np.inf))

    def _select(self) -> None:
        """Those told of the last generation compete with its parents to be the next ones."""
        from pymoo.core.population import Population

        told = [individual for ordinal, individual in self._generation.items() if ordinal in self._found]
        if not told:
            return
        rivals = Population.create(*told)
        if self._parents is not None:
            rivals = Population.merge(self._parents, rivals)
        found = np.array([self._found[ordinal] for ordinal in _ordinals(self._codec, rivals)])
        feasible = np.isfinite(found).all(axis=1)
        found[~feasible] = 1.0  # as good as any: designs that are not feasible come after all others
        positive = self._least > 0
        found[:, positive] = np.log(found[:, positive])
        rivals.set("F", found)
        rivals.set("G", np.where(feasible, 0.0, 1.0)[:, None])
        self._parents = self._algorithm.survival.do(
            self._algorithm.problem,
            rivals,
            n_survive=min(self._size, len(rivals)),
            algorithm=self._algorithm,
            random_state=self._algorithm.random_state,
        )

    def _breed(self) -> None:
        from pymoo.core.population import Population

        bred = Population.empty()
        if self._parents is not None and len(self._parents) > 1:
            bred = self._algorithm.mating.do(
                self._algorithm.problem,
                self._parents,
                self._size,
                algorithm=self._algorithm,
                random_state=self._algorithm.random_state,
            )
        ordinals = self._proposals.take(np.array(_ordinals(self._codec, bred), dtype=np.int64), self._size)
        filled = self._proposals.random(self._size - len(ordinals))
        if filled:
            bred = Population.merge(bred, Population.new(X=self._codec.decode(np.array(filled))))
        self._waiting = ordinals + filled
        self._generation = dict(zip(self._waiting, bred, strict=True))


def _ordinals(codec: Codec, population: Any) -> list[int]:
    if not len(population):
        return []
    ordinals: list[int] = codec.encode(np.asarray(population.get("X"), dtype=np.int64)).tolist()
    return ordinals


def _algorithm(codec: Codec, seen: set[int], seed: int, objectives: int) -> Any:
    """pymoo's NSGA-II, of which selection, mating and survival are used; mating leaves out what is in ``seen``.

    Raises `InputError` where pymoo is not installed.
    """
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.duplicate import DuplicateElimination
        from pymoo.core.problem import Problem
        from pymoo.core.repair import Repair
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
    except ImportError as error:
        wanted = "the extra explore: pip install 'tiercade[explore]'"
        package = (error.name or "pymoo").split(".")[0]
        raise InputError(f"the package {package} is not installed", wanted, "--engine nsga2") from None

    class Canonical(Repair):  # type: ignore[misc]
        def _do(self, problem: Any, X: Any, **kwargs: Any) -> Any:
            return codec.canonical(np.asarray(X, dtype=np.int64))

    class NotSeen(DuplicateElimination):  # type: ignore[misc]
        def do(self, pop: Any, *others: Any, **kwargs: Any) -> Any:
            beside = {ordinal for other in others for ordinal in _ordinals(codec, other)}
            fresh = []
            for at, ordinal in enumerate(_ordinals(codec, pop)):
                if ordinal not in seen and ordinal not in beside:
                    beside.add(ordinal)
                    fresh.append(at)
            return pop[fresh]

    count = len(codec.radices)
    problem = Problem(n_var=count, n_obj=objectives, n_ieq_constr=1, xl=np.zeros(count), xu=codec.radices - 1.0)
    spread = {"eta": _SPREAD, "vtype": float, "repair": RoundingRepair()}
    algorithm = NSGA2(
        crossover=SBX(prob=1.0, **spread),
        mutation=PM(prob=1.0, **spread),
        repair=Canonical(),
        eliminate_duplicates=NotSeen(),
    )
    algorithm.mating.n_max_iterations = _MATINGS
    return algorithm.setup(problem, seed=seed)
