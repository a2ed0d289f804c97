"""Request traces, and the caching allocator that replays them, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.planner.allocation import Buffer, allocate
from mappers.planner.allocation.caching import replay_requests
from mappers.planner.allocation.requests import Request, is_trace, parse_requests, problem_of, requests_of
from tests.mappers.planner.allocation.exhaustive import random_problem
from workloads.errors import InputError

MIB = 1 << 20


def replayed(text: str) -> tuple[int, int, int]:
    found = replay_requests(parse_requests(text))
    return found.segments, found.reserved_bytes, found.allocated_bytes


def test_lifetimes_are_places_in_the_trace() -> None:
    text = "malloc a 8\n\nmalloc b 16\nfree a 8\nmalloc a 4\nfree b\n"
    assert is_trace(text)
    assert not is_trace("id,lower,upper,size\n")
    problem = problem_of(parse_requests(text), "t")
    assert problem.buffers == (Buffer("a", 0, 2, 8), Buffer("b", 1, 4, 16), Buffer("a#2", 3, 5, 4))


def test_an_id_that_comes_back_takes_no_other_s_name() -> None:
    problem = problem_of(parse_requests("malloc a#2 8\nmalloc a 4\nfree a\nmalloc a 2\n"), "t")
    assert problem.buffers == (Buffer("a#2", 0, 4, 8), Buffer("a", 1, 2, 4), Buffer("a#3", 3, 4, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("malloc a\n", "t:1: 'malloc a' is not a request; expected malloc ID SIZE, or free ID SIZE"),
        ("malloc a 4\nmalloc a 4\n", "t:2: id: a is allocated already; expected a free before"),
        ("free a 4\n", "t:1: id: a is not allocated; expected a malloc before"),
        ("malloc a 4\nfree a 5\n", "t:2: size: a has 4 bytes, not 5; expected the size of its malloc"),
        ("malloc a -4\n", "t:1: size: '-4' is not a size; expected 0 to 2^56 bytes"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_requests(text, "t")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "segments", "reserved"),
    [
        ("malloc a 1\n", 1, 2 * MIB),  # a small segment
        (f"malloc a {MIB}\nmalloc b {MIB}\nmalloc c 1\n", 2, 4 * MIB),  # two of 1 MiB fill it
        (f"malloc a {MIB + 1}\n", 1, 20 * MIB),  # large, below 10 MiB
        (f"malloc a {10 * MIB}\n", 1, 10 * MIB),  # a segment of its own, already a multiple of 2 MiB
        (f"malloc a {11 * MIB}\n", 1, 12 * MIB),
        # Small and large do not share: the 18 MiB left are not used for a byte.
        (f"malloc a {2 * MIB}\nmalloc b 1\n", 2, 22 * MIB),
        # 19 MiB take a segment of 20; exactly 1 MiB left is not split off, so 2 MiB more need another.
        (f"malloc a {19 * MIB}\nmalloc b {2 * MIB}\n", 2, 40 * MIB),
        # 8 + 8 in one segment, 8 in the next; b's 8 join the 4 left beside it, so 9 fit.
        (f"malloc a {8 * MIB}\nmalloc b {8 * MIB}\nmalloc c {8 * MIB}\nfree b\nmalloc d {9 * MIB}\n", 2, 40 * MIB),
        # Best fit: 3 MiB go into the 4 left of the first segment, not the 18 left of the second, so 18 fit there.
        (
            f"malloc a {8 * MIB}\nmalloc b {8 * MIB}\nmalloc c {5 * MIB}\nmalloc d {3 * MIB}\nmalloc e {9 * MIB}\n"
            f"malloc f {6 * MIB}\n",
            2,
            40 * MIB,
        ),
    ],
)
def test_segments_by_hand(text: str, segments: int, reserved: int) -> None:
    assert replayed(text)[:2] == (segments, reserved)


def test_fragmentation_is_what_is_never_asked_for() -> None:
    found = replay_requests(parse_requests(f"malloc a {5 * MIB}\n"))
    assert found.fragmentation == 0.75
    assert replay_requests(()).fragmentation == 0
    assert found.rounded_bytes == 5 * MIB
    assert replay_requests((Request(True, "a", 513),)).rounded_bytes == 1024


@given(st.integers(0, 100_000))
def test_a_plan_never_needs_more_than_the_allocator_reserves(seed: int) -> None:
    problem = random_problem(seed, plain=True)
    found = replay_requests(requests_of(problem))
    peak = allocate(problem).peak_bytes
    assert peak is not None
    assert found.allocated_bytes <= peak <= found.reserved_bytes
