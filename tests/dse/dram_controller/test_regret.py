"""Regret of engines on spaces of which the best design is known."""

from __future__ import annotations

import numpy as np
import pytest

from dse.dram_controller.regret import ENGINES, OBJECTIVES, Known, encoded_codec, regret, regrets
from dse.dram_controller.sweep import Swept
from dse.dram_controller.truth import ground_truth
from dse.reports.figures.dram_regret import dram_regret_figure, dram_space_figure
from dse.reports.figures.style import svg_bytes
from dse.space.space import load_space
from workloads.errors import InputError


def test_rewards_by_hand() -> None:
    """1.5 W in 0.3 ms: 1 / 0.5 and 0.1 / 0.2. On a target: 1,000, and no more for both. Of 1,000 requests a tenth."""
    codec = load_space("dram-controller").codec
    total, energy = np.array([3e-4, 1e-4, 2e-4]), np.array([4.5e-4, 1e-4, 2e-4])
    known = Known(Swept(codec, total, total, energy, 3))
    assert known.rewards["power"] == pytest.approx([2.0, 1000.0, 1000.0])
    assert known.rewards["latency"] == pytest.approx([0.5, 1000.0, 1.0])
    assert known.rewards["both"] == pytest.approx([1.0, 1000.0, 1000.0])
    tenth = Known(Swept(codec, total / 10, total, energy / 10, 3), requests=1_000)
    assert tenth.rewards["latency"] == pytest.approx(known.rewards["latency"])


@pytest.mark.slow
def test_all_designs_leave_no_regret() -> None:
    known = ground_truth("cloud-1")
    size = known.swept.codec.size
    rows = regrets(known, ["random"], OBJECTIVES, [size], [0])
    assert [row.regret for row in rows] == [0.0] * 3
    # A run that has found the best with a tenth of its budget ends there: more designs would change nothing.
    assert all(size / 10 - 50 <= row.designs <= size for row in rows)


def test_more_designs_never_leave_more_regret() -> None:
    known = ground_truth("cloud-2")
    for engine in ENGINES:
        rows = regrets(known, [engine], ["both"], [50, 100, 200], [0])
        found = [row.regret for row in rows]
        assert found == sorted(found, reverse=True)
        assert all(0 <= row.floor <= row.regret <= 1 for row in rows)
        assert rows == regrets(known, [engine], ["both"], [50, 100, 200], [0])


@pytest.mark.parametrize("trace", ["stream", "random", "cloud-1"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_reach_of_the_faulty_encoder(trace: str, objective: str) -> None:
    """All of what it reaches leaves the regret of the best of it, found here by masking the whole table."""
    known = ground_truth(trace)
    reached = [[0, 2, 3], [0, 1, 2], [0, 1, 2], [0, 4, 7], [0, 1], [0, 1], [0, 2, 3], [0, 2, 3], [0, 1, 2], [0, 4, 7]]
    rewards = known.rewards[objective]
    best = rewards.reshape(known.swept.codec.radices)[np.ix_(*reached)].max()
    row = regrets(known, ["random, faulty encoder"], [objective], [20_000], [0])[0]
    assert row.floor == pytest.approx(1 - best / rewards.max())
    assert row.regret == row.floor
    assert row.designs == encoded_codec(known.swept.codec).size


def test_a_learner_told_the_truth_beats_none_of_it() -> None:
    """What an engine is told is the reciprocal of the reward: the best design has the lowest."""
    known = ground_truth("cloud-1")
    truth, places = known.truth(("both",))
    assert known.rewards["both"][places[truth.found[:, 0].argmin()]] == known.rewards["both"].max()
    assert regret(known, "random", "both", 100, 0) == regrets(known, ["random"], ["both"], [100], [0])[0].regret


@pytest.mark.parametrize(
    ("engine", "objective", "budget", "field"),
    [("annealing", "both", 10, "engine"), ("ga", "area", 10, "objective"), ("ga", "both", 0, "budgets")],
)
def test_wrong_names(engine: str, objective: str, budget: int, field: str) -> None:
    with pytest.raises(InputError) as caught:
        regret(ground_truth("stream"), engine, objective, budget, 0)
    assert caught.value.field == field


def test_figures() -> None:
    known = ground_truth("stream")
    rows = regrets(known, ["random", "agents", "agents, faulty encoder"], OBJECTIVES, [10, 30, 100], [0, 1])
    figure = dram_regret_figure(rows, "stream")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["power", "latency", "power × latency"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [3, 3, 3]  # two engines, and what the encoder reaches
    assert svg_bytes(figure) == svg_bytes(dram_regret_figure(rows, "stream"))
    both = dram_space_figure({"stream": known, "random": ground_truth("random")})
    assert [axes.get_title(loc="left") for axes in both.axes] == ["stream", "random"]
    for axes in both.axes:
        front = np.asarray(axes.get_lines()[0].get_xydata())
        assert (np.diff(front[:, 0]) > 0).all()
        assert (np.diff(front[:, 1]) < 0).all()
