"""No mapping beats its problem's bounds: random problems, machines and mappings, and drawn searches."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.hierarchy import Hierarchy
from mappers.bounds import problem_bounds
from mappers.mapspace.problem import CascadeProblem
from mappers.mapspace.report import MappingCost
from tests.mappers.bounds.checking import assert_not_beaten, check_search
from tests.mappers.bounds.sampling import Sample, random_hierarchy, random_problem, random_sample, samples


def _check(sample: Sample) -> None:
    # Mappings that repeat Einsums are outside what the stronger bounds assume.
    for recompute in (True,) if sample.repeats else (False, True):
        bounds = problem_bounds(sample.problem, sample.hierarchy, fuse=sample.fuse, recompute=recompute)
        assert_not_beaten(bounds, sample.cost, sample.hierarchy)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_random_mappings(seed: int) -> None:
    for sample in samples(seed, 5):
        _check(sample)


@pytest.mark.slow
def test_ten_thousand_random_mappings() -> None:
    for sample in samples(2024, 10_000):
        _check(sample)


@pytest.mark.parametrize(
    ("name", "draws"),
    [
        ("gemm", 300),
        ("attention", 300),
        *(pytest.param(name, 20_000, marks=pytest.mark.slow) for name in ("gemm", "chain", "attention", "softmax")),
    ],
)
def test_the_best_of_many_draws(name: str, draws: int) -> None:
    # On one machine with a fixed capacity the best of many mappings comes near the bound, and not below.
    rng = random.Random(name)
    problem, hierarchy = random_problem(rng, name, largest=4), random_hierarchy(rng, fanouts=False)
    nearest = 0.0
    for _ in range(draws):
        sample = random_sample(rng, problem, hierarchy)
        if sample is None or sample.repeats:
            continue
        bounds = problem_bounds(problem, sample.hierarchy, fuse=sample.fuse)
        assert_not_beaten(bounds, sample.cost, sample.hierarchy)
        root = sample.cost.traffic()[hierarchy.root].values()
        nearest = max(nearest, bounds.root_bits / sum(t.read_bits + t.write_bits for t in root))
    assert nearest > 0.5  # the bound says something: half of the least traffic drawn, or more


def test_check_of_a_search_that_draws() -> None:
    # The check itself: a search that keeps the best of its draws passes, and gets its ratios.
    rng = random.Random(7)
    problem = random_problem(rng, "gemm")
    hierarchy = random_hierarchy(rng)

    def search(problem: CascadeProblem, hierarchy: Hierarchy, objective: str, fuse: bool) -> MappingCost:
        found = [sample for _ in range(200) if (sample := random_sample(rng, problem, hierarchy)) is not None]
        costs = [sample.cost for sample in found if not sample.repeats and (fuse or not sample.fuse)]
        return min(
            costs, key=lambda cost: {"energy": cost.energy_j, "latency": cost.latency_s}.get(objective, cost.edp)
        )

    ratios = check_search(search, problem, hierarchy)
    assert len(ratios) == 6
    assert all(ratio >= 1 - 1e-9 for ratio in ratios.values())
