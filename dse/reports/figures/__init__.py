"""Figures of results, drawn with matplotlib; import this package only where figures are made."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from dse.reports.compare import result_labels
from dse.reports.figures.layer_stack import layer_stack_figure
from dse.reports.figures.memory_map import memory_map_figure
from dse.reports.figures.roofline import roofline_figure
from dse.reports.figures.style import COLUMN_WIDTH_IN, DOUBLE_WIDTH_IN, png_bytes, svg_bytes
from dse.reports.figures.time_by_bound import time_by_bound_figure
from dse.reports.names import slug
from hw.spec.system import System
from simulator.result import Result

__all__ = [
    "COLUMN_WIDTH_IN",
    "DOUBLE_WIDTH_IN",
    "all_figures",
    "layer_stack_figure",
    "memory_map_figure",
    "png_bytes",
    "roofline_figure",
    "svg_bytes",
    "time_by_bound_figure",
]


def all_figures(
    results: Sequence[Result], systems: Sequence[System], *, width_in: float = DOUBLE_WIDTH_IN
) -> dict[str, Figure]:
    """Every figure of one or several results by name: a roofline for each, the others for all together.

    Of several results, each roofline's name ends in what tells its result apart.
    """
    names = ["roofline"] if len(results) == 1 else [f"roofline-{slug(label)}" for label in result_labels(results)]
    figures = {
        name: roofline_figure(result, system, width_in=width_in)
        for name, result, system in zip(names, results, systems, strict=True)
    }
    return figures | {
        "layer-stack": layer_stack_figure(results, width_in=width_in),
        "time-by-bound": time_by_bound_figure(results, width_in=width_in),
        "memory-map": memory_map_figure(results, width_in=width_in),
    }
