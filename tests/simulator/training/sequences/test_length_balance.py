"""Batches of unlike lengths on ranks: closed forms, an exhaustive search on tiny cases, what holds of every plan."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.training.sequences.length_balance import (
    LengthCosts,
    Plan,
    Unit,
    balanced,
    hybrid_units,
    in_order,
    mean_s,
    offloaded_share,
    pack,
    static_units,
    unit_s,
)
from workloads.errors import InputError

COSTS = LengthCosts(token_s=1.0, pair_s=0.5, passed_s=0.25, kept_bytes=8.0, host_rate=4.0, layers=4)
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=12)


def best_s(units: list[Unit], count: int) -> float:
    """The shortest step over all orders of units and all choices of their ranks."""
    best = np.inf
    for order in permutations(units):
        for choice in product(*(list(combinations(range(count), unit.ranks)) for unit in order)):
            best = min(best, float(Plan(tuple(order), tuple(choice)).finish_s(COSTS, count).max()))
    return float(best)


@settings(max_examples=25, deadline=None)
@given(units=st.lists(st.builds(Unit, st.tuples(st.integers(1, 9)), st.integers(1, 2)), min_size=1, max_size=4))
def test_balanced_against_all_plans(units: list[Unit]) -> None:
    """Never better than the best of all, nor worse than twice (list scheduling of parallel tasks is within a factor
    of 2: Garey and Graham, 1975)."""
    found = float(balanced(units, 3, COSTS).finish_s(COSTS, 3).max())
    best = best_s(units, 3)
    assert best - 1e-9 <= found <= 2 * best + 1e-9


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, count=st.integers(4, 9))
def test_balanced_single_ranks_within_grahams_bound(lengths: list[int], count: int) -> None:
    """Longest first on equal machines: at most 4/3 - 1/(3 m) of the best (Graham, 1969), which is at least the mean and
    the longest."""
    units = [Unit((length,), 1) for length in lengths]
    found = float(balanced(units, count, COSTS).finish_s(COSTS, count).max())
    each = [unit_s(unit, COSTS) for unit in units]
    least = max(sum(each) / count, max(each))
    assert least - 1e-9 <= found
    if len(units) <= count:
        assert found == max(each)


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, capacity=st.sampled_from([10, 16]))
def test_tokens_are_conserved(lengths: list[int], capacity: int) -> None:
    cp = 6
    for units in (static_units(lengths, capacity, cp), hybrid_units(lengths, capacity),
                  hybrid_units(lengths, capacity, COSTS)):  # fmt: skip
        assert Counter(length for unit in units for length in unit.lengths) == Counter(lengths)
        for plan in (in_order(units, 12), balanced(units, 12, COSTS)):
            assert Counter(plan.units) == Counter(units)
            assert all(len(set(ranks)) == unit.ranks for unit, ranks in zip(plan.units, plan.ranks, strict=True))
            finish = plan.finish_s(COSTS, 12)
            assert (finish >= plan.busy_s(COSTS, 12) - 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS)
def test_work_of_ranks_does_not_depend_on_the_plan(lengths: list[int]) -> None:
    """Without exchanges the ranks together work as long however sequences are cut."""
    free = LengthCosts(1.0, 0.5, 0.0, 8.0, 4.0, 4)
    units = [static_units(lengths, 10, 6), hybrid_units(lengths, 10), hybrid_units(lengths, 10, free)]
    total = [in_order(each, 12).busy_s(free, 12).sum() for each in units]
    np.testing.assert_allclose(total, total[0])


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS)
def test_no_unit_is_slower_than_in_the_static_mesh(lengths: list[int]) -> None:
    """A sequence costs its ranks together at most what it costs on all of the mesh's: fewer ranks pass on less."""
    for unit in hybrid_units(lengths, 10):
        alone = Unit(unit.lengths, 6)
        assert unit.ranks * unit_s(unit, COSTS) <= 6 * unit_s(alone, COSTS) + 1e-9


def test_equal_long_sequences_are_the_static_mesh() -> None:
    """Where every sequence needs all ranks of a group, both plans are one."""
    lengths = [60] * 4
    assert static_units(lengths, 10, 6) == hybrid_units(lengths, 10)
    assert in_order(static_units(lengths, 10, 6), 12).finish_s(COSTS, 12).max() == 2 * unit_s(Unit((60,), 6), COSTS)


def test_unit_by_hand() -> None:
    """Lengths 4 and 2 on 2 ranks: 3 tokens each, 13 pairs of which half, and 3 tokens passed once."""
    assert unit_s(Unit((4, 2), 2), COSTS) == 3 + 13 / 2 * 0.5
    slow = LengthCosts(1.0, 0.5, 2.0, 8.0, 4.0, 4)
    assert unit_s(Unit((4, 2), 2), slow) == 3 + 3 * 2.0
    contended = replace(slow, contention=0.5)
    assert unit_s(Unit((4, 2), 2), contended) == 3 + 3 * 2.0 + 0.5 * 13 / 2 * 0.5


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), max_size=30))
def test_pack_as_by_search(lengths: list[int]) -> None:
    bins: list[list[int]] = []
    for length in lengths:
        fitting = [each for each in bins if 20 - sum(each) >= length]
        if fitting:
            max(fitting, key=sum).append(length)
        else:
            bins.append([length])
    assert pack(lengths, 20) == [tuple(each) for each in bins]


def test_pack_takes_the_fullest_bin() -> None:
    assert pack([6, 3, 5, 1, 4], 10) == [(6, 3, 1), (5, 4)]
    with pytest.raises(InputError, match="11 tokens"):
        pack([11], 10)


def test_offloading_by_hand() -> None:
    """Of 60 tokens 60 + 915 s are worked, a third forward: 325 s send 1300 bytes of 480, so all but two of four layers'
    goes and 30 tokens' room is left: 3 ranks of 10. A slow host takes a tenth of that: (2 + 0.73 x 2) / 4 of 60."""
    assert offloaded_share(60, COSTS) == 1.0
    assert hybrid_units([60], 10, COSTS) == (Unit((60,), 3),)
    slow = LengthCosts(1.0, 0.5, 0.25, 8.0, 0.4, 4)
    assert offloaded_share(60, slow) == pytest.approx(130 / 480)
    assert hybrid_units([60], 10, slow) == (Unit((60,), 6),)


def test_no_more_is_offloaded_than_time_allows() -> None:
    """60 tokens work 975 s: on 3 ranks 325 s, on 4 243.75, on 6 162.5; passing on takes less."""
    assert hybrid_units([60], 10, COSTS, 325.0) == (Unit((60,), 3),)
    assert hybrid_units([60], 10, COSTS, 300.0) == (Unit((60,), 4),)
    assert hybrid_units([60], 10, COSTS, 1.0) == (Unit((60,), 6),)
    assert mean_s([Unit((60,), 6), Unit((4,), 1)], 10, COSTS) == pytest.approx((975 + 9) / 10)


def test_in_order_begins_anew_where_a_unit_does_not_fit() -> None:
    units = (Unit((1,), 2), Unit((1,), 1), Unit((1,), 2))
    assert in_order(units, 4).ranks == ((0, 1), (2,), (0, 1))
    with pytest.raises(InputError, match="5 ranks"):
        in_order((Unit((1,), 5),), 4)
