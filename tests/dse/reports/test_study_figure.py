"""The figure of a study: a line a number, or a line a metric."""

from __future__ import annotations

from dse.reports.figures.study import study_figure
from dse.reports.figures.style import png_bytes
from studies.frame.rows import Row
from tests.studies.frame.test_study import SMALL


def rows(count: int) -> list[Row]:
    ratios = [0.1, 0.9, 1.0, 1.1, 9.0]
    return [Row("small", "twice", {"size": at % 9 + 1}, 10.0, 10.0 * ratios[at % 5], "stated") for at in range(count)]


def test_few_numbers_stand_singly_with_their_values() -> None:
    figure = study_figure(SMALL, [*rows(5), Row("small", "rate", {}, 8.0, 10.0, "fitted", calibrates=True)])
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "twice size=1"
    assert labels[-1] == "rate"
    assert [text.get_text() for text in axes.texts][-1] == "8.00 B/s → 10.0 B/s"
    # Beyond what is drawn a mark stands at the edge and points outwards.
    assert [line.get_marker() for line in axes.lines[1:]] == ["<", "o", "o", "o", ">", "o"]
    assert axes.lines[-1].get_markerfacecolor() == "none"


def test_many_numbers_stand_by_metric() -> None:
    figure = study_figure(SMALL, rows(40))
    assert [text.get_text() for text in figure.axes[0].texts] == ["40 numbers"]
    assert len(figure.axes[0].get_yticklabels()) == 1


def test_numbers_without_a_published_one_are_left_out() -> None:
    asked = [*rows(2), Row("small", "twice", {}, None, 1.0, "stated")]
    one, again = (study_figure(SMALL, asked) for _ in range(2))
    assert len(one.axes[0].get_yticklabels()) == 2
    assert png_bytes(one) == png_bytes(again)
