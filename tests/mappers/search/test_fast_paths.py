"""What makes a search fast changes nothing about it: each fast path beside a plain one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers import map_workload
from mappers.mapspace.problem import CascadeProblem
from mappers.mapspace.report import SearchResult
from mappers.search import OBJECTIVES, search
from mappers.search import join as join_module
from mappers.search.einsum import Candidate
from mappers.search.tables import _active_lanes, _next_options, _tiles, tile_options
from tests.mappers.search.plain_join import plain_join
from tests.mappers.search.random_cases import CASCADES, random_machine, random_problem
from workloads.errors import InfeasibleError

_MOST_COMBINATIONS = 3000


def checked(seed: int) -> int:
    """One random search of which every join is done by trying all combinations too, where these are few; how many."""
    rng = random.Random(seed)
    problem = random_problem(rng, rng.choice(sorted(CASCADES)), 6)
    machine = random_machine(rng, 2, rng.random() < 0.3)
    objective = rng.choice(OBJECTIVES)
    done = 0

    def join(
        problem: CascadeProblem,
        candidates: Sequence[Sequence[Candidate]],
        capacity_bits: float,
        admissible: Callable[[float, float, int], bool],
        rank: Callable[[float, float], tuple[float, float]],
        sums: bool,
        stop: Callable[[], bool],
        span: tuple[int, int] | None = None,
    ) -> Any:
        nonlocal done
        found = join_module.join(problem, candidates, capacity_bits, admissible, rank, sums, stop, span)
        first, end = span or (0, len(candidates))
        for candidate in (candidate for each in candidates[first:end] for candidate in each[:20]):
            assert candidate.stores[: len(candidate.head)] == candidate.head
        if math.prod(len(each) for each in candidates[first:end]) <= _MOST_COMBINATIONS:
            least = plain_join(problem, candidates, capacity_bits, admissible, rank, span)
            reached = (math.inf, math.inf) if found is None else rank(found.energy_j, found.latency_s)
            # A search for both at once keeps sums added up in another order out of its way by their least value.
            assert reached == pytest.approx(least, rel=1e-12), f"seed {seed}"
            done += 1
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mappers.search.joint.join", join)
        try:
            search(problem, machine, objective=objective)
        except InfeasibleError:
            return 0
    return done


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_joins_are_those_of_all_combinations(seed: int) -> None:
    checked(seed)


def test_some_random_joins_are_small_enough_to_be_checked() -> None:
    assert sum(checked(seed) for seed in range(12)) > 10


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 400), spread=st.integers(1, 12), imperfect=st.booleans(), copies=st.integers(1, 16))
def test_lanes_in_use_by_their_definition(size: int, spread: int, imperfect: bool, copies: int) -> None:
    """Each piece keeps as many lanes at work as it has coordinates, up to all; counted piece by piece."""
    spread = min(spread, size)
    steps = -(-size // spread)
    for tile, length, lanes in zip(
        tile_options(steps, imperfect)[0],
        _tiles(size, spread, imperfect),
        _active_lanes(size, spread, imperfect, copies),
        strict=True,
    ):
        assert length == min(tile * spread, size)
        pieces = [min(length, size - start) for start in range(0, size, length)]
        assert lanes == sum(min(piece, copies) for piece in pieces)
    ends, cuts = _next_options(steps, imperfect)
    assert [cuts[begin:end].tolist() for begin, end in zip([0, *ends[:-1]], ends, strict=True)] == [
        list(each) for each in tile_options(steps, imperfect)[1]
    ]


def numbers(found: SearchResult) -> str:
    return repr((found.mapping, found.cost, found.lower_bound, found.bounds, found.candidates))


def test_what_was_searched_before_is_what_a_search_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_workload, "_MOST_SEARCHED", 2)
    cases = []
    for seed in range(40):
        rng = random.Random(seed)
        cases.append((random_problem(rng, "gemm", 8), random_machine(rng, 2, False)))
    map_workload._searched.clear()
    order = [at for at in range(len(cases)) for _ in range(2)] + [0, 1]
    found = 0
    for at in order:
        problem, machine = cases[at]
        try:
            plain = search(problem, machine, objective="latency")
        except InfeasibleError:
            continue
        assert numbers(map_workload.searched(problem, machine)) == numbers(plain)
        assert len(map_workload._searched) <= 2
        found += 1
    assert found > 20


def test_what_may_be_stopped_early_is_not_kept() -> None:
    map_workload._searched.clear()
    done = 0
    for seed in range(8):
        rng = random.Random(seed)
        problem, machine = random_problem(rng, "gemm", 8), random_machine(rng, 2, False)
        try:
            map_workload.searched(problem, machine, should_stop=lambda: False)
        except InfeasibleError:
            continue
        done += 1
    assert done
    assert not map_workload._searched
