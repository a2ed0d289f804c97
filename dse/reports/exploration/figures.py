"""Figures of an exploration for papers: the front in each pair of objectives, and which parameter decides each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from dse.evaluate.outcomes import OK
from dse.explore.front import front_places, scores
from dse.reports.exploration.data import sensitivities
from dse.reports.exploration.labels import metric_label, metric_unit
from dse.reports.exploration.run import ExploredRun
from dse.reports.exploration.sensitivity import Sensitivity
from dse.reports.figures.style import COLUMN_WIDTH_IN, DOUBLE_WIDTH_IN, INK, KIND_COLOURS, new_figure, paper_style
from dse.reports.units_text import number_text, percent_text

__all__ = ["PALETTE", "exploration_figures", "front_figure", "sensitivity_figure"]

PALETTE = [KIND_COLOURS[kind] for kind in ("gemm", "attention", "norm", "elementwise", "gather", "grouped_gemm")]
"""In the order of the page's."""
_GREY, _LIGHT = "#8C8C8C", "#D0D0D0"
_MOST_DOTS = 10_000
_MOST_BARS = 8
_PANEL_IN = 2.1
_BAR_IN = 0.155
_FEW_DECADES = 2.5


def exploration_figures(run: ExploredRun) -> dict[str, Figure]:
    """Every figure by name; none of what the run cannot show."""
    figures = {}
    if len(run.space.objectives) > 1 and run.summary["front"]:
        figures["front"] = front_figure(run)
    found = sensitivities(run)
    if found:
        figures["sensitivity"] = sensitivity_figure(found)
    return figures


def front_figure(run: ExploredRun) -> Figure:
    """A panel for each pair of objectives: feasible designs, those of the front of all objectives by what limits them,
    and the front of the pair as a line."""
    pairs = list(combinations(run.space.objectives, 2))
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    outcomes = run.stages[-1].outcomes
    found = scores(run.space, outcomes)
    front = front_places(found)
    limits = sorted({str(word) for word in outcomes.bottleneck if word})  # numbered as on the page
    of_front = {str(word) for word in outcomes.bottleneck[front]}
    colours = {word: PALETTE[at % len(PALETTE)] for at, word in enumerate(limits) if word in of_front}
    width = COLUMN_WIDTH_IN if columns == 1 else DOUBLE_WIDTH_IN
    with paper_style():
        figure = new_figure(width, rows * _PANEL_IN + 0.45)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, pair in zip(grid.flat, pairs, strict=False):
            _pair(axes, run, pair, found, front, colours)
        for axes in list(grid.flat)[len(pairs) :]:
            axes.set_axis_off()
        handles = [
            Line2D([], [], marker="o", ls="", ms=3.5, mfc=colour, mec=INK, mew=0.4, label=f"front, limited by {word}")
            for word, colour in colours.items()
        ]
        handles.append(Line2D([], [], marker="o", ls="", ms=2, mfc=_LIGHT, mec="none", label="other feasible designs"))
        handles.append(Line2D([], [], color=INK, lw=0.8, label="front of the pair"))
        figure.legend(handles=handles, loc="outside lower left", ncols=2 if columns == 1 else min(len(handles), 5))
    return figure


def _pair(
    axes: Axes,
    run: ExploredRun,
    pair: tuple[str, str],
    found: NDArray[np.float64],
    front: NDArray[np.int64],
    colours: dict[str, str],
) -> None:
    outcomes = run.stages[-1].outcomes
    x, y = (outcomes.metrics[name] for name in pair)
    feasible = np.flatnonzero((outcomes.status == OK) & np.isfinite(found).all(axis=1))
    dots = feasible[:: -(-len(feasible) // _MOST_DOTS)]
    axes.plot(x[dots], y[dots], "o", ms=1.1, mfc=_LIGHT, mec="none", zorder=1, rasterized=True)
    for word, colour in colours.items():
        of = front[outcomes.bottleneck[front] == word]
        axes.plot(x[of], y[of], "o", ms=3, mfc=colour, mec=INK, mew=0.35, zorder=3)
    places = [list(run.space.objectives).index(name) for name in pair]
    line = front_places(found[:, places])
    # From best to worst along x: y falls only where x has got worse, so the step comes after.
    axes.step(x[line], y[line], where="post", color=INK, lw=0.8, zorder=2)
    for name, values, along in zip(pair, (x[feasible], y[feasible]), "xy", strict=True):
        _axis(axes, name, values, along)
    axes.grid(True)


def _axis(axes: Axes, name: str, values: NDArray[np.float64], along: str) -> None:
    """Logarithmic where all values are above zero and not all close together; named with its unit."""
    unit = metric_unit(name)
    label = f"{metric_label(name)}, {'per s' if unit == '/s' else unit}" if unit else metric_label(name)
    (axes.set_xlabel if along == "x" else axes.set_ylabel)(label)
    least, most = float(values.min()), float(values.max())
    if least <= 0 or most < 2 * least:
        return
    (axes.set_xscale if along == "x" else axes.set_yscale)("log")
    ticks = axes.xaxis if along == "x" else axes.yaxis
    decades = np.log10(most / least)
    subs = (1, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < _FEW_DECADES else (1,)
    ticks.set_major_locator(LogLocator(subs=subs, numticks=8))
    ticks.set_minor_formatter(NullFormatter())
    ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def sensitivity_figure(found: Sequence[Sensitivity]) -> Figure:
    """A panel of bars for each objective: each parameter's first-order share of the variance, and the interactions'."""
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    bars = max(min(len(each.effects), _MOST_BARS) for each in found) + 1
    width = COLUMN_WIDTH_IN if columns == 1 else DOUBLE_WIDTH_IN
    with paper_style():
        figure = new_figure(width, rows * (bars * _BAR_IN + 0.62))
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for axes, each in zip(grid.flat, found, strict=False):
            _shares(axes, each)
        for axes in list(grid.flat)[len(found) :]:
            axes.set_axis_off()
    return figure


def _shares(axes: Axes, found: Sensitivity) -> None:
    shown = found.effects[:_MOST_BARS]
    rows = [(effect.parameter, effect.share, PALETTE[0], effect.span) for effect in shown]
    rows.append(("interactions", found.rest, _GREY, 0.0))
    for at, (_, share, colour, span) in enumerate(rows):
        axes.barh(at, 100 * share, height=0.72, color=colour, lw=0)
        factor = f"  ×{number_text(span)}" if found.logarithmic and span >= 1.005 else ""
        axes.text(100 * share + 2, at, f"{percent_text(share)}{factor}", va="center", fontsize=6.5, color=INK)
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name, *_ in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 138)  # room for what stands behind a bar of 100
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of the variance, %")
    axes.set_title(metric_label(found.metric), color=INK, pad=3)
