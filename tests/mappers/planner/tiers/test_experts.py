"""Experts on devices against every possibility, and against bounds where those are too many."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.tiers.experts import least_heaviest, place_experts
from workloads.errors import InfeasibleError, InputError


def least_of_all(loads: list[float], devices: int, slots: int) -> float:
    """Every choice of copies; loads divide so that a set of devices carries what has copies nowhere else."""
    places = [
        frozenset(chosen) for size in range(1, devices + 1) for chosen in itertools.combinations(range(devices), size)
    ]
    best = float("inf")
    for where in itertools.product(places, repeat=len(loads)):
        if any(sum(device in chosen for chosen in where) > slots for device in range(devices)):
            continue
        heaviest = max(
            sum(load for load, chosen in zip(loads, where, strict=True) if chosen <= group) / len(group)
            for group in places
        )
        best = min(best, heaviest)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_few_experts_are_placed_best(seed: int) -> None:
    draw = random.Random(seed)
    devices = draw.choice((2, 3))
    loads = [float(draw.randint(0, 20)) for _ in range(draw.randint(2, 5))]
    slots = draw.randint(-(-len(loads) // devices), 4)
    found = place_experts(loads, devices, slots)
    expected = least_of_all(loads, devices, slots)
    assert found.heaviest == pytest.approx(expected, abs=1e-6)
    assert found.status == "proved_optimal"
    assert found.bound <= expected + 1e-6


def test_by_hand() -> None:
    """8, 4, 2, 2 on two devices: with room for two each, 8 + 2; with room for three, 8 is divided and both have 8."""
    assert place_experts([8, 4, 2, 2], 2, 2).heaviest == pytest.approx(10.0)
    spare = place_experts([8, 4, 2, 2], 2, 3)
    assert spare.heaviest == pytest.approx(8.0)
    assert spare.status == "proved_optimal"


def test_many_experts_are_near_the_bound() -> None:
    """256 experts of loads like 1 / rank on 32 devices of 8: the busiest alone is above the mean. With a ninth slot
    copies even it out; longest processing time first is within 4/3 of the best (Graham, 1969)."""
    loads = [1 / rank for rank in range(1, 257)]
    single, copied = place_experts(loads, 32, 8), place_experts(loads, 32, 9)
    mean = sum(loads) / 32
    assert single.bound >= 1.0
    assert copied.heaviest < single.heaviest
    assert copied.heaviest <= 4 / 3 * mean
    assert copied.bound == pytest.approx(mean, rel=0.2)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=24), st.integers(1, 5), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_placement_is_one(loads: list[float], devices: int, more: int) -> None:
    slots = -(-len(loads) // devices) + more
    found = place_experts(loads, devices, slots, time_limit_s=0.2)
    carried = [0.0] * devices
    copies = [0] * devices
    for load, row in zip(loads, found.copies, strict=True):
        assert sum(share for _, share in row) == pytest.approx(1.0)
        for device, share in row:
            carried[device] += share * load
            copies[device] += 1
    assert max(copies) <= slots
    assert max(carried) == pytest.approx(found.heaviest, rel=1e-6, abs=1e-6)
    assert found.heaviest >= least_heaviest(loads, devices, slots) * (1 - 1e-6) - 1e-6
    assert found.heaviest >= sum(loads) / devices * (1 - 1e-6) - 1e-6


def test_wrong_questions() -> None:
    with pytest.raises(InfeasibleError, match="room for one copy of each expert: needs 5 copies, has 4 copies"):
        place_experts([1.0] * 5, 2, 2)
    with pytest.raises(InputError, match="a load of -1; expected 0 or more"):
        place_experts([-1.0], 1, 1)
    with pytest.raises(InputError, match="at least one of each"):
        place_experts([], 1, 1)
