"""Panels of stacked horizontal bars: what the figures of time and of memory have in common.

Each bar is named at its left, with a second line for its total; its pieces are named inside where the name fits, and
by the legend, outside of the data, otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dse.reports.figures.style import INK, Colour, contrasting, new_figure, paper_style
from dse.reports.figures.titles import is_wide, to_the_left

__all__ = ["Bar", "Panel", "Piece", "bar_panels"]

_BAR_PITCH_IN = 0.32
_BAR_HEIGHT = 0.74
_PANEL_REST_IN = 0.62
_LEGEND_ROW_IN = 0.15
_LINE_IN = 0.12


@dataclass(frozen=True)
class Piece:
    """One piece of a bar: its length, colour and the ``names`` to write into it, the first that fits."""

    length: float
    colour: Colour
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bar:
    """A bar with its name, a second line under it, and its pieces from left to right."""

    name: str
    detail: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Panel:
    """Bars that share an axis of length ``limit`` called ``axis``; ``backdrop`` shades each bar's whole length."""

    title: str
    bars: tuple[Bar, ...]
    axis: str
    limit: float
    backdrop: bool = False


def bar_panels(panels: Sequence[Panel], legend: Sequence[tuple[str, Colour]], width_in: float) -> Figure:
    """The figure: one panel under the other, the legend below them (beside them in a wide figure)."""
    wide = is_wide(width_in)
    columns = 1 if wide else 3
    legend_in = 0.0 if wide else 0.08 + _LEGEND_ROW_IN * -(-len(legend) // columns)
    titles_in = sum(0.12 * panel.title.count("\n") for panel in panels)
    panels = [replace(panel, bars=tuple(_wrapped(bar, 40 if wide else 18) for bar in panel.bars)) for panel in panels]
    lines = max(bar.name.count("\n") + 2 for panel in panels for bar in panel.bars)
    heights = [len(panel.bars) * max(_BAR_PITCH_IN, lines * _LINE_IN + 0.06) for panel in panels]
    height_in = sum(heights) + _PANEL_REST_IN * len(panels) + legend_in + titles_in
    if wide:
        height_in = max(height_in, 0.2 + _LEGEND_ROW_IN * len(legend))
    with paper_style():
        figure = new_figure(width_in, height_in)
        rows = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for axes, panel in zip(rows[:, 0], panels, strict=True):
            _draw(axes, panel)
        if legend:
            figure.legend(
                handles=[Patch(facecolor=colour, edgecolor="none", label=name) for name, colour in legend],
                loc="outside right upper" if wide else "outside lower center",
                ncols=columns,
            )
        # What fits into a piece is known only once everything has its place.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes, panel in zip(rows[:, 0], panels, strict=True):
            to_the_left(axes, width_in)
            _name_pieces(axes, panel)
    return figure


def _wrapped(bar: Bar, columns: int) -> Bar:
    """The bar with its name over several lines, broken after commas rather than within what stands between them."""
    lines: list[str] = []
    for part in bar.name.split(", "):
        if lines and len(lines[-1]) + len(part) + 2 <= columns:
            lines[-1] += f", {part}"
        else:
            lines += wrap(part, columns)
    return replace(bar, name="\n".join(lines))


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, color=INK, pad=4)
    axes.set_xlim(0, panel.limit)
    axes.set_ylim(len(panel.bars) - 0.45, -0.55)
    axes.set_xlabel(panel.axis)
    axes.set_yticks(
        range(len(panel.bars)), [f"{bar.name}\n{bar.detail}" if bar.detail else bar.name for bar in panel.bars]
    )
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    for row, bar in enumerate(panel.bars):
        if panel.backdrop:
            axes.barh(row, panel.limit, _BAR_HEIGHT, color="#EFEFEF", zorder=1)
        left = 0.0
        for piece in bar.pieces:
            axes.barh(
                row, piece.length, _BAR_HEIGHT, left=left, color=piece.colour, edgecolor="white", lw=0.4, zorder=2
            )
            left += piece.length


def _name_pieces(axes: Axes, panel: Panel) -> None:
    per_unit = axes.get_window_extent().width / panel.limit
    air = 3 * axes.figure.dpi / 72
    for row, bar in enumerate(panel.bars):
        left = 0.0
        for piece in bar.pieces:
            for name in piece.names:
                text = axes.text(
                    left + piece.length / 2, row, name, ha="center", va="center", linespacing=1.0,
                    color=contrasting(piece.colour), zorder=3,
                )  # fmt: skip
                if text.get_window_extent().width + air <= piece.length * per_unit:
                    break
                text.remove()
            left += piece.length
