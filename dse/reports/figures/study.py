"""A study at a glance: simulated over published, number by number, or metric by metric where there are many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dse.reports.figures.style import DOUBLE_WIDTH_IN, INK, MUTED, RESOURCE_COLOURS, new_figure, paper_style
from dse.reports.units_text import engineering, number_text
from studies.frame.rows import Row
from studies.frame.study import Study

__all__ = ["study_figure", "value_text"]

_MOST_ROWS = 30
_SHOWN = (0.4, 2.5)
"""Ratios drawn; beyond, a mark stands at the edge."""
_LONGEST = 46
_BESIDE = ("axes fraction", "data")


def study_figure(study: Study, rows: Sequence[Row], *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """The figure: a line for each number (values at the right), or for each metric where there are more than thirty.

    Numbers that a constant was fitted to are open circles.
    """
    compared = [row for row in rows if row.published]
    singly = len(compared) <= _MOST_ROWS
    names = [_label(row) for row in compared] if singly else list(dict.fromkeys(row.metric for row in compared))
    places = list(range(len(compared))) if singly else [names.index(row.metric) for row in compared]
    with paper_style():
        figure = new_figure(width_in, 0.75 + 0.155 * len(names) + 0.1 * (not singly))
        axes = figure.subplots()
        _bands(axes)
        colour = RESOURCE_COLOURS["engine"]
        for row, place in zip(compared, places, strict=True):
            assert row.published is not None
            ratio = row.simulated / row.published
            inside = float(np.clip(ratio, *_SHOWN))
            marker = "o" if inside == ratio else (">" if ratio > 1 else "<")
            face = "none" if row.calibrates else colour
            axes.plot([inside], [place], marker, color=colour, markerfacecolor=face, markersize=3.6, alpha=0.85)
            if singly:
                unit = study.metrics[row.metric].unit
                text = f"{value_text(row.published, unit)} → {value_text(row.simulated, unit)}"
                axes.annotate(text, (1.01, place), xycoords=_BESIDE, va="center", color=MUTED)
        for place in () if singly else range(len(names)):
            count = places.count(place)
            text = f"{count} number{'s' if count > 1 else ''}"
            axes.annotate(text, (1.01, place), xycoords=_BESIDE, va="center", color=MUTED)
        axes.set_xscale("log")
        axes.set_xlim(_SHOWN[0] * 0.95, _SHOWN[1] * 1.05)
        axes.set_xticks([0.5, 0.75, 1, 1.25, 2], ["0.5", "0.75", "1", "1.25", "2"])
        axes.minorticks_off()
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("Simulated / published" + (" (published → simulated at the right)" if singly else ""))
        axes.set_title(study.title)
    return figure


def _bands(axes: Axes) -> None:
    """Within a tenth and within a quarter, and no error at all."""
    for share, shade in ((0.25, 0.06), (0.1, 0.12)):
        axes.axvspan(1 - share, 1 + share, color=INK, alpha=shade, linewidth=0)
    axes.axvline(1, color=INK, linewidth=0.7)


def _label(row: Row) -> str:
    text = " ".join([row.metric, *(f"{key}={value}" for key, value in row.config.items())])
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def value_text(value: float, unit: str) -> str:
    """A value of a metric: with a prefix where it has a unit.

    >>> value_text(1042.0, "1/s"), value_text(0.00123, "s"), value_text(0.5, "")
    ('1.04 k/s', '1.23 ms', '0.500')
    """
    return engineering(value, unit.removeprefix("1")) if unit else number_text(value)
