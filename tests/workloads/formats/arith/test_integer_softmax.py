"""Streaming integer softmax: by hand, ITA's trap of the sum's width, and derived bounds against float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.formats.arith.integer_softmax import (
    integer_softmax,
    integer_softmax_bounds,
    integer_softmax_sum,
    integer_softmax_sum_bits,
)


def test_by_hand() -> None:
    # Octaves of one step. Block (0, 1): maximum 1, sum 256 >> 1 + 256 = 384. Block (3, -20): rise 2, sum 96 + 256 + 0.
    total, maximum, rises = integer_softmax_sum([0, 1, 3, -20], block=2, fraction=0)
    assert (total, maximum, rises) == (352, 3, 1)
    # 65,280 / 352 = 185.45: 185 for the maximum, shifted by 2 and 3 for 1 and 0.
    assert integer_softmax([0, 1, 3, -20], block=2, fraction=0).tolist() == [23, 46, 185, 0]


def test_octaves_are_rounded_half_up() -> None:
    # 4 steps an octave: distances 1, 2, 5, 6 are 0, 1, 1, 2 octaves (2 and 6 lie half-way).
    total, _, _ = integer_softmax_sum([10, 9, 8, 5, 4], block=5, fraction=2)
    assert total == 256 + 256 + 128 + 128 + 64


def test_terms_are_floored_one_by_one() -> None:
    # 9 octaves below the maximum nothing is left of an element, nor of 512 (floored as one sum they would add 256).
    total, _, _ = integer_softmax_sum([9] + [0] * 512, block=16, fraction=0)
    assert total == 256
    # As a rise they are floored together: 16 * 256 >> 9 = 8.
    total, _, _ = integer_softmax_sum([0] * 16 + [9], block=16, fraction=0)
    assert total == 256 + 8


def test_equal_scores_reach_the_largest_sum() -> None:
    # ITA keeps 19 bits for rows of up to 2,048: one too few for 2,048 equal scores, whose sum is 2^19.
    total, _, _ = integer_softmax_sum([5] * 2048, block=16, fraction=3)
    assert total == 1 << 19
    assert integer_softmax_sum_bits(2048) == 20
    assert integer_softmax_sum_bits(2047) == 19
    # 255 equal scores have one unit each, 256 and more none: the resolution of eight bits.
    assert set(integer_softmax([5] * 255, block=16, fraction=3).tolist()) == {1}
    assert set(integer_softmax([5] * 256, block=16, fraction=3).tolist()) == {0}


def test_what_does_not_count_changes_nothing() -> None:
    scores, counted = [100, 7, 3, 127, 9, 2], [0, 1, 1, 0, 1, 1]
    given = integer_softmax(scores, counted, block=2, fraction=1)
    assert given[[0, 3]].tolist() == [0, 0]
    other = integer_softmax([-128, 7, 3, -5, 9, 2], counted, block=2, fraction=1)
    assert given.tolist() == other.tolist()
    assert integer_softmax([1, 2], [0, 0], block=2, fraction=1).tolist() == [0, 0]


@given(
    st.lists(st.integers(-128, 127), min_size=1, max_size=300),
    st.integers(0, 7),
    st.sampled_from([1, 3, 8, 16]),
)
def test_lies_within_derived_bounds(scores: list[int], fraction: int, block: int) -> None:
    low, high = integer_softmax_bounds(scores, block=block, fraction=fraction)
    found = integer_softmax(scores, block=block, fraction=fraction)
    assert (found > low - 1e-9).all()
    assert (found < high + 1e-9).all()


@pytest.mark.parametrize("elements", [16, 64, 250])
def test_error_against_float64_softmax(elements: int) -> None:
    """Octaves of eight steps, blocks of 16, logits with a spread of 1.5.

    Were the weights only rounded to octaves, one of them could double against all others: p becomes 2p / (1 + p), at
    most (sqrt 2 - 1)^2 = 0.172 more, at p = sqrt 2 - 1. Rises and floors add to that in principle; the largest errors
    measured are 0.062, 0.079 and 0.101.
    """
    rng = np.random.default_rng(11)
    for _ in range(100):
        scores = np.clip(np.rint(rng.normal(0, 1.5 / np.log(2) * 8, elements)), -128, 127).astype(int)
        weights = 2.0 ** ((scores - scores.max()) / 8)
        error = np.abs(integer_softmax(scores, block=16, fraction=3) / 255 - weights / weights.sum())
        assert error.max() < 0.172
