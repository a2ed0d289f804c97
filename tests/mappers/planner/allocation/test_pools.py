"""Several memories: the preferred one first, what is missing where nothing fits, and the same answer as trying all."""

from __future__ import annotations

from itertools import product

import pytest

from mappers.planner.allocation import AllocationProblem, Buffer, faults
from mappers.planner.allocation.pools import PooledAllocation, allocate_pools
from tests.mappers.planner.allocation.exhaustive import lowest_peak, random_problem
from workloads.errors import InputError


def holds(problem: AllocationProblem, result: PooledAllocation) -> None:
    """Pool by pool the plan is verified and within its capacity."""
    assert result.pool is not None
    assert result.offsets is not None
    for name, capacity in result.capacity_bytes.items():
        inside = [i for i, pool in enumerate(result.pool) if pool == name]
        part = AllocationProblem(name, tuple(problem.buffers[i] for i in inside))
        offsets = [result.offsets[i] for i in inside]
        assert not faults(part, offsets)
        assert part.peak_bytes(offsets) <= capacity
        assert result.peak_bytes[name] == part.peak_bytes(offsets)
    for buffer, pool in zip(problem.buffers, result.pool, strict=True):
        assert not buffer.pools or pool in buffer.pools


def test_what_fits_the_preferred_pool_goes_there() -> None:
    # 8 bytes of SRAM: of three buffers alive together the two that fill it stay, the cheapest one goes out.
    buffers = (Buffer("a", 0, 10, 5), Buffer("b", 0, 10, 3), Buffer("c", 0, 10, 2))
    result = allocate_pools(AllocationProblem("three", buffers), {"sram": 8, "dram": 100})
    assert result.status == "proved_optimal"
    assert result.pool == ("sram", "sram", "dram")
    assert result.cost_byte_ticks == result.cost_bound_byte_ticks == 20
    holds(AllocationProblem("three", buffers), result)


def test_a_buffer_goes_only_where_it_may() -> None:
    buffers = (Buffer("a", 0, 10, 5, pools=("dram",)), Buffer("b", 0, 10, 3))
    result = allocate_pools(AllocationProblem("two", buffers), {"sram": 8, "dram": 100})
    assert result.pool == ("dram", "sram")


def test_infeasible_says_what_is_missing() -> None:
    # 12 bytes alive at once in 6 + 4 bytes: 2 are missing, wherever; one buffer alone must stay in the smaller pool.
    buffers = (Buffer("a", 0, 4, 6), Buffer("b", 0, 4, 6, pools=("small",)))
    result = allocate_pools(AllocationProblem("two", buffers), {"large": 6, "small": 4})
    assert result.status == "infeasible"
    assert result.missing_bytes == {"small": 2}
    assert result.offsets is None


@pytest.mark.parametrize(
    ("buffer", "says"),
    [
        (Buffer("a", 0, 4, 6, pools=("sarm",)), "unknown pool 'sarm'"),
        (Buffer("a", 0, 4, 6, pinned=0), "a is pinned at 0 and may go to 2 pools"),
    ],
)
def test_pools_that_are_not_there_and_pins_without_a_pool(buffer: Buffer, says: str) -> None:
    with pytest.raises(InputError, match=says):
        allocate_pools(AllocationProblem("one", (buffer,)), {"sram": 8, "dram": 100})


@pytest.mark.parametrize("seed", range(12))
def test_equal_to_trying_every_pool_of_every_buffer(seed: int) -> None:
    """The golden twin: every choice of pools, each packed by enumerating orders."""
    problem = random_problem(seed, most=5, plain=True)
    peak = lowest_peak(problem)
    assert peak is not None
    capacity = {"near": max(1, peak // 2), "far": max(1, 3 * peak // 4)}
    best = None
    for choice in product((0, 1), repeat=len(problem.buffers)):
        parts = [
            AllocationProblem("part", tuple(b for b, at in zip(problem.buffers, choice, strict=True) if at == pool))
            for pool in (0, 1)
        ]
        peaks = [lowest_peak(part) or 0 for part in parts]
        if all(top <= room for top, room in zip(peaks, capacity.values(), strict=True)):
            cost = sum(b.size * (b.upper - b.lower) for b in parts[1].buffers)
            best = cost if best is None else min(best, cost)
    result = allocate_pools(problem, capacity, time_limit_s=10)
    if best is None:
        assert result.status in ("infeasible", "unknown")
        return
    holds(problem, result)
    assert result.cost_byte_ticks is not None
    assert result.cost_bound_byte_ticks <= best + 1e-6
    if result.status == "proved_optimal":
        assert result.cost_byte_ticks == best
    else:
        assert result.cost_byte_ticks >= best
