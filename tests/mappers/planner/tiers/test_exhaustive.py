"""Small problems against every possibility: whichever room patterns, stalls in whole seconds, transfers as a fluid."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from mappers.planner.tiers import Interval, Route, Tensor, Tier, TierProblem, faults, place_over_tiers


def least_latency_s(problem: TierProblem) -> float | None:
    """The least latency of a cyclic problem with one far tier that holds all and a link of 1 byte per second.

    Every tensor's room in the near tier is any set of intervals that has its reads. A stretch of room that is not the
    whole cycle is filled in its intervals before the first read. Transfers fit their windows when, for every set of
    intervals, the bytes that must move within it are no more than its seconds (Hall's condition). Sizes and durations
    are whole numbers, so some best plan stalls by whole seconds.
    """
    length = len(problem.intervals)
    near = problem.tier[problem.compute].capacity_bytes
    durations = [interval.duration_s for interval in problem.intervals]
    subsets = [frozenset(at for at in range(length) if bits >> at & 1) for bits in range(1 << length)]
    best: float | None = None
    choices = [
        [subset for subset in subsets if set(tensor.reads) <= subset and (subset or not tensor.reads)]
        for tensor in problem.tensors
    ]
    for rooms in itertools.product(*choices):
        held = [
            sum(t.bytes for t, room in zip(problem.tensors, rooms, strict=True) if at in room) for at in range(length)
        ]
        if any(size + i.arena_bytes > near for size, i in zip(held, problem.intervals, strict=True)):
            continue
        jobs = [
            job for tensor, room in zip(problem.tensors, rooms, strict=True) for job in windows(tensor, room, length)
        ]
        if any(not window for _, window in jobs):
            continue
        needed = {
            subset: sum(size for size, window in jobs if window <= subset) - sum(durations[at] for at in subset)
            for subset in subsets
        }
        # The least sum of stalls s with s(A) >= needed(A) for every set A of intervals, all stalls at least 0.
        most = int(max(0, *needed.values()))
        if best is not None and sum(durations) + most >= best:
            continue
        for total in itertools.count(most):
            if any(
                all(sum(stalls[at] for at in subset) >= amount for subset, amount in needed.items())
                for stalls in compositions(total, length)
            ):
                value = sum(durations) + total
                best = value if best is None else min(best, value)
                break
    return best


def windows(tensor: Tensor, room: frozenset[int], length: int) -> list[tuple[float, frozenset[int]]]:
    """Bytes and intervals for each time the tensor must come in."""
    if len(room) == length or not room:
        return []
    found = []
    for start in sorted(room):
        if (start - 1) % length in room:
            continue
        run = list(itertools.takewhile(lambda at: at in room, ((start + step) % length for step in range(length))))
        before = list(itertools.takewhile(lambda at: at not in tensor.reads, run))
        if len(before) < len(run):
            found.append((tensor.bytes, frozenset(before)))
    return found


def compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    if parts == 1:
        return [(total,)]
    return [(first, *rest) for first in range(total + 1) for rest in compositions(total - first, parts - 1)]


def random_problem(seed: int, intervals: int, tensors: int) -> TierProblem:
    draw = random.Random(seed)
    parts = []
    for number in range(tensors):
        reads = sorted(draw.sample(range(intervals), draw.choice((1, 1, 1, 2))))
        parts.append(Tensor(f"t{number}", float(draw.randint(1, 5)), tuple(reads)))
    steps = tuple(
        Interval(f"i{at}", float(draw.randint(0, 4)), arena_bytes=float(draw.randint(0, 1))) for at in range(intervals)
    )
    capacity = float(draw.randint(5, 14))
    route = Route("far", "near", (("link", 1.0),))
    return TierProblem(
        f"random {seed}", "near", (Tier("near", capacity), Tier("far", 1e3)), (route,), steps, tuple(parts)
    )


@pytest.mark.parametrize("seed", range(20))
def test_what_is_called_optimal_is(seed: int) -> None:
    problem = random_problem(seed, 3, 3 + seed % 2)
    expected = least_latency_s(problem)
    result = place_over_tiers(problem, "latency", time_limit_s=20)
    if expected is None:
        assert result.status == "infeasible"
        return
    assert result.status == "proved_optimal"
    assert result.plan is not None
    assert faults(problem, result.plan) == []
    assert result.value == pytest.approx(expected, rel=1e-5)
    assert result.bound <= expected * (1 + 1e-9)


def with_near(problem: TierProblem, capacity: float) -> TierProblem:
    return replace(problem, tiers=(Tier("near", capacity), *problem.tiers[1:]))


@pytest.mark.parametrize("seed", range(10))
def test_what_is_missing_is_the_least_that_would_do(seed: int) -> None:
    problem = with_near(random_problem(seed, 3, 3), 1.0)
    result = place_over_tiers(problem, "latency", time_limit_s=20)
    least = next(size for size in itertools.count(1) if least_latency_s(with_near(problem, float(size))) is not None)
    if least == 1:
        assert result.plan is not None
        return
    assert result.status == "infeasible"
    assert result.extra_bytes == pytest.approx(least - 1.0, abs=1e-4)
    assert result.extra_by_tier == (("near", pytest.approx(least - 1.0, abs=1e-4)),)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_what_is_called_optimal_is_for_more(seed: int) -> None:
    test_what_is_called_optimal_is(seed)
    problem = random_problem(seed, 4, 3)
    expected = least_latency_s(problem)
    result = place_over_tiers(problem, "latency", time_limit_s=20)
    assert (result.value is None) == (expected is None)
    assert expected is None or result.value == pytest.approx(expected, rel=1e-5)
