"""Searching for the best mapping: one call, which goes to the search that suits the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import CascadeProblem
from mappers.mapspace.report import SearchResult
from workloads.errors import unknown_name

__all__ = ["OBJECTIVES", "TILES", "search"]

OBJECTIVES = ("energy", "latency", "edp")
TILES = ("divisor", "imperfect")


def search(
    problem: CascadeProblem,
    hierarchy: Hierarchy,
    *,
    objective: str = "edp",
    constraints: Constraints | None = None,
    tiles: str = "imperfect",
    workers: int = 1,
    should_stop: Callable[[], bool] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> SearchResult:
    """The best mapping of ``problem`` on ``hierarchy`` by ``objective``: energy, latency or edp (their product).

    The result carries its proof: a bound that no mapping of the map space goes below, and the gap to it. The same
    input gives the same mapping on any number of ``workers``. When ``should_stop`` turns true the best so far comes
    back with its gap. ``progress`` is told what is going on and the share done (0 to 1).

    Raises `InputError` for an objective or Einsum that the machine cannot serve and `InfeasibleError` when nothing
    fits, naming the capacity.
    """
    if objective not in OBJECTIVES:
        raise unknown_name("objective", objective, OBJECTIVES, field="objective")
    if tiles not in TILES:
        raise unknown_name("kind of tiles", tiles, TILES, field="tiles")
    limits = constraints or Constraints()
    if hierarchy.execution == "pipelined":
        from mappers.search.pipelined import search_pipelined

        return search_pipelined(problem, hierarchy, cast(Literal["energy", "latency", "edp"], objective), limits)
    from mappers.search.systolic import search_systolic, systolic_unit

    if systolic_unit(hierarchy) is not None:
        return search_systolic(problem, hierarchy, objective, limits)
    from mappers.search.sequential import search_sequential

    return search_sequential(
        problem, hierarchy, objective, limits, tiles == "imperfect", workers, should_stop, progress
    )
