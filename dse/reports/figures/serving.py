"""A serving run on one page: how long requests took, how full batch and memory were, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from dse.reports.figures.style import DOUBLE_WIDTH_IN, INK, KIND_COLOURS, RESOURCE_COLOURS, new_figure, paper_style
from dse.reports.units_text import percent_text
from simulator.serving.result import ServingResult, Timeline

__all__ = ["serving_figure"]

_BLUE, _ORANGE, _GREEN = KIND_COLOURS["gemm"], KIND_COLOURS["elementwise"], KIND_COLOURS["norm"]
_VERMILLION = KIND_COLOURS["attention"]
_PARTS = {
    "linear": _BLUE,
    "prefill": _BLUE,
    "decode": _VERMILLION,
    "attention": _VERMILLION,
    "collectives": KIND_COLOURS["gather"],
    "head": KIND_COLOURS["grouped_gemm"],
    "host": RESOURCE_COLOURS["overhead"],
    "idle": RESOURCE_COLOURS["idle"],
    "kv wait": _GREEN,
    "context_away": _ORANGE,
}
_OTHERS = (KIND_COLOURS["other"], INK)
_POINTS = 600
"""Points of a line over time: more cannot be told apart in a panel."""


def serving_figure(result: ServingResult, headline: str, *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """Latencies' distributions above, batch and KV memory over time in the middle, shares of time below."""
    with paper_style():
        figure = new_figure(width_in, 4.6)
        figure.suptitle("\n".join(wrap(headline, int(width_in * 17))), x=2 / (72 * width_in), ha="left", color=INK)
        grid = figure.add_gridspec(3, 2, height_ratios=[1.3, 1.3, 0.45])
        _distributions(
            figure.add_subplot(grid[0, 0]),
            "From arrival",
            [("first token", result.ttft_s, _BLUE), ("last token", result.e2e_s, _VERMILLION)],
        )
        _distributions(
            figure.add_subplot(grid[0, 1]),
            "For each token",
            [("after the first", result.tpot_s, _BLUE), ("of all, end to end", result.normalised_s, _VERMILLION)],
        )
        _batch(figure.add_subplot(grid[1, 0]), result.timelines)
        _memory(figure.add_subplot(grid[1, 1]), result.timelines)
        _shares(figure.add_subplot(grid[2, :]), result)
    return figure


def _distributions(axes: Axes, title: str, curves: Sequence[tuple[str, NDArray[np.float64], str]]) -> None:
    axes.set_title(title)
    axes.grid(True)
    positive = [values[values > 0] for _, values, _ in curves]
    for (name, _, colour), values in zip(curves, positive, strict=True):
        if not len(values):
            continue
        quantiles = np.linspace(0, 1, min(_POINTS, len(values) + 1))
        axes.plot(np.quantile(values, quantiles), 100 * quantiles, color=colour, lw=1.2, label=name)
    axes.set_ylim(0, 100)
    axes.set_ylabel("Requests (%)")
    axes.set_xlabel("Within this time")
    if any(len(values) for values in positive):
        axes.set_xscale("log")
        several = max(values.max() for values in positive if len(values)) > 100 * min(
            values.min() for values in positive if len(values)
        )
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if several else (1, 2, 5), numticks=7))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _time(value)))
    _legend(axes)


def _legend(axes: Axes) -> None:
    """In the title's line, where no curve is."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(handles))


def _time(seconds: float) -> str:
    for scale, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * scale >= 0.9995:
            return f"{seconds * scale:,.3g} {unit}" if seconds < 1000 else f"{seconds:,.0f} s"
    return f"{seconds:g} s"


def _over_time(lines: Sequence[Timeline], column: str, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over all replicas at each of ``times``; between samples a value stands."""
    total = np.zeros(len(times))
    for line in lines:
        if len(line.time_s):
            at = np.searchsorted(line.time_s, times, side="right") - 1
            total += np.where(at >= 0, getattr(line, column)[np.maximum(at, 0)], 0)
    return total


def _times(lines: Sequence[Timeline]) -> NDArray[np.float64]:
    end_s = max((line.end_s for line in lines), default=0.0)
    return np.linspace(0, end_s, _POINTS, endpoint=False) if end_s > 0 else np.zeros(1)


def _batch(axes: Axes, lines: Sequence[Timeline]) -> None:
    times = _times(lines)
    axes.set_title("Requests")
    axes.grid(True)
    running, waiting = (_over_time(lines, column, times) for column in ("running", "waiting"))
    axes.stackplot(times, running, waiting, colors=[_BLUE, "#E8C27A"], labels=["running", "waiting"], lw=0)
    _time_axis(axes, times)
    axes.set_ylim(0, 1.05 * max(1.0, float((running + waiting).max())))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _legend(axes)


def _memory(axes: Axes, lines: Sequence[Timeline]) -> None:
    times = _times(lines)
    used, held = (_over_time(lines, column, times) for column in ("used_bytes", "held_bytes"))
    capacity = sum(line.capacity_bytes for line in lines)
    top = capacity if np.isfinite(capacity) and used.max() > 0.1 * capacity else max(1.0, float(used.max()))
    power, unit = next(
        ((power, unit) for power, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if top >= power),
        (1.0, "B"),
    )
    axes.set_title(f"KV memory ({unit})")
    axes.grid(True)
    axes.fill_between(times, held / power, used / power, color="#B8DCCB", lw=0, label="unfilled")
    axes.fill_between(times, 0, held / power, color=_GREEN, lw=0, label="filled")
    if top == capacity:
        axes.axhline(capacity / power, color=INK, lw=0.8, ls=(0, (4, 2)), label="capacity")
    _time_axis(axes, times)
    axes.set_ylim(0, 1.08 * top / power)
    _legend(axes)


def _time_axis(axes: Axes, times: NDArray[np.float64]) -> None:
    axes.set_xlim(0, max(float(times[-1]), 1e-9))
    axes.set_xlabel("Time (s)")


def _shares(axes: Axes, result: ServingResult) -> None:
    """One bar of what the replicas' time was spent on."""
    parts = {name: seconds for name, seconds in result.parts_s.items() if seconds > 0}
    total = sum(parts.values())
    axes.set_title("Where time goes")
    axes.set_axis_off()
    if not total:
        return
    spare = iter(_OTHERS * len(parts))
    left, handles = 0.0, []
    for name, seconds in sorted(parts.items(), key=lambda part: -part[1]):
        colour = _PARTS.get(name) or next(spare)
        axes.barh(0, seconds / total, left=left, color=colour, edgecolor="white", lw=0.5, height=1)
        handles.append(Patch(facecolor=colour, edgecolor="none", label=f"{name} {percent_text(seconds / total)}"))
        left += seconds / total
    axes.set_xlim(0, 1)
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.02), ncols=min(7, len(handles)))
