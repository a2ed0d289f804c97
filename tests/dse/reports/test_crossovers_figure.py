"""The figure of crossovers: nothing cut off, nothing touching; equal answers equal bytes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from dse.reports.figures.crossovers import crossovers_figure, crossovers_sheet
from dse.reports.figures.style import svg_bytes
from hw.spec.load import load_system, override
from simulator.training.offload.crossover_curves import Answers, Question, crossovers
from workloads.models.catalogue import model


def answers(devices: int, writes: float | None) -> Answers:
    system = override(load_system("a100-80gb-sxm"), (f"devices={devices}",))
    return crossovers(Question(model("llama-2-7b"), system, (1024, 1 << 20), drive_writes_bytes=writes))


@pytest.fixture(scope="module", params=[(8, 56e15), (1, None)], ids=["node", "one"])
def found(request: pytest.FixtureRequest) -> Answers:
    return answers(*request.param)


def drawn(found: Answers) -> Figure:
    figure = crossovers_figure(found)
    figure.draw_without_rendering()
    return figure


def test_a_row_for_each_question(found: Answers) -> None:
    sheet = crossovers_sheet(found)
    assert [chart.name.split("_")[0] for chart in sheet.charts] == [
        "host", "context", "host", "drive", "drive", "drive", "update", "update", "update",
    ]  # fmt: skip
    assert all(curve.points for chart in sheet.charts for curve in chart.curves)
    without = crossovers_sheet(replace(found, drive=None))
    assert len(without.charts) == 6


def test_nothing_is_cut_off_or_touches(found: Answers) -> None:
    figure = drawn(found)
    page = figure.bbox
    boxes = []
    for axes in figure.axes:
        outer = axes.get_tightbbox()
        assert outer is not None
        assert outer.x0 >= page.x0 - 1
        assert outer.x1 <= page.x1 + 1, axes.get_title("left")
        boxes.append(axes._left_title.get_window_extent())  # type: ignore[attr-defined]
        for along, labels, ticks in (
            (axes.get_xlim(), axes.get_xticklabels(), axes.get_xticks()),
            (axes.get_ylim(), axes.get_yticklabels(), axes.get_yticks()),
        ):
            low, high = sorted(along)
            shown = [
                text.get_window_extent()
                for text, at in zip(labels, ticks, strict=True)
                if text.get_text() and low <= at <= high
            ]
            assert len(shown) >= 2, axes.get_title("left")
            assert not any(one.overlaps(other) for one, other in pairwise(shown)), axes.get_title("left")
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[at + 1 :])


def test_equal_answers_give_equal_bytes() -> None:
    found = answers(8, 56e15)
    assert svg_bytes(crossovers_figure(found)) == svg_bytes(crossovers_figure(found))
