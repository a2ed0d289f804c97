"""Buffers put together before the search: a plan of the boxes is a plan of the buffers, and one block is one again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.allocation import AllocationProblem, Buffer, allocate, faults
from mappers.planner.allocation.merging import merge_buffers
from mappers.planner.allocation.sections import contention
from tests.mappers.planner.allocation.exhaustive import random_problem, rectangle_cut


def plain(*rows: tuple[int, int, int]) -> AllocationProblem:
    return AllocationProblem("plain", tuple(Buffer(f"b{i}", *row) for i, row in enumerate(rows)))


def test_a_chain_and_a_stack_become_one_box() -> None:
    # 2 bytes that live on as another 2 bytes, under 3 bytes alive over both: a box of 5 bytes, nothing wasted.
    merged = merge_buffers(plain((0, 4, 2), (4, 9, 2), (0, 9, 3)), 5)
    assert [(box.lower, box.upper, box.size) for box in merged.problem.buffers] == [(0, 9, 5)]
    offsets = merged.offsets([0])
    assert offsets[0] == offsets[1]
    assert sorted((offsets[0], offsets[2])) in ([0, 2], [0, 3])


def test_waste_is_tolerated_only_so_far() -> None:
    # Stacked, 10 bytes for 10 ticks and 10 for 9 waste 10 of 200: 5 %.
    two = plain((0, 10, 10), (0, 9, 10))
    assert len(merge_buffers(two, 100, tolerance=0.04).problem.buffers) == 2
    assert len(merge_buffers(two, 100, tolerance=0.05).problem.buffers) == 1


def test_a_box_that_would_not_fit_is_not_made() -> None:
    # In the tick that the box wastes, another buffer needs the room.
    three = plain((0, 10, 10), (0, 9, 10), (9, 10, 10))
    assert len(merge_buffers(three, 20, tolerance=0.05, most_chance=0.0).problem.buffers) == 3


def test_what_has_a_pin_a_gap_or_an_alignment_stays() -> None:
    buffers = (Buffer("a", 0, 4, 2, 2), Buffer("b", 0, 4, 2, pinned=0), Buffer("c", 0, 4, 2))
    merged = merge_buffers(AllocationProblem("mixed", buffers), 100, tolerance=1.0)
    assert merged.problem.buffers == buffers


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from((0.0, 0.1, 0.5)), st.integers(0, 5))
def test_a_plan_of_the_boxes_is_a_plan_of_the_buffers(seed: int, tolerance: float, shuffle: int) -> None:
    problem = random_problem(seed, most=12, plain=True)
    ceiling = contention(problem)[0] + seed % 7
    merged = merge_buffers(problem, ceiling, tolerance=tolerance, seed=shuffle)
    assert contention(merged.problem)[0] <= ceiling
    plan = allocate(merged.problem, time_limit_s=5)
    assert plan.offsets is not None
    offsets = merged.offsets(plan.offsets)
    assert not faults(problem, offsets)
    assert problem.peak_bytes(offsets) <= (plan.peak_bytes or 0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_thousand_buffers_cut_from_one_block_are_put_together_again(seed: int) -> None:
    # With a hundred thousand times and sizes hardly anything matches by chance.
    problem = rectangle_cut(seed, 1000, time=100_000, height=100_000)
    result = allocate(problem, time_limit_s=120)
    assert result.status == "proved_optimal"
    assert result.peak_bytes == 100_000
