"""Figures of designs in depth for papers: where the time, energy and area of each goes, a bar for each design; and of
designs that were asked for by number, all that is drawn of a single simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from dse.reports.exploration.depth import DesignInDepth
from dse.reports.exploration.figures import PALETTE
from dse.reports.exploration.run import ExploredRun
from dse.reports.figures import all_figures
from dse.reports.figures.bars import Bar, Panel, Piece, bar_panels
from dse.reports.figures.style import DOUBLE_WIDTH_IN, RESOURCE_COLOURS
from dse.reports.names import case_text, charge_kind, short_charge_text, slug
from dse.reports.units_text import joules_text, number_text, percent_text, seconds_text
from simulator.result import Result

__all__ = ["depth_figures"]

_VISIBLE = 2e-3
_STATIC = "static"


def depth_figures(run: ExploredRun, designs: Sequence[DesignInDepth], picks: Sequence[int] = ()) -> dict[str, Figure]:
    """Every figure by name: ``designs-time-WORKLOAD``, ``designs-energy-WORKLOAD``, ``designs-AREA`` of each area, and
    of each design in ``picks`` ``design-N-WORKLOAD-roofline`` and the others of a simulation."""
    if not designs:
        return {}
    figures = {}
    colours = _part_colours(run, designs)
    for name in designs[0].results:
        results = [each.results[name] for each in designs]
        cases = {case_text(result) for result in results}  # a parameter may set the batch
        case = cases.pop() if len(cases) == 1 else f"{results[0].model}, {results[0].phase}"
        figures[f"designs-time-{name}"] = _stacks(
            f"Time of {case}",
            [(each, each.results[name].time_by_bound_s) for each in designs],
            colours,
            seconds_text,
        )
        figures[f"designs-energy-{name}"] = _stacks(
            f"Energy of {case}", [(each, each.results[name].energy_j) for each in designs], colours, joules_text
        )
    titles = list(dict.fromkeys(stack.title for each in designs for stack in each.areas))
    for title in titles:
        areas = [(each, _areas(each, title)) for each in designs]
        names = dict.fromkeys(name for _, pieces in areas for name in pieces)
        shades = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(names)}
        figures[f"designs-{slug(title)}"] = _stacks(
            title[0].upper() + title[1:], areas, shades, lambda area: f"{number_text(area)} mm²", together=True
        )
    for each in designs:
        if each.ordinal in picks:
            for workload, result in each.results.items():
                drawn = all_figures([result], [each.design.system])
                figures |= {f"design-{each.ordinal}-{workload}-{name}": figure for name, figure in drawn.items()}
    return figures


def _part_colours(run: ExploredRun, designs: Iterable[DesignInDepth]) -> dict[str, str]:
    """Bottlenecks in the colours they have on the figure of the front, waiting and idling in grey, then the others."""
    limits = sorted({str(word) for word in run.stages[-1].outcomes.bottleneck if word})
    colours = {name: PALETTE[at % len(PALETTE)] for at, name in enumerate(limits)}
    for each in designs:
        for result in each.results.values():
            for name in sorted({*result.time_by_bound_s, *result.energy_j} - set(colours)):
                kind = _kind(result, name)
                along = next((colours[limit] for limit in limits if limit.startswith(f"{name}:")), None)
                grey = RESOURCE_COLOURS[kind] if kind in ("overhead", "idle") else None
                colours[name] = along or grey or PALETTE[len(colours) % len(PALETTE)]
    return colours


def _areas(each: DesignInDepth, title: str) -> dict[str, float]:
    return {piece.name: piece.area_mm2 for stack in each.areas if stack.title == title for piece in stack.pieces}


def _kind(result: Result, name: str) -> str:
    return "idle" if name == _STATIC else charge_kind(result, name)


def _stacks(
    title: str,
    rows: Sequence[tuple[DesignInDepth, Mapping[str, float]]],
    colours: Mapping[str, str],
    text: Callable[[float], str],
    *,
    together: bool = False,
) -> Figure:
    """A bar for each design: shares of its own total, or, ``together``, of the largest one's."""
    bars = []
    shown: dict[str, str] = {}
    totals = [sum(amounts.values()) for _, amounts in rows]
    largest = max(totals, default=0.0)
    for (each, amounts), total in zip(rows, totals, strict=True):
        pieces = []
        limit = (largest if together else total) or 1.0
        for name, amount in sorted(amounts.items(), key=lambda item: (list(colours).index(item[0]), item[0])):
            label = short_charge_text(name)
            share = percent_text(amount / total) if total else ""
            pieces.append(Piece(100 * amount / limit, colours[name], (f"{label}: {share}", share)))
            if amount > _VISIBLE * total:
                shown.setdefault(label, colours[name])
        bars.append(Bar(f"design {each.ordinal:,}", text(total), tuple(pieces)))
    axis = f"Share of the largest, {text(largest)} (%)" if together else "Share (%)"
    panel = Panel(title, tuple(bars), axis, 100.0)
    return bar_panels([panel], list(shown.items()), DOUBLE_WIDTH_IN)
