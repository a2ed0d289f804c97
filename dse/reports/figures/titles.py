"""Figure titles: what was simulated and where, on one line in a wide figure, on two in a column."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from dse.reports.compare import result_labels
from dse.reports.figures.style import COLUMN_WIDTH_IN
from dse.reports.names import case_text
from dse.reports.summary import latency_name
from dse.reports.units_text import ratio_text, seconds_text
from simulator.result import Result

__all__ = ["common_title", "is_wide", "panel_titles", "result_title", "to_the_left"]


def is_wide(width_in: float) -> bool:
    """Whether a figure is drawn for the width of a page rather than of a column."""
    return width_in > 1.5 * COLUMN_WIDTH_IN


def result_title(result: Result, width_in: float) -> str:
    """What was simulated and on what."""
    machine = f"{result.devices} × {result.system}, one device" if result.devices > 1 else result.system
    between = " on " if is_wide(width_in) else "\non "
    return f"{case_text(result)}{between}{machine}"


def to_the_left(axes: Axes, width_in: float) -> None:
    """Move the title of laid-out axes to the left edge of their figure, where there is most room for it."""
    place = axes.get_position()
    # The title has coordinates along the axes; constrained layout leaves a margin of 2 points.
    edge = 2 / (72 * width_in)
    axes.set_title(axes.get_title("left"), x=(edge - place.x0) / place.width, pad=4)


def common_title(results: Sequence[Result], width_in: float) -> str:
    """What all results share: the whole case of one result, the case without the system where only that differs."""
    if len(results) == 1:
        return result_title(results[0], width_in)
    cases = {case_text(result) for result in results}
    return cases.pop() if len(cases) == 1 else ""


def panel_titles(results: Sequence[Result], width_in: float, *, latency: bool = True) -> tuple[str, ...]:
    """A title for each result's panel: the first says what all share; with ``latency`` each its own and the ratio."""
    if len(results) == 1:
        return (result_title(results[0], width_in),)
    common = common_title(results, width_in)
    titles = []
    for at, (result, label) in enumerate(zip(results, result_labels(results), strict=True)):
        text = f"{label}: {latency_name(result)} {seconds_text(result.latency_s)}" if latency else label
        if latency and at:
            text += f" ({ratio_text(result.latency_s / results[0].latency_s)})"
        if common and not at:
            text = f"{common}\n{text}"
        titles.append(text)
    return tuple(titles)
