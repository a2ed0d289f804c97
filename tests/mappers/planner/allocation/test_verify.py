"""The verifier: good plans pass, and every plan that is spoilt in one place is rejected with the reason."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mappers.planner.allocation import AllocationProblem, Buffer, Gap, allocate, faults
from tests.mappers.planner.allocation.exhaustive import lowest_peak, random_problem, rectangle_cut

PAIR = AllocationProblem("pair", (Buffer("a", 0, 4, 8, alignment=4), Buffer("b", 2, 6, 8)))


def test_what_is_wrong_is_said() -> None:
    assert faults(PAIR, (0, 8), 16) == []
    assert faults(PAIR, (0,)) == ["1 offsets for 2 buffers"]
    assert faults(PAIR, (0, 7)) == ["a and b share the bytes 7 to 8 at time 2"]
    assert faults(PAIR, (2, 10)) == ["a at 2 is not aligned to 4"]
    assert faults(PAIR, (0, 9), 16) == ["b at 9 ends above 16"]
    assert faults(PAIR, (8, -1)) == ["b begins below 0"]
    pinned = AllocationProblem("pinned", (Buffer("a", 0, 4, 8, pinned=16),))
    assert faults(pinned, (0,)) == ["a at 0 is pinned at 16"]


def test_gaps_and_windows_count_as_they_are_held() -> None:
    buffers = (Buffer("a", 0, 9, 8, gaps=(Gap(3, 6), Gap(6, 9, (6, 8)))), Buffer("b", 3, 6, 8), Buffer("c", 6, 9, 6))
    problem = AllocationProblem("gaps", buffers)
    assert faults(problem, (0, 0, 0), 8) == []
    assert faults(problem, (0, 0, 1)) == ["a and c share the bytes 6 to 7 at time 6"]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.data())
def test_a_spoilt_plan_is_rejected(seed: int, data: st.DataObject) -> None:
    problem = random_problem(seed, 6)
    assume(lowest_peak(problem) is not None)
    result = allocate(problem)
    assert result.offsets is not None
    assert faults(problem, result.offsets, result.peak_bytes) == []
    place = data.draw(st.integers(0, len(problem.buffers) - 1))
    spoilt = list(result.offsets)
    # Onto a neighbour alive at the same time, where there is one without a gap; else below the ground.
    buffer = problem.buffers[place]
    near = [
        i
        for i, other in enumerate(problem.buffers)
        if i != place
        and not (buffer.gaps or other.gaps)
        and max(buffer.lower, other.lower) < min(buffer.upper, other.upper)
    ]
    spoilt[place] = spoilt[data.draw(st.sampled_from(near))] if near else -1
    assert faults(problem, spoilt)


def test_every_buffer_of_a_full_rectangle_is_held_in_place() -> None:
    # No waste: whichever buffer moves up by one meets another or leaves the capacity.
    problem = rectangle_cut(1, 50)
    offsets = allocate(problem).offsets
    assert offsets is not None
    for place in range(50):
        moved = [at + (i == place) for i, at in enumerate(offsets)]
        assert faults(problem, moved, 1000)
