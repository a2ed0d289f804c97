"""What lies where: bytes of each tier by role against its capacity."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from dse.reports.figures.bars import Bar, Panel, Piece, bar_panels
from dse.reports.figures.style import DOUBLE_WIDTH_IN, ROLE_COLOURS, Colour
from dse.reports.figures.titles import panel_titles
from dse.reports.summary import WORKSPACE, tier_uses
from dse.reports.units_text import bytes_text, percent_text
from simulator.result import Result

__all__ = ["memory_map_figure"]


def memory_map_figure(results: Sequence[Result], *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """The figure, one panel per result: each tier's peak as a share of one device's part of its capacity."""
    roles: dict[str, Colour] = {}
    panels = []
    for result, title in zip(results, panel_titles(results, width_in, latency=False), strict=True):
        bars = []
        for use in tier_uses(result):
            pieces = []
            for role, size in use.by_role:
                colour = ROLE_COLOURS.get(role, ROLE_COLOURS["other"])
                name = role.replace("_", " ")
                if size > 1e-3 * use.capacity_bytes:
                    roles.setdefault(name, colour)
                names = (f"{name}, {bytes_text(size)}", f"{name}\n{bytes_text(size)}", bytes_text(size))
                pieces.append(Piece(100 * size / use.capacity_bytes, colour, names if role != WORKSPACE else names[1:]))
            used = f"{bytes_text(use.peak_bytes)} of " if use.peak_bytes else "unused, "
            share = f" ({percent_text(use.share)})" if use.peak_bytes else ""
            bars.append(Bar(f"{use.tier}{share}", f"{used}{bytes_text(use.capacity_bytes)}", tuple(pieces)))
        axis = "Share of capacity" + (" per device" if result.devices > 1 else "") + " (%)"
        panels.append(Panel(title, tuple(bars), axis, 100.0, backdrop=True))
    return bar_panels(panels, list(roles.items()), width_in)
