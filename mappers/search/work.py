"""Pieces of a search that may run in other processes: plain arguments in, plain results out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import lru_cache
from typing import Any, TypeAlias

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import EinsumProblem
from mappers.search.einsum import (
    Candidate,
    Configuration,
    Tile,
    best_nest,
    configurations,
    no_room,
    shared_nests,
)
from mappers.search.goal import Goal

__all__ = ["Pool", "Run", "best_of", "shared_of"]

Run: TypeAlias = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]
"""Applies a function of this module to each tuple of arguments."""


@lru_cache(maxsize=512)
def _choices(
    problem: EinsumProblem, machine: str, constraints: Constraints, imperfect: bool
) -> tuple[Configuration, ...]:
    """Configurations on the machine of that JSON text, kept for the next bound."""
    return configurations(problem, _machine(machine), constraints, imperfect)


@lru_cache(maxsize=16)
def _machine(text: str) -> Hierarchy:
    """The machine of a JSON text, read once for all the Einsums of a cascade."""
    return Hierarchy.model_validate_json(text)


def best_of(
    problem: EinsumProblem,
    machine: str,
    constraints: Constraints,
    imperfect: bool,
    goal: Goal,
    stop: Callable[[], bool] | None = None,
) -> tuple[Candidate, int]:
    """`best_nest` on the machine of that JSON text. Raises `InfeasibleError` when no nest fits."""
    choices = _choices(problem, machine, constraints, imperfect)
    best, count = best_nest(problem, choices, goal, stop)
    if best is None:
        raise no_room(problem, choices)
    return best, count


def shared_of(
    problem: EinsumProblem,
    machine: str,
    constraints: Constraints,
    imperfect: bool,
    goal: Goal,
    bound: float,
    batch: tuple[tuple[str, int], ...],
    cuts: int,
    tiles: tuple[tuple[str, frozenset[Tile]], ...],
    stop: Callable[[], bool] | None = None,
) -> tuple[list[Candidate], int]:
    """`shared_nests` on the machine of that JSON text."""
    choices = _choices(problem, machine, constraints, imperfect)
    return shared_nests(problem, choices, goal, bound, dict(batch), cuts, dict(tiles), stop)


class Pool:
    """Runs a function over argument tuples, in other processes when asked; results in the order of the arguments.

    Work in this process is asked to end once ``stop`` turns true; other processes finish what they were given.
    """

    def __init__(self, workers: int, jobs: int, stop: Callable[[], bool]) -> None:
        self.executor: Executor | None = ProcessPoolExecutor(workers) if workers > 1 and jobs > 1 else None
        self.stop = stop

    def __enter__(self) -> Run:
        return self._run

    def __exit__(self, *_: object) -> None:
        if self.executor is not None:
            self.executor.shutdown(cancel_futures=True)

    def _run(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        if self.executor is None:
            return [function(*each, stop=self.stop) for each in arguments]
        return [future.result() for future in [self.executor.submit(function, *each) for each in arguments]]
