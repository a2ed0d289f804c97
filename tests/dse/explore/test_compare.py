"""Engines side by side where the outcome is known beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dse.evaluate.many import evaluate_many
from dse.evaluate.outcomes import Outcomes
from dse.explore.compare import Truth, compare_engines, proposals_of, require_sweep, truth_of
from dse.explore.front import scores
from dse.explore.pool import InProcess
from dse.space.codec import Codec
from dse.space.parameter import Parameter
from dse.space.space import load_space
from tests.dse.explore.spaces import small_space
from tests.dse.explore.toys import accelerator
from workloads.errors import InfeasibleError, InputError


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


def test_the_truth_is_the_same_whoever_evaluates(tmp_path: Path) -> None:
    space = small_space(tmp_path)

    class Backwards(InProcess):
        def run(self, ordinals: NDArray[np.int64], fidelity: str) -> Iterator[Outcomes]:
            for part in np.array_split(ordinals, 7)[::-1]:
                yield from super().run(part, fidelity)

    here, there = truth_of(space), truth_of(space, None, Backwards(space))
    np.testing.assert_array_equal(here.ordinals, there.ordinals)
    np.testing.assert_array_equal(here.found, there.found)


def test_seeds_are_told_as_they_end() -> None:
    told: list[tuple[str, int]] = []
    compare_engines(line(), ["random", "exhaustive"], [2], [4, 5], progress=lambda *what: told.append(what))
    assert told == [("random", 1), ("random", 2), ("exhaustive", 1), ("exhaustive", 2)]


def test_what_takes_too_long_is_refused_with_its_size(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    require_sweep(space)
    with pytest.raises(InfeasibleError, match=r"all 378 designs of small are simulated: needs .* s, has 0 s"):
        require_sweep(space, most_s=0.0)
    file = tmp_path / "small-space.yaml"
    file.write_text(
        file.read_text().replace("log: [256, 16384, 7]", "range: [1024, 16384, 1]").replace("GB/s, 9]", "GB/s, 9999]")
    )
    huge = load_space(file)
    # 15,361 x 9,999 x 3 x 2, of which none is simulated.
    with pytest.raises(InfeasibleError, match=r"all 921,567,834 designs .* needs 9.21568e\+08 designs, has 5e\+07"):
        require_sweep(huge)


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
