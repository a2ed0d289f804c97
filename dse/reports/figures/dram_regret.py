"""The DRAM-controller space: all of it in the plane of power and time, and what engines miss of its best designs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from dse.dram_controller.regret import OBJECTIVES, TARGET_S, TARGET_W, Known, RegretRow
from dse.explore.front import front_places
from dse.reports.figures.style import DOUBLE_WIDTH_IN, INK, KIND_COLOURS, MUTED, new_figure, paper_style

__all__ = ["dram_regret_figure", "dram_space_figure"]

_HEIGHT_IN = 2.8
_MARKERS = ("o", "s", "^", "D", "v")
_FAULTY = ", faulty encoder"


def dram_regret_figure(rows: Sequence[RegretRow], title: str = "", *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """``rows`` of one trace as `dse.dram_controller.regret.regrets` gives them: one panel for each objective, the mean
    regret over the number of designs with a standard error over seeds either way.

    Of engines behind the faulty encoder the regret of the best design that they reach is drawn, which none goes below.
    """
    objectives = [name for name in OBJECTIVES if any(row.objective == name for row in rows)]
    engines = [e for e in dict.fromkeys(row.engine for row in rows) if not e.endswith(_FAULTY)]
    colours = [colour for kind, colour in KIND_COLOURS.items() if kind != "other"]
    with paper_style():
        figure = new_figure(width_in, _HEIGHT_IN)
        panels = figure.subplots(1, len(objectives), sharey=True, squeeze=False)[0]
        for axes, objective in zip(panels, objectives, strict=True):
            for place, engine in enumerate(engines):
                mine = sorted(
                    (row for row in rows if (row.engine, row.objective) == (engine, objective)), key=lambda r: r.budget
                )
                x = np.array([row.budget for row in mine])
                y = np.array([row.regret for row in mine])
                error = np.array([row.deviation / np.sqrt(row.seeds) for row in mine])
                plain = engine == "random"
                colour = INK if plain else colours[(place - 1) % len(colours)]
                axes.fill_between(x, np.maximum(y - error, 0), y + error, color=colour, alpha=0.12, linewidth=0)
                axes.plot(
                    x, y, color=colour, linewidth=1.2 if plain else 1.0, linestyle="--" if plain else "-", label=engine,
                    marker=None if plain else _MARKERS[place % len(_MARKERS)], markersize=2.4, markeredgewidth=0,
                )  # fmt: skip
            floors = [row.floor for row in rows if row.engine.endswith(_FAULTY) and row.objective == objective]
            if floors:
                axes.axhline(floors[0], color=MUTED, linewidth=0.9, linestyle=":")
                above = floors[0] < 0.9
                axes.annotate(
                    f"best behind the faulty encoder: {floors[0]:.2f}",
                    (0.98, floors[0]), xycoords=("axes fraction", "data"), xytext=(0, 2 if above else -2),
                    textcoords="offset points", ha="right", va="bottom" if above else "top", color=MUTED, fontsize=6,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
                )  # fmt: skip
            _dress(axes, objective)
        panels[0].set_ylabel("regret: 1 − best found / best there is")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(engines))
        if title:
            figure.suptitle(title)
    return figure


def _dress(axes: Axes, objective: str) -> None:
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.02)
    axes.set_title({"both": "power × latency"}.get(objective, objective))
    axes.set_xlabel("designs simulated")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True)


def dram_space_figure(known: Mapping[str, Known], *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """All designs of the space by power and total time, one panel for each trace of ``known``: those that the faulty
    encoder reaches drawn over the others, the front of both as a line, ArchGym's targets as lines that cross."""
    with paper_style():
        figure = new_figure(width_in, _HEIGHT_IN)
        panels = figure.subplots(1, len(known), sharey=True, squeeze=False)[0]
        for axes, (trace, one) in zip(panels, known.items(), strict=True):
            _, reached = one.truth(("power",), encoded=True)
            points = np.stack([one.swept.power_w, one.swept.total_s * 1e6], axis=1)
            places = np.arange(len(points))
            for part, colour, size, label in (
                (places, "#B8B8B8", 3.0, "all designs"),
                (reached, KIND_COLOURS["attention"], 2.0, "of the faulty encoder"),
            ):
                different = np.unique(points[part], axis=0)
                axes.scatter(*different.T, s=size, color=colour, linewidths=0, label=label, rasterized=True)
            front = points[front_places(points)]
            axes.plot(*front.T, color=INK, linewidth=0.8, drawstyle="steps-post", label="front")
            axes.axvline(TARGET_W, color=MUTED, linewidth=0.6, linestyle=":")
            axes.axhline(TARGET_S * 1e6 * one.requests / 10_000, color=MUTED, linewidth=0.6, linestyle=":")
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value in _SHOWN else ""))
            axes.set_xlabel("power (W)")
            axes.set_title(trace)
            axes.grid(True)
        panels[0].set_ylabel("total time (µs)")
        panels[-1].legend(loc="upper right", frameon=False, fontsize=6, markerscale=2)
    return figure


_SHOWN = (50, 200, 300, 400)
