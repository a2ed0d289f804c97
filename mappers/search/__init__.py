"""Searching for the best mapping: one call, which goes to the search that suits the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import CascadeProblem
from mappers.mapspace.report import SearchResult
from workloads.errors import InputError, unknown_name

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
    fits, naming the capacity. A running state that one Einsum reads and a later one makes asks for a pipelined machine:
    where each Einsum ends before the next begins, there is no value to read.
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
    _check_states(problem, hierarchy)
    from mappers.search.sequential import search_sequential

    return search_sequential(
        problem, hierarchy, objective, limits, tiles == "imperfect", workers, should_stop, progress
    )


def _check_states(problem: CascadeProblem, hierarchy: Hierarchy) -> None:
    for place, einsum in enumerate(problem.einsums):
        for use in einsum.operands:
            made = problem.producer(use.tensor)
            if made is None or made <= place or use.tensor in {e.output.tensor for e in problem.einsums[:place]}:
                continue
            maker = problem.einsums[made]
            along = [rank for rank in maker.carried if maker.size[rank] > 1]
            if along:
                raise InputError(
                    f"{einsum.name} reads the running state {use.tensor}, of which {maker.name} makes the next value "
                    f"along {', '.join(along)}, and {hierarchy.name} runs one Einsum after the other",
                    "a pipelined machine such as fusemax, or a cascade without such a state, such as attention-2pass",
                    "cascade",
                )
