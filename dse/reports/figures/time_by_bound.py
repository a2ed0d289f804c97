"""What the time of a step is charged to: resources, fixed overhead, idling; one bar per result."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from dse.reports.compare import result_labels
from dse.reports.figures.bars import Bar, Panel, Piece, bar_panels
from dse.reports.figures.style import DOUBLE_WIDTH_IN, RESOURCE_COLOURS, tints
from dse.reports.figures.titles import common_title
from dse.reports.names import charge_kind, short_charge_text
from dse.reports.summary import Charge, charges
from dse.reports.units_text import percent_text, seconds_text
from simulator.result import Result

__all__ = ["time_by_bound_figure"]

_VISIBLE = 2e-3
_NAMES = {
    "engine": "engine",
    "tier": "memory port",
    "link": "link",
    "fabric": "fabric",
    "overhead": "overhead",
    "idle": "idle",
    "other": "other",
}


def time_by_bound_figure(results: Sequence[Result], *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """The figure: for each result the shares of its latency, which stands beside its name."""
    bars = []
    seen = set()
    for result, label in zip(results, result_labels(results), strict=True):
        rows = [row for row in charges(result) if row.share > _VISIBLE]
        seen |= {charge_kind(result, row.name) for row in rows}
        bars.append(Bar(label, seconds_text(result.latency_s), tuple(_pieces(result, rows))))
    legend = [(_NAMES[kind], colour) for kind, colour in RESOURCE_COLOURS.items() if kind in seen]
    panel = Panel(common_title(results, width_in), tuple(bars), "Share of the time (%)", 100.0)
    return bar_panels([panel], legend, width_in)


def _pieces(result: Result, rows: Sequence[Charge]) -> list[Piece]:
    """One piece per row, in the order of the legend; rows of one kind in shades of its colour."""
    pieces = []
    for kind, colour in RESOURCE_COLOURS.items():
        alike = [row for row in rows if charge_kind(result, row.name) == kind]
        for row, shade in zip(alike, tints(colour, len(alike)), strict=True):
            name, share = short_charge_text(row.name), percent_text(row.share)
            pieces.append(Piece(100 * row.share, shade, (f"{name}: {share}", f"{name}\n{share}", share)))
    return pieces
