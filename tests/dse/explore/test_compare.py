"""Engines side by side where the outcome is known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dse.evaluate.many import evaluate_many
from dse.explore.compare import Truth, compare_engines, proposals_of, truth_of
from dse.explore.front import scores
from dse.space.codec import Codec
from dse.space.parameter import Parameter
from tests.dse.explore.spaces import small_space
from tests.dse.explore.toys import accelerator
from workloads.errors import InputError


def line() -> Truth:
    """Ten designs 0..9, whose one objective is their number, and of which none but 0 is on the front."""
    codec = Codec({"a": Parameter(range=[0, 9, 1])})
    return Truth(codec, np.arange(10), np.arange(10.0)[:, None])


def test_rows_by_hand() -> None:
    # The best of the first budget of designs is 0 always: all of the front, whatever follows.
    rows = compare_engines(line(), ["exhaustive"], [1, 20], [0, 1, 2])
    assert rows == [
        {"engine": "exhaustive", "budget": budget, "seeds": 3, "hypervolume": 1.0, "hypervolume_sd": 0.0,
         "front_share": 1.0, "designs": designs} for budget, designs in ((1, 1.0), (20, 10.0))
    ]  # fmt: skip


def test_a_single_random_design_has_the_share_it_should() -> None:
    # Design n dominates (1.1 - n/9) / 1.1 of the box: on average over n (1.1 - 0.5) / 1.1, deviation of n/9 over 1.1.
    (row,) = compare_engines(line(), ["random"], [1], range(400))
    deviation = float(np.std(np.arange(10) / 9)) / 1.1
    assert row["hypervolume"] == pytest.approx(0.6 / 1.1, abs=4 * deviation / 20)
    assert row["hypervolume_sd"] == pytest.approx(deviation, rel=0.15)
    assert row["front_share"] == pytest.approx(0.1, abs=0.06)


def test_smaller_budgets_are_beginnings_of_larger_ones() -> None:
    truth = accelerator()
    rows = compare_engines(truth, ["random", "local"], [50, 100, 200], [3])
    for engine in ("random", "local"):
        shares = [row["hypervolume"] for row in rows if row["engine"] == engine]
        assert shares == sorted(shares)
        (alone,) = compare_engines(truth, [engine], [200], [3])
        assert alone["hypervolume"] == shares[-1]
    assert len(set(proposals_of(truth, "local", 0, 200).tolist())) == 200


def test_the_truth_is_every_design_evaluated(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    told: list[int] = []
    truth = truth_of(space, told.append)
    assert len(truth.ordinals) == space.codec.size == told[-1]
    some = truth.ordinals[[200, 3, 77]]
    np.testing.assert_array_equal(truth.of(some), scores(space, evaluate_many(space, some)))


def test_what_cannot_be_compared_is_said() -> None:
    nothing = Truth(line().codec, np.arange(10), np.full((10, 1), np.inf))
    with pytest.raises(InputError, match=r"^constraints: no design of the space is feasible"):
        compare_engines(nothing, ["random"], [5])
    with pytest.raises(InputError, match=r"unknown engine 'randm'.*did you mean 'random'"):
        compare_engines(line(), ["randm"], [5])
    with pytest.raises(InputError, match=r"^--budgets: found \[0\]"):
        compare_engines(line(), ["random"], [0])
    with pytest.raises(InputError, match=r"^--seeds: found \[\]"):
        compare_engines(line(), ["random"], [5], [])
