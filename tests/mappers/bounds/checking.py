"""A check for any search: what it finds costs no less than the bounds, and it says how near it came."""

from __future__ import annotations

from collections.abc import Callable

from hw.spec.hierarchy import Hierarchy
from mappers.bounds import ProblemBounds, problem_bounds
from mappers.mapspace.problem import CascadeProblem
from mappers.mapspace.report import MappingCost

RELATIVE = 1e-9
"""Sums of floats in another order; counts of bits are whole numbers below 2^53 and exact."""

Search = Callable[[CascadeProblem, Hierarchy, str, bool], MappingCost]
"""(problem, machine, objective, fuse) -> the cost of the best mapping found."""


def assert_not_beaten(bounds: ProblemBounds, cost: MappingCost, hierarchy: Hierarchy) -> None:
    """Fail when the mapping moves, spends or takes less than the bounds say."""
    root = cost.traffic().get(hierarchy.root, {})
    moved = sum(traffic.read_bits + traffic.write_bits for traffic in root.values())
    assert moved >= bounds.root_bits * (1 - RELATIVE)
    assert cost.energy_j >= bounds.energy_j * (1 - RELATIVE)
    assert cost.latency_s >= bounds.latency_s * (1 - RELATIVE)
    assert cost.edp >= bounds.edp * (1 - RELATIVE)


def check_search(search: Search, problem: CascadeProblem, hierarchy: Hierarchy) -> dict[tuple[str, bool], float]:
    """Run ``search`` for every objective, fused and not; the optimum over its bound for each."""
    ratios = {}
    for fuse in (True, False):
        bounds = problem_bounds(problem, hierarchy, fuse=fuse)
        for objective in ("energy", "latency", "edp"):
            cost = search(problem, hierarchy, objective, fuse)
            assert_not_beaten(bounds, cost, hierarchy)
            value = {"energy": cost.energy_j, "latency": cost.latency_s, "edp": cost.edp}[objective]
            least = bounds.value(objective)
            ratios[objective, fuse] = value / least if least > 0 else 1.0
    return ratios
