"""A plan over tiers as it fills them: one panel for each tier, bytes over one pass, what stays below what passes."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dse.reports.figures.style import DOUBLE_WIDTH_IN, INK, MUTED, ROLE_COLOURS, new_figure, paper_style
from mappers.planner.tiers import TierPlan, TierProblem

__all__ = ["tier_plan_figure"]

_PASSING = "#B8B8B8"
_ARENA = "#E2E2E2"
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def tier_plan_figure(
    problem: TierProblem,
    plan: TierPlan,
    headline: str,
    ends_s: tuple[float, ...] | None = None,
    *,
    width_in: float = DOUBLE_WIDTH_IN,
) -> Figure:
    """Occupancy of every tier over the intervals of one pass.

    ``ends_s`` are the simulated ends of the intervals; without them the planned ones are the time axis.
    """
    if ends_s is None:
        lengths, total = plan.lengths_s(problem), 0.0
        planned = []
        for length in lengths:
            total += length
            planned.append(total)
        ends_s = tuple(planned)
    edges = [0.0, *ends_s]
    scale, unit = (1.0, "s") if edges[-1] >= 1 else (1e3, "ms")
    edges = [scale * edge for edge in edges]
    with paper_style():
        figure = new_figure(width_in, 0.6 + 1.25 * len(problem.tiers))
        figure.suptitle(headline, x=2 / (72 * width_in), ha="left", color=INK)
        panels = figure.subplots(len(problem.tiers), 1, sharex=True, squeeze=False)[:, 0]
        shown: dict[str, str] = {}
        for axes, tier in zip(panels, problem.order(), strict=True):
            _fill(axes, problem, plan, tier, edges, shown)
        panels[-1].set_xlabel(f"Time in one pass ({unit})")
        handles = [Patch(facecolor=colour, edgecolor="none", label=label) for label, colour in shown.items()]
        figure.legend(handles=handles, loc="outside lower left", ncols=min(6, len(handles)))
    return figure


def _fill(
    axes: Axes, problem: TierProblem, plan: TierPlan, tier: str, edges: list[float], shown: dict[str, str]
) -> None:
    length = len(problem.intervals)
    layers: dict[str, list[float]] = {}
    passing, arena = [0.0] * length, [0.0] * length
    for stay in plan.stays:
        if stay.tier != tier:
            continue
        tensor = problem.tensor[stay.tensor]
        row = layers.setdefault(tensor.group, [0.0] * length) if not stay.arriving else passing
        for at in stay.covered(length):
            row[at] += tensor.bytes
    if tier == problem.compute:
        arena = [interval.arena_bytes for interval in problem.intervals]
    rows = [
        *(
            (group.replace("_", " "), ROLE_COLOURS.get(group, ROLE_COLOURS["other"]), row)
            for group, row in layers.items()
        ),
        ("passing through", _PASSING, passing),
        ("activations", _ARENA, arena),
    ]
    capacity = problem.tier[tier].capacity_bytes
    peak = plan.peak_bytes(problem)[tier]
    fits_view = peak > 0.2 * capacity
    factor, unit = next(pair for pair in _UNITS if max(peak, 1.0) >= pair[0] or pair[0] == 1.0)
    floor = [0.0] * length
    for label, colour, row in sorted(rows, key=lambda row: (max(row[2]) > min(row[2]), -min(row[2]))):
        if max(row) <= 0:
            continue
        top = [a + b for a, b in zip(floor, row, strict=True)]
        axes.stairs(
            [value / factor for value in top],
            edges,
            baseline=[value / factor for value in floor],
            fill=True,
            color=colour,
        )
        floor = top
        shown.setdefault(label, colour)
    if fits_view:
        axes.axhline(capacity / factor, color=INK, lw=0.8, ls=(0, (4, 2)))
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(0, 1.08 * max(capacity if fits_view else peak, 1.0) / factor)
    axes.set_ylabel(f"{tier} ({unit})")
    what = "capacity, dashed" if fits_view else "capacity"
    axes.set_title(f"{peak / factor:,.3g} of {capacity / factor:,.4g} {unit} ({what})", color=MUTED, loc="right", pad=2)
