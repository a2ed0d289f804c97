"""Fronts, hypervolumes and promotion against cases worked by hand and definitions written out."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dse.explore.front import Scores, front_places, hypervolume, reference_box
from dse.explore.promotion import crowding, front_ranks, promoted

INF = math.inf
UNIT = (np.zeros(2), np.ones(2))

# Few different values, so that ties and equal designs are common; infinity in a whole row where not feasible.
found_scores = st.integers(1, 3).flatmap(
    lambda objectives: arrays(
        np.float64, st.tuples(st.integers(1, 12), st.just(objectives)), elements=st.integers(0, 5).map(float)
    )
)


def dominates(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return bool((one <= other).all() and (one < other).any())


def front_by_definition(found: Scores) -> list[tuple[float, ...]]:
    feasible = [point for point in found if np.isfinite(point).all()]
    kept = [point for point in feasible if not any(dominates(other, point) for other in feasible)]
    return sorted({tuple(point.tolist()) for point in kept})


def volume_by_cells(found: Scores, worst: float) -> float:
    """The dominated volume of points below ``worst`` in every objective: cell by cell between their coordinates."""
    edges = [sorted({*column.tolist(), worst}) for column in found.T]
    total = 0.0
    for cell in product(*(range(len(edge) - 1) for edge in edges)):
        low = np.array([edge[at] for edge, at in zip(edges, cell, strict=True)])
        size = np.array([edge[at + 1] - edge[at] for edge, at in zip(edges, cell, strict=True)])
        if any((point <= low).all() for point in found):
            total += float(size.prod())
    return total


def test_a_front_by_hand() -> None:
    found = np.array([[3.0, 1.0], [1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [INF, INF], [2.0, 2.0]])
    assert front_places(found).tolist() == [1, 2, 0]  # of the two equal designs the first
    assert front_places(found[4:5]).tolist() == []
    assert front_places(found[:0]).tolist() == []


@settings(max_examples=100, deadline=None)
@given(found=found_scores, data=st.data())
def test_a_front_is_what_its_definition_says_in_any_order(found: Scores, data: st.DataObject) -> None:
    found[np.array(data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found))))] = INF
    order = data.draw(st.permutations(range(len(found))))
    for rows in (found, found[order]):
        assert [tuple(point) for point in rows[front_places(rows)].tolist()] == front_by_definition(found)


def test_hypervolumes_by_hand() -> None:
    # The box reaches from 0 to 1, its worst corner moved to 1.1: (1.1 - x)(1.1 - y) / 1.21, overlaps counted once.
    assert hypervolume(np.array([[0.0, 0.0]]), UNIT) == pytest.approx(1.0)
    assert hypervolume(np.array([[0.5, 0.5]]), UNIT) == pytest.approx(0.36 / 1.21)
    assert hypervolume(np.array([[0.0, 1.0], [1.0, 0.0]]), UNIT) == pytest.approx((0.11 + 0.11 - 0.01) / 1.21)
    assert hypervolume(np.array([[0.5, 0.5], [0.6, 0.5], [INF, INF]]), UNIT) == pytest.approx(0.36 / 1.21)
    assert hypervolume(np.array([[INF, INF]]), UNIT) == 0.0
    assert hypervolume(np.empty((0, 2)), UNIT) == 0.0


def test_a_box_above_zero_is_logarithmic_in_that_objective_alone() -> None:
    box = (np.array([1.0, -1.0]), np.array([100.0, 1.0]))
    # 10 is half-way from 1 to 100, 0 half-way from -1 to 1.
    assert hypervolume(np.array([[10.0, 0.0]]), box) == pytest.approx(0.36 / 1.21)


def test_a_box_of_one_point_is_filled_by_it() -> None:
    found = np.array([[3.0, 4.0]])
    box = reference_box(found)
    assert box is not None
    assert hypervolume(found, box) == pytest.approx(1.0)
    assert reference_box(np.array([[INF, INF]])) is None
    assert hypervolume(found, None) == 0.0


@settings(max_examples=60, deadline=None)
@given(found=found_scores, data=st.data())
def test_a_hypervolume_is_the_volume_of_its_cells_in_any_order(found: Scores, data: st.DataObject) -> None:
    box = (np.zeros(found.shape[1]), np.full(found.shape[1], 5.0))
    wanted = volume_by_cells(found / 5, 1.1) / 1.1 ** found.shape[1]
    order = data.draw(st.permutations(range(len(found))))
    assert hypervolume(found, box) == pytest.approx(wanted)
    assert hypervolume(found[order], box) == pytest.approx(wanted)
    # More designs never dominate less, and the front alone dominates as much as all.
    shares = [hypervolume(found[:count], box) for count in range(len(found) + 1)]
    assert all(after >= before - 1e-12 for before, after in pairwise(shares))
    assert hypervolume(found[front_places(found)], box) == pytest.approx(wanted)


def test_ranks_by_hand() -> None:
    found = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 1.5], [3.0, 3.0], [INF, INF], [1.0, 1.0]])
    assert front_ranks(found).tolist() == [0, 1, 1, 2, -1, 0]


def test_crowding_by_hand() -> None:
    # Along x from 0 to 10, along y from 10 to 0: the inner ones have (5 - 0)/10 + (10 - 4)/10 and (10 - 1)/10 + 6/10.
    found = np.array([[0.0, 10.0], [1.0, 6.0], [5.0, 4.0], [10.0, 0.0]])
    assert crowding(found).tolist() == pytest.approx([INF, 0.5 + 0.6, 0.9 + 0.6, INF])


def test_promotion_by_hand() -> None:
    front = [[0.0, 10.0], [1.0, 6.0], [5.0, 4.0], [10.0, 0.0]]
    behind = [[11.0, 11.0], [12.0, 12.0]]
    found = np.array([*behind, [INF, INF], *front])
    # Six are feasible. Half are three of the front: its ends, then the less crowded of the inner ones.
    assert promoted(found, 0.5).tolist() == [3, 5, 6]
    assert promoted(found, 4 / 6).tolist() == [3, 4, 5, 6]
    assert promoted(found, 5 / 6).tolist() == [0, 3, 4, 5, 6]
    assert promoted(found, 1.0).tolist() == [0, 1, 3, 4, 5, 6]
    assert promoted(found, 1e-9).tolist() == [3]  # one at least; of equals the first proposed
    assert promoted(found[2:3], 0.5).tolist() == []


@settings(max_examples=60, deadline=None)
@given(found=found_scores, share=st.floats(0.01, 1.0))
def test_what_is_promoted_is_never_dominated_by_what_is_not(found: Scores, share: float) -> None:
    chosen = promoted(found, share)
    assert len(chosen) == math.ceil(share * len(found))
    others = np.setdiff1d(np.arange(len(found)), chosen)
    assert not any(dominates(found[other], found[at]) for other in others for at in chosen)
