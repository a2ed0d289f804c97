"""What holds for every search: its own counts are those of the cost model, its result fits, no bound is beaten."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.hierarchy import Hierarchy
from mappers.bounds import problem_bounds
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.cost import evaluate, over_capacity
from mappers.mapspace.mapping import Mapping
from mappers.mapspace.problem import CascadeProblem
from mappers.search import OBJECTIVES, search
from mappers.search.assemble import assemble as real_assemble
from mappers.search.einsum import Candidate
from tests.mappers.bounds.checking import assert_not_beaten
from tests.mappers.search.random_cases import CASCADES, random_machine, random_problem
from workloads.errors import InfeasibleError


def check(seed: int, names: Sequence[str]) -> bool:
    """One random search with all checks; False where nothing fits."""
    rng = random.Random(seed)
    problem = random_problem(rng, rng.choice(names), 8)
    machine = random_machine(rng, rng.choice((2, 2, 3)), rng.random() < 0.5)
    objective, tiles, fuse = rng.choice(OBJECTIVES), rng.choice(("divisor", "imperfect")), rng.random() < 0.7
    sums: list[tuple[float, float]] = []

    def assemble(problem: CascadeProblem, chosen: Sequence[Candidate], hierarchy: Hierarchy) -> Mapping:
        sums.append((math.fsum(c.energy_j for c in chosen), math.fsum(c.latency_s for c in chosen)))
        return real_assemble(problem, chosen, hierarchy)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mappers.search.sequential.assemble", assemble)
        try:
            found = search(
                problem,
                machine,
                objective=objective,
                tiles=tiles,
                constraints=Constraints(fuse=fuse),
            )
        except InfeasibleError:
            return False
    cost = evaluate(found.mapping, problem, machine)
    note = f"seed {seed}"
    # The same whole numbers of bits, added up in another order.
    assert sums[-1] == pytest.approx((cost.energy_j, cost.latency_s), rel=1e-9, abs=1e-30), note
    assert not over_capacity(cost, machine), note
    assert found.lower_bound <= found.value, note
    assert found.optimal, note
    assert_not_beaten(problem_bounds(problem, machine, fuse=fuse), cost, machine)
    return True


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_search_counts_as_the_cost_model_does(seed: int) -> None:
    check(seed, sorted(CASCADES))


@pytest.mark.slow
def test_ten_thousand_searches() -> None:
    assert sum(check(seed, sorted(CASCADES)) for seed in range(10_000)) > 5_000
