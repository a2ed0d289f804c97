"""The program agrees with every order written out, and with the search where that is too slow."""

from __future__ import annotations

import pytest

from mappers.planner.allocation import AllocationProblem, allocate, faults
from mappers.planner.allocation.mip import allocate_by_mip
from mappers.planner.allocation.problem import Buffer, Gap
from tests.mappers.planner.allocation.exhaustive import lowest_peak, random_problem, rectangle_cut
from workloads.errors import InputError


def test_small_problems_are_solved_to_the_lowest_peak() -> None:
    for seed in range(40):
        problem = random_problem(seed, 6)
        lowest = lowest_peak(problem)
        if lowest is not None:
            result = allocate_by_mip(problem)
            assert (seed, result.status, result.peak_bytes) == (seed, "proved_optimal", lowest)
            assert result.offsets is not None
            assert faults(problem, result.offsets, lowest) == []


def test_a_buffer_without_bytes_beside_windows() -> None:
    # From time 1 on, a holds only its byte 0; b lies above that byte, from 1 to 5.
    whole = Buffer("a", 0, 2, 4, gaps=(Gap(1, 2, (0, 1)),))
    problem = AllocationProblem("windows", (whole, Buffer("b", 1, 3, 4), Buffer("none", 0, 2, 0, pinned=2)))
    result = allocate_by_mip(problem)
    assert (result.status, result.peak_bytes) == ("proved_optimal", 5)
    assert result.offsets == (0, 1, 2)
    assert allocate(problem).peak_bytes == 5


@pytest.mark.slow
def test_the_program_and_the_search_agree_on_loose_problems() -> None:
    for seed in range(60):
        problem = random_problem(seed, 14)
        try:
            found = allocate(problem)
        except InputError:  # pins that overlap
            continue
        result = allocate_by_mip(problem)
        assert (seed, result.peak_bytes) == (seed, found.peak_bytes)


def test_without_time_nothing_is_claimed() -> None:
    # 60 buffers cut from a rectangle: first fit wastes some, and no solver is done in a tenth of a second.
    problem = rectangle_cut(2, 60)
    result = allocate_by_mip(problem, time_limit_s=0.1)
    assert result.status == "feasible"
    assert result.peak_bytes is not None
    assert result.peak_bytes > 1000
    assert result.offsets is not None
    assert faults(problem, result.offsets, result.peak_bytes) == []
