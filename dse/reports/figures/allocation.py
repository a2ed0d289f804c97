"""An allocation drawn: time to the right, offsets upwards, a box for each piece of a buffer's life."""

from __future__ import annotations

from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from dse.reports.figures.style import DOUBLE_WIDTH_IN, INK, KIND_COLOURS, MUTED, new_figure, paper_style, tints
from dse.reports.units_text import bytes_text
from mappers.planner.allocation import Allocation, AllocationProblem

__all__ = ["allocation_figure"]

_HEIGHT_IN = 3.6
_PINNED = KIND_COLOURS["attention"]
_COMMON = KIND_COLOURS["gemm"]


def allocation_figure(problem: AllocationProblem, result: Allocation, *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """The figure of ``result``, which has a plan: what is held (the darker, the larger the buffer), peak, proven bound
    and capacity; below it the bytes alive, so that what is wasted shows. Raises ValueError without a plan.
    """
    if result.offsets is None or result.peak_bytes is None:
        raise ValueError("there is no plan to draw")
    with paper_style():
        figure = new_figure(width_in, _HEIGHT_IN)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        scale, unit = _unit(max(result.peak_bytes, result.capacity_bytes or 0))
        largest = sorted({buffer.size for buffer in problem.buffers}, reverse=True)
        shade = dict(zip(largest, tints(_COMMON, len(largest)), strict=True))
        boxes, colours = [], []
        for buffer, offset in zip(problem.buffers, result.offsets, strict=True):
            for piece in buffer.pieces:
                low, high = (offset + piece.low) / scale, (offset + piece.high) / scale
                boxes.append([(piece.lower, low), (piece.upper, low), (piece.upper, high), (piece.lower, high)])
                colours.append(shade[buffer.size] if buffer.pinned is None else _PINNED)
        above.add_collection(PolyCollection(boxes, facecolors=colours, edgecolors="white", linewidths=0.2))
        times = [time for buffer in problem.buffers for time in (buffer.lower, buffer.upper)] or [0, 1]
        above.set_xlim(min(times), max(times))
        lines = [(result.peak_bytes, INK, "-", "peak"), (result.lower_bound_bytes, MUTED, ":", "proven bound")]
        if result.capacity_bytes is not None:
            lines.append((result.capacity_bytes, _PINNED, "--", "capacity"))
        for value, colour, style, name in lines:
            above.axhline(
                value / scale, color=colour, linestyle=style, linewidth=0.8, label=f"{name} {bytes_text(value)}"
            )
        above.set_ylim(0, 1.04 * max(value for value, *_ in lines) / scale or 1)
        above.set_ylabel(f"Offset ({unit})")
        above.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(lines))
        steps, alive = _alive(problem)
        below.fill_between(steps, [value / scale for value in alive], step="post", color=_COMMON, linewidth=0)
        below.axhline(result.peak_bytes / scale, color=INK, linewidth=0.8)
        below.set_ylim(0, 1.1 * result.peak_bytes / scale or 1)
        below.set_ylabel(f"Alive ({unit})")
        below.set_xlabel("Time")
    return figure


def _alive(problem: AllocationProblem) -> tuple[list[int], list[int]]:
    """Times at which something changes, and the bytes alive from there on."""
    changes: dict[int, int] = {}
    for buffer in problem.buffers:
        for piece in buffer.pieces:
            held = piece.high - piece.low
            changes[piece.lower] = changes.get(piece.lower, 0) + held
            changes[piece.upper] = changes.get(piece.upper, 0) - held
    steps = sorted(changes)
    alive, total = [], 0
    for time in steps:
        total += changes[time]
        alive.append(total)
    return steps, alive


def _unit(largest: int) -> tuple[int, str]:
    for power, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if largest >= 4 << power:
            return 1 << power, name
    return 1, "bytes"
