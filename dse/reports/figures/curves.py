"""A memory's curves on one sheet: small panels, each with its legend below it, so that none lies over data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from dse.reports.characteristics.sheet import Axis, Chart, Sheet
from dse.reports.figures.style import DOUBLE_WIDTH_IN, INK, KIND_COLOURS, new_figure, paper_style

__all__ = ["curves_figure"]

_COLOURS = [KIND_COLOURS[kind] for kind in ("gemm", "elementwise", "norm", "attention", "grouped_gemm", "gather")]
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
_FILLS = [*_COLOURS, "#8C8C8C", "#D0D0D0", "#F0E442"]
_PANEL_IN = 1.6
_REST_IN = 0.62  # a panel's title, numbers and label
_LEGEND_DOWN_IN = 0.34
_LEGEND_ROW_IN = 0.135
_BESIDE_IN = 0.5  # a panel's label and numbers at its left
_LETTERS_AN_IN = 17.5  # of 7 points, on average
_HANDLE_IN = 0.3
_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}
_LEAST_SPAN = 4.0  # of a logarithmic axis
_WITHOUT_PREFIX = ("mm²",)  # a prefix would be squared too
_BINARY = ("", " Ki", " Mi", " Gi", " Ti")


def curves_figure(sheet: Sheet, *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """All charts of ``sheet``: two or three beside one another in a wide figure, one below the other in a column."""
    columns = _columns(len(sheet.charts), width_in)
    panel_in = width_in / columns - _BESIDE_IN
    rows = -(-len(sheet.charts) // columns)
    below = [
        max(
            -(-_entries(chart) // _keys(chart, panel_in)) for chart in sheet.charts[row * columns : (row + 1) * columns]
        )
        for row in range(rows)
    ]
    heights = [_PANEL_IN + _REST_IN + _LEGEND_ROW_IN * lines for lines in below]
    headline = "\n".join(wrap(sheet.headline, int(width_in * _LETTERS_AN_IN)))
    with paper_style():
        figure = new_figure(width_in, sum(heights) + 0.13 * (2 + headline.count("\n")))
        figure.suptitle(headline, x=2 / (72 * width_in), ha="left", color=INK)
        grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
        for number, axes in enumerate(grid.flat):
            if number < len(sheet.charts):
                chart = sheet.charts[number]
                _draw(axes, chart, _keys(chart, panel_in), 4 if columns == 3 else 7)
            else:
                axes.set_axis_off()
    return figure


def _columns(charts: int, width_in: float) -> int:
    if width_in < DOUBLE_WIDTH_IN * 0.75:
        return 1
    return 3 if charts in (3, 5, 6, 9) else min(2, charts)


def _entries(chart: Chart) -> int:
    return len(chart.curves) + len(chart.limits)


def _keys(chart: Chart, panel_in: float) -> int:
    """Columns of the legend: two where the longest names fit side by side below the panel."""
    longest = max(len(name) for name in [curve.name for curve in chart.curves] + [each.name for each in chart.limits])
    return 2 if 2 * (longest / _LETTERS_AN_IN + _HANDLE_IN) <= panel_in else 1


def _draw(axes: Axes, chart: Chart, keys: int, most_labels: int) -> None:
    axes.set_title(chart.title, color=INK, pad=4)
    axes.grid(True)
    handles = _stack(axes, chart) if chart.stacked else _lines(axes, chart)
    limits = [
        (axes.axvline if limit.along == "x" else axes.axhline)(
            limit.value, color=INK, lw=0.8, ls=_DASHES[number % len(_DASHES)], zorder=1.5, label=limit.name
        )
        for number, limit in enumerate(chart.limits)
    ]
    _scale(axes, chart, "x", most_labels)
    _scale(axes, chart, "y", 7)
    down = ScaledTranslation(0, -_LEGEND_DOWN_IN, axes.figure.dpi_scale_trans)
    axes.legend(
        handles=[*handles, *limits],
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=axes.transAxes + down,
        ncols=keys,
        handlelength=2.0,
    )


def _lines(axes: Axes, chart: Chart) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    run = bounds = 0
    for curve in chart.curves:
        x, y = zip(*curve.points, strict=True)
        if curve.bound:
            dashes = _DASHES[(len(chart.limits) + bounds) % len(_DASHES)]
            handles += axes.plot(x, y, color=INK, lw=0.8, ls=dashes, zorder=1.5, label=curve.name)
            bounds += 1
            continue
        handles += axes.plot(
            x, y, color=_COLOURS[run % len(_COLOURS)], marker=_MARKERS[run % len(_MARKERS)], markersize=2.4, lw=1.0,
            markeredgewidth=0, zorder=2, clip_on=False, label=curve.name,
        )  # fmt: skip
        run += 1
    return handles


def _stack(axes: Axes, chart: Chart) -> list[Line2D | Patch]:
    """Bars of equal width, one for each x; parts that are nowhere more than nothing are left out."""
    shown = [curve for curve in chart.curves if any(y > 0 for _, y in curve.points)]
    places = [x for x, _ in chart.curves[0].points]
    left, right = _edges(places, chart.x.scale)
    floor = [0.0] * len(places)
    handles: list[Line2D | Patch] = []
    for number, curve in enumerate(shown):
        heights = [y for _, y in curve.points]
        colour = _FILLS[number % len(_FILLS)]
        widths = [b - a for a, b in zip(left, right, strict=True)]
        axes.bar(left, heights, widths, floor, align="edge", color=colour, edgecolor="white", lw=0.4, zorder=2)
        floor = [a + b for a, b in zip(floor, heights, strict=True)]
        handles.append(Patch(facecolor=colour, edgecolor="none", label=curve.name))
    return handles


def _edges(places: Sequence[float], scale: str) -> tuple[list[float], list[float]]:
    """Where bars begin and end: 0.8 of the way to their neighbours, on the axis's scale."""
    at = places if scale == "linear" else [math.log2(place) for place in places]
    half = 0.4 * min((b - a for a, b in pairwise(at)), default=1.0)
    both = [[place + side * half for place in at] for side in (-1, 1)]
    left, right = both if scale == "linear" else [[2.0**place for place in side] for side in both]
    return left, right


