"""A request trace in one sheet: arrivals over time, lengths of prompts and answers."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dse.reports.figures.style import DOUBLE_WIDTH_IN, KIND_COLOURS, new_figure, paper_style
from workloads.traces.requests import RequestTrace

__all__ = ["requests_figure"]

_HEIGHT_IN = 2.2
_WINDOWS = 240
_PROMPT, _ANSWER = KIND_COLOURS["gemm"], KIND_COLOURS["attention"]


def requests_figure(trace: RequestTrace, *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """Requests per second in windows, and the part of requests up to each length."""
    with paper_style():
        figure = new_figure(width_in, _HEIGHT_IN)
        over_time, lengths = figure.subplots(1, 2)
        _arrivals(over_time, trace.arrival_s)
        for tokens, colour, name in (
            (trace.prompt_tokens, _PROMPT, "prompt"),
            (trace.output_tokens, _ANSWER, "answer"),
        ):
            at = np.sort(tokens)
            part = np.arange(1, len(at) + 1) / len(at)
            thin = np.unique(np.linspace(0, len(at) - 1, 2000).astype(int))
            lengths.step(at[thin], part[thin], where="post", color=colour, linewidth=1, label=name)
        lengths.set_xscale("log")
        lengths.set_ylim(0, 1)
        lengths.set_xlabel("tokens")
        lengths.set_ylabel("part of requests")
        lengths.set_title("Lengths")
        lengths.grid()
        lengths.legend(loc="upper left")
        figure.suptitle(f"{trace.name}: {len(trace):,} requests", x=0.01, ha="left")
    return figure


def _arrivals(axes: Axes, arrival_s: NDArray[np.float64]) -> None:
    last_s = float(arrival_s[-1])
    axes.set_title("Arrivals")
    axes.set_xlabel("s")
    axes.set_ylabel("requests/s")
    if last_s == 0:
        axes.text(0.5, 0.5, "all at once", transform=axes.transAxes, ha="center")
        return
    window_s = max(last_s / _WINDOWS, 1.0)
    counts = np.bincount((arrival_s / window_s).astype(np.int64))
    axes.stairs(counts / window_s, np.arange(len(counts) + 1) * window_s, color=_PROMPT, fill=True)
    axes.set_xlim(0, last_s)
    axes.set_ylim(0)
