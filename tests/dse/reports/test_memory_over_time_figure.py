"""Memory over time: what is drawn is what was asked for; nothing cut off; equal traces equal bytes."""

from __future__ import annotations

import numpy as np
import pytest

from dse.reports.figures.memory_over_time import MemoryPanel, memory_over_time_figure
from dse.reports.figures.style import svg_bytes
from mappers.planner.allocation.requests import Request
from simulator.training.step.inventory import StageMemory
from simulator.training.step.memory_trace import MemoryTrace

GB = 10**9


def panel(title: str = "two micro-batches") -> MemoryPanel:
    """10 GB that stand, then 2, 4, 2 and nothing of activations, a second each."""
    requests = [Request(True, "optimizer", 6 * GB), Request(True, "weights", 4 * GB)]
    requests += [Request(True, "a", 2 * GB), Request(True, "b", 2 * GB)]
    requests += [Request(False, "a", 2 * GB), Request(False, "b", 2 * GB)]
    trace = MemoryTrace(tuple(requests), np.array([0.0, 0.0, 1.0, 2.0, 3.0, 4.0]))
    return MemoryPanel(title, trace, StageMemory(4.0 * GB, 0.0, 6.0 * GB, 0.0, 4.0 * GB, 0.5 * GB), 15.0 * GB)


def test_bands_and_lines_are_the_trace_s() -> None:
    (axes,) = memory_over_time_figure([panel()]).axes
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) == 2]  # type: ignore[arg-type]
    assert [line.get_ydata()[0] for line in lines] == [14.5, 15.0]  # type: ignore[index]
    tops = [collection.get_datalim(axes.transData).y1 for collection in axes.collections]
    assert max(tops) == pytest.approx(14.0)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    assert "held at most 14.00 GB" in texts
    assert "optimizer 6.0 GB" in texts


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_is_cut_off(count: int) -> None:
    figure = memory_over_time_figure([panel("13B, tp=2, pp=4, dp=2, ZeRO 1: first stage")] * count)
    figure.draw_without_rendering()
    for axes in figure.axes:
        outer = axes.get_tightbbox()
        assert outer is not None
        assert outer.x0 >= figure.bbox.x0 - 1
        assert outer.x1 <= figure.bbox.x1 + 1
        assert outer.y0 >= figure.bbox.y0 - 1
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_window_extent().y1 <= axes.xaxis.label.get_window_extent().y0 + 2


def test_equal_traces_give_equal_bytes() -> None:
    assert svg_bytes(memory_over_time_figure([panel()])) == svg_bytes(memory_over_time_figure([panel()]))
