"""Figures of an exploration: what is in them, and that equal ones are equal files."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from dse.reports.exploration.figures import exploration_figures
from dse.reports.exploration.run import ExploredRun, read_run
from dse.reports.figures.style import svg_bytes


@pytest.fixture(scope="module")
def drawn(request: pytest.FixtureRequest) -> tuple[ExploredRun, dict[str, Figure]]:
    run = read_run(request.getfixturevalue("whole_run"))
    return run, exploration_figures(run)


def test_the_front_in_each_pair(drawn: tuple[ExploredRun, dict[str, Figure]]) -> None:
    run, figures = drawn
    panels = figures["front"].axes
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in panels] == [
        ("latency, s", "area, mm²"), ("latency, s", "weights error"), ("area, mm²", "weights error"),
    ]  # fmt: skip
    points = {(d["metrics"]["latency_s"], d["metrics"]["area_mm2"]) for d in run.summary["front"]}
    lines = panels[0].get_lines()
    rimmed = [line for line in lines if line.get_markersize() == 3]
    assert {(x, y) for line in rimmed for x, y in np.array(line.get_xydata()).tolist()} == points
    stairs = next(line for line in lines if line.get_drawstyle() == "steps-post")
    x, y = np.array(stairs.get_xydata()).T
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) < 0).all()
    for a, b in points:
        assert ((x <= a) & (y <= b)).any()


def test_bars_are_shares(drawn: tuple[ExploredRun, dict[str, Figure]]) -> None:
    for axes in drawn[1]["sensitivity"].axes:
        widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
        assert sum(widths) == pytest.approx(100)
        assert axes.get_yticklabels()[-1].get_text() == "interactions"


def test_equal_figures_are_equal_files(drawn: tuple[ExploredRun, dict[str, Figure]]) -> None:
    run, figures = drawn
    assert svg_bytes(exploration_figures(run)["sensitivity"]) == svg_bytes(figures["sensitivity"])
