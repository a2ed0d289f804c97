"""The figure of engines side by side: a line and a label for each, random dashed, labels apart."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dse.reports.figures.engine_comparison import engine_comparison_figure
from dse.reports.figures.style import png_bytes, svg_bytes


def rows(shares: dict[str, list[float]]) -> list[dict[str, float | int | str]]:
    return [
        {"engine": engine, "budget": budget, "hypervolume": share, "hypervolume_sd": 0.01}
        for engine, found in shares.items()
        for budget, share in zip((10, 100, 1000), found, strict=True)
    ]


def test_lines_and_labels() -> None:
    shares = {"random": [0.5, 0.8, 0.9], "nsga2": [0.5, 0.9, 0.99], "local": [0.5, 0.9, 0.9899]}
    figure = engine_comparison_figure("a space", rows(shares))
    (axes,) = figure.axes
    assert [line.get_linestyle() for line in axes.lines] == ["--", "-", "-"]
    for line, found in zip(axes.lines, shares.values(), strict=True):
        assert list(line.get_xdata()) == [10, 100, 1000]
        assert list(line.get_ydata()) == pytest.approx([1 - share for share in found])
    assert sorted(text.get_text() for text in axes.texts) == ["local", "nsga2", "random"]
    heights = sorted(text.xy[1] for text in axes.texts)
    assert all(b - a >= 0.05 for a, b in pairwise(heights))
    assert svg_bytes(figure) == svg_bytes(engine_comparison_figure("a space", rows(shares)))


def test_a_line_ends_where_everything_is_found() -> None:
    figure = engine_comparison_figure("a space", rows({"random": [0.5, 0.8, 0.9], "local": [0.9, 1.0, 1.0]}))
    assert list(figure.axes[0].lines[1].get_xdata()) == [10]
    assert png_bytes(figure)


def test_engines_that_find_everything_at_once_are_left_out() -> None:
    figure = engine_comparison_figure("a space", rows({"random": [0.5, 0.8, 0.9], "local": [1.0, 1.0, 1.0]}))
    assert len(figure.axes[0].lines) == 1


def test_a_single_budget_is_a_point() -> None:
    assert png_bytes(engine_comparison_figure("a space", rows({"random": [0.5, 0.8, 0.9]})[:1]))
