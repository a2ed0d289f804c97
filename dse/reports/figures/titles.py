"""Figure titles: what was simulated and where, on one line in a wide figure, on two in a column."""

from __future__ import annotations

from matplotlib.axes import Axes

from dse.reports.figures.style import COLUMN_WIDTH_IN, INK
from dse.reports.names import case_text
from simulator.result import Result

__all__ = ["is_wide", "title"]


def is_wide(width_in: float) -> bool:
    """Whether a figure is drawn for the width of a page rather than of a column."""
    return width_in > 1.5 * COLUMN_WIDTH_IN


def title(axes: Axes, result: Result, width_in: float) -> None:
    """Say above ``axes`` what is shown."""
    machine = f"{result.devices} × {result.system}, one device" if result.devices > 1 else result.system
    between = " on " if is_wide(width_in) else "\non "
    axes.set_title(f"{case_text(result)}{between}{machine}", color=INK, pad=4)
