"""The search against every mapping there is, written out and priced one by one: small problems, divisor tiles."""

from __future__ import annotations

import math
import random

import pytest

from mappers.mapspace.cost import evaluate, over_capacity
from mappers.search import OBJECTIVES, search
from tests.mappers.search.exhaustive import TooMany, best_of_all
from tests.mappers.search.random_cases import random_machine, random_problem
from workloads.errors import InfeasibleError

SINGLE = ("gemm", "batched", "elementwise", "row-sum")
PAIRS = ("chain", "activation")


def check(names: tuple[str, ...], seed: int, largest: int, most: int) -> int:
    """Compare one random case for all objectives; how many mappings were priced, 0 for more than ``most``."""
    rng = random.Random(seed)
    problem = random_problem(rng, rng.choice(names), largest)
    machine = random_machine(rng, rng.choice((2, 2, 3)), rng.random() < 0.5)
    try:
        best = best_of_all(problem, machine, most)
    except TooMany:
        return 0
    for objective in OBJECTIVES:
        least = {"energy": best.energy, "latency": best.latency, "edp": best.edp}[objective]
        if math.isinf(least):
            with pytest.raises(InfeasibleError):
                search(problem, machine, objective=objective, tiles="divisor")
            continue
        found = search(problem, machine, objective=objective, tiles="divisor")
        note = f"seed {seed}, {problem.name}, {objective}"
        # Sums in another order; both sides are the same whole numbers of bits.
        assert found.value == pytest.approx(least, rel=1e-12, abs=0.0), note
        assert found.optimal, note
        assert found.lower_bound <= found.value, note
        assert not over_capacity(evaluate(found.mapping, problem, machine), machine), note
    return best.priced


def check_many(names: tuple[str, ...], first: int, cases: int, largest: int, most: int) -> None:
    done, seed = 0, first
    while done < cases:
        done += check(names, seed, largest, most) > 0
        seed += 1


def test_single_einsums() -> None:
    check_many(SINGLE, 1_000, 150, largest=6, most=200)


def test_pairs_of_einsums() -> None:
    check_many(PAIRS, 2_000, 60, largest=4, most=200)


@pytest.mark.slow
@pytest.mark.parametrize("names", [SINGLE, PAIRS], ids=["single", "pairs"])
def test_larger_cases(names: tuple[str, ...]) -> None:
    check_many(names, 10_000, 150, largest=6, most=5_000)
