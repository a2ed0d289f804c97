"""Allocation against every order written out, against problems whose lowest peak is known, and its statuses."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mappers.planner.allocation import Allocation, AllocationProblem, Buffer, Gap, allocate, faults
from mappers.planner.allocation.csv_format import read_csv
from mappers.planner.allocation.kernel import EXHAUSTED, FITS
from mappers.planner.allocation.search import WAYS, Prober
from mappers.planner.allocation.sections import instance_of, least_peak_bytes, unit_bytes
from tests.mappers.planner.allocation.exhaustive import lowest_peak, random_problem, rectangle_cut
from tests.reference_data import reference_file
from workloads.errors import InputError

CAPACITY = 1_048_576
BOUND_MET = {"C": 1_039_360}  # the other lowest peaks that are known are the capacity itself
OPEN = {"D": 986_112, "J": 989_184}  # contention: below the capacity, and no plan that low is known

# Buffers whose sizes any first fit by size wastes: contention 10 at every time, and a plan of 10.
KNOT = AllocationProblem(
    "knot",
    (
        Buffer("a", 0, 4, 4),
        Buffer("b", 0, 2, 6),
        Buffer("c", 2, 6, 3),
        Buffer("d", 2, 4, 3),
        Buffer("e", 4, 6, 7),
    ),
)


def from_csv(*rows: tuple[int, int, int]) -> AllocationProblem:
    return AllocationProblem("rows", tuple(Buffer(f"b{i}", *row) for i, row in enumerate(rows)))


def holds(problem: AllocationProblem, result: Allocation) -> None:
    assert result.offsets is not None
    assert faults(problem, result.offsets, result.peak_bytes) == []


# Known answers


def test_the_example_of_minimalloc() -> None:
    # Its README: five buffers, capacity 12; 4 + 4 + 4 bytes are alive at time 3.
    problem = from_csv((0, 3, 4), (3, 9, 4), (0, 9, 4), (9, 21, 4), (0, 21, 4))
    result = allocate(problem)
    assert (result.status, result.peak_bytes, result.lower_bound_bytes, result.gap) == ("proved_optimal", 12, 12, 0)
    assert "time 0" in result.certificate
    holds(problem, result)


def test_no_buffers_and_buffers_without_bytes() -> None:
    assert allocate(AllocationProblem("none", ())).peak_bytes == 0
    empty = AllocationProblem("empty", (Buffer("a", 0, 4, 0), Buffer("b", 0, 4, 0, pinned=64)))
    result = allocate(empty, 0)
    assert (result.status, result.peak_bytes, result.offsets) == ("proved_optimal", 0, (0, 64))


def test_buffers_that_never_meet_lie_on_each_other() -> None:
    result = allocate(from_csv((0, 2, 7), (2, 5, 9), (5, 6, 3)))
    assert (result.peak_bytes, result.offsets) == (9, (0, 0, 0))


def test_alignment_costs_what_it_must() -> None:
    # 5 bytes below leave the 8-aligned buffer no place before 8; the other way round 8 + 5 = 13 is lower than 16.
    buffers = (Buffer("a", 0, 2, 5), Buffer("b", 0, 2, 8, alignment=8))
    assert allocate(AllocationProblem("aligned", buffers)).peak_bytes == 13


def test_pins_are_kept_and_filled_under() -> None:
    # The pin leaves 4 bytes below it and 16 is its top: 4 fit below, 5 more must go above.
    buffers = (Buffer("pin", 0, 2, 12, pinned=4), Buffer("low", 0, 2, 4), Buffer("high", 0, 2, 5))
    problem = AllocationProblem("pinned", buffers)
    result = allocate(problem)
    assert (result.status, result.peak_bytes, result.offsets) == ("proved_optimal", 21, (4, 0, 16))
    holds(problem, result)


def test_pins_onto_each_other_are_refused() -> None:
    buffers = (Buffer("a", 0, 2, 8, pinned=0), Buffer("b", 1, 3, 8, pinned=4))
    with pytest.raises(InputError, match="a and b are pinned onto each other; expected pinned buffers that are apart"):
        allocate(AllocationProblem("clash", buffers))


def test_a_gap_makes_room() -> None:
    whole = from_csv((0, 9, 8), (3, 6, 8))
    gap = AllocationProblem("gap", (Buffer("a", 0, 9, 8, gaps=(Gap(3, 6),)), Buffer("b", 3, 6, 8)))
    assert allocate(whole).peak_bytes == 16
    assert allocate(gap).peak_bytes == 8


def test_a_window_keeps_its_bytes() -> None:
    # While a holds only its bytes 6 to 8, six bytes below are free: b of six fits there, b of seven does not.
    for size, peak in ((6, 8), (7, 9)):
        buffers = (Buffer("a", 0, 9, 8, gaps=(Gap(3, 6, (6, 8)),)), Buffer("b", 3, 6, size))
        problem = AllocationProblem("window", buffers)
        result = allocate(problem)
        assert (result.status, result.peak_bytes) == ("proved_optimal", peak)
        holds(problem, result)


def test_windows_that_the_search_cannot_see_are_left_to_the_program() -> None:
    # Two L shapes that lie inside each other: 8 bytes hold both, as whole buffers they need 12.
    buffers = (
        Buffer("a", 0, 4, 6, gaps=(Gap(0, 2, (0, 2)),)),
        Buffer("b", 0, 4, 6, gaps=(Gap(2, 4, (4, 6)),)),
    )
    problem = AllocationProblem("interlocked", buffers)
    result = allocate(problem, 8)
    assert (result.status, result.peak_bytes) == ("proved_optimal", 8)
    holds(problem, result)
    assert allocate(problem, 7).status == "infeasible"


def test_hints_are_kept_where_they_cost_nothing() -> None:
    buffers = (Buffer("a", 0, 2, 4, hint=8), Buffer("b", 0, 2, 4, hint=0), Buffer("c", 0, 2, 4))
    result = allocate(AllocationProblem("hints", buffers))
    assert (result.peak_bytes, result.offsets, result.hints_kept) == (12, (8, 0, 4), 2)
    far = AllocationProblem("far", (Buffer("a", 0, 2, 4, hint=100), Buffer("b", 0, 2, 4)))
    assert allocate(far).peak_bytes == 8


# Bounds and units


def test_the_bound_and_its_reason() -> None:
    assert least_peak_bytes(KNOT) == (10, "buffers alive at time 0 hold 10 bytes together")
    pinned = AllocationProblem("pinned", (Buffer("a", 0, 2, 4, pinned=12), Buffer("b", 0, 2, 4)))
    assert least_peak_bytes(pinned) == (16, "a is pinned up to 16")


def test_the_unit_divides_sizes_pins_and_alignments() -> None:
    assert unit_bytes((Buffer("a", 0, 1, 3072), Buffer("b", 0, 1, 5120))) == 1024
    assert unit_bytes((Buffer("a", 0, 1, 3072, alignment=4096), Buffer("b", 0, 1, 5120))) == 1024
    assert unit_bytes((Buffer("a", 0, 1, 3072, alignment=1536), Buffer("b", 0, 1, 5120))) == 512
    assert unit_bytes((Buffer("a", 0, 1, 3072, alignment=64), Buffer("b", 0, 1, 5120))) == 1024
    assert unit_bytes((Buffer("a", 0, 1, 3072, pinned=7), Buffer("b", 0, 1, 5120))) == 1


def test_sections_that_say_nothing_new_are_dropped() -> None:
    # Three lives that grow and shrink: only where b has begun and a ends, and where c has begun, is a section whole.
    instance = instance_of(from_csv((0, 4, 1), (1, 6, 1), (2, 3, 1), (5, 7, 1)))
    assert instance.members == ((0, 1, 2), (1, 3))


# Statuses


def test_infeasible_says_how_much_is_missing() -> None:
    result = allocate(KNOT, 9)
    assert (result.status, result.extra_bytes) == ("infeasible", (1, 1))
    assert not result.fits
    assert result.peak_bytes == 10


def test_infeasible_names_buffers_none_of_which_is_needless() -> None:
    # Alive together: 6, 4, 3 and 1. In 9 bytes the two largest are one too many, and either alone fits.
    problem = from_csv((0, 4, 1), (0, 4, 6), (0, 4, 3), (0, 4, 4), (4, 5, 9))
    assert allocate(problem, 9).crowd == ("b1", "b3")
    assert allocate(problem, 14).crowd == ()


def test_infeasible_by_search_is_proved_above_the_bound() -> None:
    # The three bytes under the pin hold no buffer of four: 3 + 4 + 4 = 11, though only 8 are alive.
    problem = AllocationProblem("pin", (Buffer("pin", 0, 2, 4, pinned=3), Buffer("b", 0, 2, 4)))
    result = allocate(problem, 10)
    assert (result.status, result.extra_bytes) == ("infeasible", (1, 1))
    assert "search under 10 bytes exhausted after" in result.certificate
    assert result.offsets == (3, 7)


def test_when_the_time_is_over_nothing_is_claimed() -> None:
    problem = rectangle_cut(0, 900)
    result = allocate(problem, 1000, time_limit_s=0.3)
    assert (result.status, result.stopped) == ("unknown", "time limit")
    assert result.extra_bytes[0] == 0
    assert result.peak_bytes is not None
    assert result.peak_bytes > 1000
    result = allocate(problem, time_limit_s=0.3)
    assert (result.status, result.stopped) == ("feasible", "time limit")
    assert result.gap is not None
    assert result.gap > 0


def test_an_interrupt_keeps_the_best_so_far() -> None:
    began = time.monotonic()
    result = allocate(rectangle_cut(0, 900), should_stop=lambda: time.monotonic() > began + 0.3)
    assert (result.status, result.stopped) == ("feasible", "interrupt")
    assert time.monotonic() - began < 20


def test_options_out_of_range() -> None:
    with pytest.raises(InputError, match="workers: 0 workers; expected at least 1"):
        allocate(KNOT, workers=0)
    with pytest.raises(InputError, match="capacity: -1 bytes; expected 0 or more"):
        allocate(KNOT, -1)
    with pytest.raises(InputError, match="time_limit: 0 seconds; expected more than 0"):
        allocate(KNOT, time_limit_s=0)


# Against every order


def check(seed: int, most: int) -> None:
    """The result, and each way of the search on its own at the lowest peak and one unit below."""
    problem = random_problem(seed, most, plain=seed % 3 == 0)
    lowest = lowest_peak(problem)
    if lowest is None:
        with pytest.raises(InputError, match="pinned onto each other"):
            allocate(problem)
        return
    result = allocate(problem)
    assert (seed, result.status, result.peak_bytes) == (seed, "proved_optimal", lowest)
    holds(problem, result)
    instance = instance_of(problem)
    with Prober(instance, 1, lambda: False) as prober:
        for place, way in enumerate(WAYS):
            for ceiling, expected in ((lowest // instance.unit, FITS), (lowest // instance.unit - 1, EXHAUSTED)):
                status, found = prober.probe_one(place, ceiling, 1_000_000)
                assert (seed, way, status) == (seed, way, expected)
                if found is not None:
                    offsets = np.zeros(len(problem.buffers), int)
                    offsets[list(instance.index)] = np.array(found) * instance.unit
                    assert faults(problem, offsets.tolist(), lowest) == []


def test_every_order_of_a_hundred_problems() -> None:
    for seed in range(100):
        check(seed, 6)


@pytest.mark.slow
def test_every_order_of_a_thousand_problems() -> None:
    for seed in range(100, 1100):
        check(seed, 7)


# Known optima


@pytest.mark.parametrize("count", [50, 100, 200])
def test_a_rectangle_cut_into_buffers_is_put_together_again(count: int) -> None:
    for seed in range(3):
        problem = rectangle_cut(seed, count)
        result = allocate(problem)
        assert (result.status, result.peak_bytes) == ("proved_optimal", 1000)
        holds(problem, result)


@pytest.mark.parametrize("name", list("ABCDEFGHIJK"))
def test_the_challenging_instances_fit(name: str) -> None:
    # google/minimalloc at 9f5cf81, benchmarks/challenging: all fit 1,048,576 bytes. Contention: our own sum over them.
    problem = read_csv(reference_file(f"minimalloc/{name}.1048576.csv"))
    result = allocate(problem, CAPACITY)
    holds(problem, result)
    assert result.peak_bytes is not None
    assert result.peak_bytes <= CAPACITY
    if name in OPEN:
        assert (result.status, result.lower_bound_bytes) == ("feasible", OPEN[name])
    else:
        lowest = BOUND_MET.get(name, CAPACITY)
        assert (result.status, result.peak_bytes, result.lower_bound_bytes) == ("proved_optimal", lowest, lowest)


def test_the_number_of_workers_changes_nothing() -> None:
    for name, capacity in (("E", CAPACITY), ("H", CAPACITY), ("C", None)):
        problem = read_csv(reference_file(f"minimalloc/{name}.1048576.csv"))
        one, many = allocate(problem, capacity), allocate(problem, capacity, workers=12)
        assert (one.offsets, one.status, one.nodes) == (many.offsets, many.status, many.nodes)