def _scale(axes: Axes, chart: Chart, along: str, most_labels: int) -> None:
    """Scale, ticks and label of one axis; linear ones carry their prefix in the label."""
    axis = chart.x if along == "x" else chart.y
    ticks = axes.xaxis if along == "x" else axes.yaxis
    set_label = axes.set_xlabel if along == "x" else axes.set_ylabel
    values = [point[along == "y"] for curve in chart.curves for point in curve.points]
    values += [limit.value for limit in chart.limits if limit.along == along]
    if axis.scale == "linear":
        _linear(axes, axis, along, 1.0 if chart.stacked and along == "y" else 1.06 * max(values))
        return
    set_label(axis.label)
    if axis.scale == "log2":
        (axes.set_xscale if along == "x" else axes.set_yscale)("log", base=2)
        ticks.set_major_locator(FixedLocator(_powers(min(values), max(values), most_labels)))
        ticks.set_minor_locator(NullLocator())
        ticks.set_major_formatter(FuncFormatter(lambda value, _: binary_text(value, axis.unit)))
        return
    (axes.set_xscale if along == "x" else axes.set_yscale)("log")
    least, most = min(values), max(values)
    if most < _LEAST_SPAN * least:  # else noise would fill the panel
        widen = math.sqrt(_LEAST_SPAN * least / most)
        least, most = least / widen, most * widen
        (axes.set_xlim if along == "x" else axes.set_ylim)(least, most)
    within_two_decades = most < 100 * least
    ticks.set_major_locator(LogLocator(subs=(1, 2, 5) if within_two_decades else (1,), numticks=6))
    ticks.set_minor_formatter(NullFormatter())
    ticks.set_major_formatter(FuncFormatter(lambda value, _: short_text(value, axis.unit)))


def _powers(least: float, most: float, count: int) -> list[float]:
    """Powers of two from ``least`` to ``most``, at most ``count`` of them."""
    first, last = math.floor(math.log2(least)), math.ceil(math.log2(most))
    return [2.0**power for power in range(first, last + 1, max(1, math.ceil((last - first + 1) / count)))]


def _linear(axes: Axes, axis: Axis, along: str, top: float) -> None:
    """From nothing to ``top``; values in the unit that leaves at most three digits before the point."""
    power = _power(top) if axis.unit and top > 0 else 0
    unit = f"{_PREFIXES[power]}{axis.unit}"
    label = f"{axis.label}, {unit}" if unit else axis.label
    ticks = axes.xaxis if along == "x" else axes.yaxis
    if along == "x":
        axes.set_xlabel(label)
        axes.set_xlim(0, top)
    else:
        axes.set_ylabel(label)
        axes.set_ylim(0, top)
    ticks.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10.0**power:g}"))


def binary_text(value: float, unit: str) -> str:
    """A power of two as people write sizes: ``64``, ``4 Ki``; plain counts come whole."""
    if unit != "B":
        return f"{value:g}"
    power = min(math.floor(math.log2(value)) // 10, len(_BINARY) - 1)
    return f"{value / 1024**power:g}{_BINARY[power]}"


def short_text(value: float, unit: str) -> str:
    """A value with a prefix and no more digits than it needs: ``10 µs``, ``0.5``."""
    power = 0 if unit in _WITHOUT_PREFIX or (not unit and value < 1) else _power(value)
    return f"{value / 10.0**power:g} {_PREFIXES[power]}{unit}".rstrip()


def _power(value: float) -> int:
    """The power of a thousand that leaves 1 to 999 of it."""
    power = 3 * math.floor(math.log10(value) / 3 + 1e-9)
    return min(max(power, min(_PREFIXES)), max(_PREFIXES))
