"""What a device of a training step holds over time, beside what its inventory, an allocator and the memory are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from dse.reports.figures.style import DOUBLE_WIDTH_IN, INK, KIND_COLOURS, MUTED, new_figure, paper_style, tints
from simulator.training.step.inventory import StageMemory
from simulator.training.step.memory_trace import MemoryTrace

__all__ = ["MemoryPanel", "memory_over_time_figure"]

_HEIGHT_IN = 2.75
_BINS = 500
_LEGEND_DOWN_IN = 0.34
_STATIC = ("optimizer", "weights", "gradients")


@dataclass(frozen=True)
class MemoryPanel:
    """A device's requests, what its inventory says, and what a caching allocator reserves for the requests."""

    title: str
    trace: MemoryTrace
    memory: StageMemory
    reserved_bytes: float


def memory_over_time_figure(panels: Sequence[MemoryPanel], *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """A panel for each: held bytes as a band from least to most of each moment, over what stands for the whole step."""
    with paper_style():
        figure = new_figure(width_in, _HEIGHT_IN)
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw(axes, panel)
    return figure


def _draw(axes: Axes, panel: MemoryPanel) -> None:
    axes.set_title(panel.title, color=INK, pad=4)
    axes.grid(True)
    times, low, high = _envelope(panel.trace)
    floor = 0.0
    parts = panel.memory.parts()
    for name, colour in zip(_STATIC, tints(KIND_COLOURS["norm"], len(_STATIC)), strict=True):
        size = parts[name] / 1e9
        axes.fill_between(times[[0, -1]], floor, floor + size, color=colour, lw=0, label=f"{name} {size:.1f} GB")
        floor += size
    axes.fill_between(times, floor, np.maximum(low, floor), color=KIND_COLOURS["grouped_gemm"], lw=0, step="post",
                      label="activations, transients")  # fmt: skip
    axes.fill_between(times, low, high, color=KIND_COLOURS["gemm"], lw=0, step="post", label="in the course of a pass")
    for name, size, dashes in (
        ("inventory", panel.memory.total, (0, (4, 2))),
        ("caching allocator", panel.reserved_bytes, (0, (1, 1.5))),
    ):
        axes.axhline(size / 1e9, color=INK, lw=0.8, ls=dashes, label=f"{name} {size / 1e9:.2f} GB")
    peak = panel.trace.peak_bytes / 1e9
    axes.plot([], [], " ", label=f"held at most {peak:.2f} GB")
    axes.set(xlim=(0, times[-1]), ylim=(0, 1.08 * max(panel.reserved_bytes, panel.memory.total) / 1e9))
    axes.set_xlabel("time, s", color=MUTED)
    axes.set_ylabel("a device, GB")
    down = ScaledTranslation(0, -_LEGEND_DOWN_IN, axes.figure.dpi_scale_trans)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=axes.transAxes + down, ncols=2)


def _envelope(trace: MemoryTrace) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Least and most GB held in each of equal moments, from the first request after what stands for the whole step."""
    held, times = trace.held_bytes / 1e9, trace.times_s
    first = int(np.argmax(times > 0)) - 1 if (times > 0).any() else 0
    edges = np.linspace(0.0, float(times[-1]), _BINS + 1)
    place = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, _BINS - 1)
    low, high = np.full(_BINS, np.inf), np.full(_BINS, -np.inf)
    np.minimum.at(low, place[first:], held[first:])
    np.maximum.at(high, place[first:], held[first:])
    for at in range(_BINS):  # a moment without a request holds what the one before it held last
        if not np.isfinite(low[at]):
            known = int(np.searchsorted(times, edges[at], side="right")) - 1
            low[at] = high[at] = held[max(known, first)]
    return edges[:-1], low, high
