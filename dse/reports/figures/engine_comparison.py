"""How much of the true front engines find with how many designs, beside random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dse.reports.figures.style import COLUMN_WIDTH_IN, INK, KIND_COLOURS, new_figure, paper_style

__all__ = ["engine_comparison_figure"]

_HEIGHT_IN = 2.6
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LABEL_GAP = 0.055  # of the axis's height: the least between two labels


def engine_comparison_figure(
    title: str, rows: Sequence[Mapping[str, float | int | str]], *, width_in: float = COLUMN_WIDTH_IN
) -> Figure:
    """``rows`` as `dse.explore.compare.compare_engines` gives them: for each engine the mean share of the true
    hypervolume that it has left to find over the number of designs, with a band of one deviation over seeds either way.

    What is left is drawn on a logarithmic axis; where an engine has found everything its line ends.
    """
    engines = list(dict.fromkeys(str(row["engine"]) for row in rows))
    colours = [colour for kind, colour in KIND_COLOURS.items() if kind != "other"]
    coloured = [name for name in engines if name != "random"]
    with paper_style():
        figure = new_figure(width_in, _HEIGHT_IN)
        axes = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        most = max(float(row["budget"]) for row in rows)
        lowest = 1.0
        for engine in engines:
            mine = sorted((row for row in rows if row["engine"] == engine), key=lambda row: float(row["budget"]))
            x = np.array([float(row["budget"]) for row in mine])
            left = 1 - np.array([float(row["hypervolume"]) for row in mine])
            deviation = np.array([float(row["hypervolume_sd"]) for row in mine])
            some = left > 1e-9
            if not some.any():
                continue
            x, left, deviation = x[some], left[some], deviation[some]
            lowest = min(lowest, float(left.min()))
            place = coloured.index(engine) if engine in coloured else -1
            colour = INK if place < 0 else colours[place % len(colours)]
            axes.fill_between(
                x, np.maximum(left - deviation, left / 4), left + deviation, color=colour, alpha=0.13, linewidth=0
            )
            axes.plot(
                x, left, color=colour, linewidth=1.2 if place < 0 else 1.0, linestyle="--" if place < 0 else "-",
                marker=None if place < 0 else _MARKERS[place % len(_MARKERS)], markersize=2.2, markeredgewidth=0,
            )  # fmt: skip
            ends.append((float(left[-1]), engine, colour))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(lowest / 2, 1)
        axes.set_xlabel("designs simulated")
        axes.set_ylabel("true hypervolume left to find")
        axes.set_title(title)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(True)
        for height, engine, colour in _spread(ends, lowest / 2):
            axes.annotate(engine, (1.015, height), xycoords="axes fraction", va="center", color=colour)
        least = min(float(row["budget"]) for row in rows)
        if least < most:
            axes.set_xlim(least, most)
    return figure


def _spread(ends: Sequence[tuple[float, str, str]], bottom: float) -> list[tuple[float, str, str]]:
    """Labels at the ends of lines, moved up where they would lie on one another: heights as shares of the axis."""
    placed: list[tuple[float, str, str]] = []
    for value, engine, colour in sorted(ends):
        height = 1 - np.log(value) / np.log(bottom)
        if placed:
            height = max(height, placed[-1][0] + _LABEL_GAP)
        placed.append((float(height), engine, colour))
    return placed
