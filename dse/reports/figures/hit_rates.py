"""Hit rates of a cache of experts over its size, one line for each rule."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dse.reports.figures.style import COLUMN_WIDTH_IN, KIND_COLOURS, MUTED, new_figure, paper_style

__all__ = ["hit_rate_figure"]

_HEIGHT_IN = 2.6
_WIDEST = 4.0
"""Slots over active experts up to which curves are drawn."""


def hit_rate_figure(
    title: str, curves: Mapping[str, NDArray[np.float64]], active: int, *, width_in: float = COLUMN_WIDTH_IN
) -> Figure:
    """``curves[rule][slots - 1]`` over slots as a multiple of ``active`` experts, beside what chance gives."""
    with paper_style():
        figure = new_figure(width_in, _HEIGHT_IN)
        axes = figure.subplots()
        colours = list(KIND_COLOURS.values())
        most = 0.0
        for number, (rule, curve) in enumerate(curves.items()):
            rho = np.arange(1, curve.size + 1) / active
            most = max(most, float(rho[-1]))
            axes.plot(rho, curve, color=colours[number % len(colours)], linewidth=1, label=rule)
        right = min(_WIDEST, most)
        axes.plot([0, right], [0, right / most], color=MUTED, linewidth=0.8, linestyle=":", label="uniform")
        axes.set_xlim(0, right)
        axes.set_ylim(0, 1)
        axes.set_xlabel("slots / active experts")
        axes.set_ylabel("hit rate")
        axes.set_title(title)
        axes.grid()
        axes.legend(loc="lower right")
    return figure
