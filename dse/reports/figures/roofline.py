"""The roofline of a result: each operation between the ceilings of its machine.

Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009. Ceilings of compute are the engines' peaks in the formats
they compute in; ceilings of memory are the home tier's bandwidth and, where tensors lie elsewhere, that of the path
from there. Operations are drawn at what they achieve with their operands in the home tier, overhead included; the
whole step is drawn at what it achieves with all its transfers, so that the two tell a slow tier from a slow kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from dse.reports.figures.label_places import Box, LineSpot, Obstacles, Point, Spot, find_line_spot, find_spot
from dse.reports.figures.style import DOUBLE_WIDTH_IN, INK, MUTED, kind_colour, new_figure, paper_style
from dse.reports.figures.titles import is_wide, result_title, to_the_left
from dse.reports.summary import Operation, operations
from dse.reports.units_text import engineering, number_text, percent_text
from hw.spec.system import System
from mappers.planner.placement import path_bandwidth
from mappers.roofline import VECTOR_FORMAT
from simulator.result import Result

__all__ = ["Ceilings", "ceilings", "roofline_figure"]

_TERA = 1e12
_LABELLED = 5
_BRIEF = 0.03
_TOGETHER_PT = 14.0
_LINE_PITCH_PT = 8.8
_LARGEST_AREA = 170.0
_SMALLEST_AREA = 7.0


_Line = tuple[str, Point, Point]
"""A name and two ends."""


@dataclass(frozen=True)
class _Label:
    """Lines of text for the operations at a point; ``point``, ``radius`` and ``size`` in pixels."""

    lines: tuple[str, ...]
    point: Point
    radius: float
    size: tuple[float, float]


@dataclass(frozen=True)
class Ceilings:
    """Peaks in operations/s and bandwidths in bytes/s of one device, by what they are called in the figure."""

    peaks: dict[str, float]
    bandwidths: dict[str, float]

    @property
    def ridge_ops_per_byte(self) -> float:
        """Intensity from which on the highest peak binds under the highest bandwidth."""
        return max(self.peaks.values()) / max(self.bandwidths.values())


def ceilings(result: Result, system: System) -> Ceilings:
    """The ceilings that concern a result: engines it used, tiers they compute in, paths its tensors take to them."""
    used = [name for name in system.engines if result.utilisation.get(name, 0.0) > 0] or list(system.engines)
    peaks, bandwidths = {}, {}
    for name in used:
        engine = system.engines[name]
        fmt = result.formats.get("compute", "bf16") if engine.kind == "matrix" else VECTOR_FORMAT
        peaks[f"{name}, {fmt}"] = engine.throughput(fmt)
        tier = system.tiers[engine.home]
        inside = engine.home_bandwidth_bytes_per_s
        label = f"{engine.home} inside {name}" if inside else engine.home
        bandwidths[label] = inside or tier.read_bandwidth_bytes_per_s
    home = next(iter(result.capacity_bytes))
    for tier_name in result.capacity_bytes:
        holds = any(tiers.get(tier_name, 0.0) > 0 for tiers in result.placement_bytes.values())
        if holds and tier_name not in {system.engines[name].home for name in used}:
            bandwidths[f"{tier_name} → {home}"] = path_bandwidth(system, tier_name, home)
    return Ceilings(peaks, bandwidths)


def roofline_figure(result: Result, system: System, *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """The figure, ``width_in`` inches wide; operations without arithmetic (gathers) have no place in it."""
    working = [op for op in operations(result) if op.operations > 0 and op.bytes > 0]
    shown = _worth_room(working)
    roofs = ceilings(result, system)
    with paper_style():
        figure = new_figure(width_in, 3.0 if is_wide(width_in) else 3.3)
        axes = figure.add_subplot()
        _frame(axes, result, shown, roofs)
        _legend(figure, working, shown, wide=is_wide(width_in))
        axes.set_title(result_title(result, width_in), color=INK, pad=4)
        # Labels go between what is drawn, so everything must have its place before them.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        to_the_left(axes, width_in)
        obstacles = _draw_operations(axes, result, shown)
        lines = _draw_ceilings(axes, roofs, _rate_unit(result), obstacles)
        _write_names(axes, lines, shown, obstacles)
    return figure


def _worth_room(working: Sequence[Operation]) -> list[Operation]:
    """The operations but those that take next to no time far below all others, which would squeeze the rest."""
    rising = sorted(working, key=lambda op: op.ops_per_s)
    spare = _BRIEF * sum(op.seconds for op in working)
    lowest = 0.0
    for op in rising:
        lowest = op.ops_per_s
        spare -= op.seconds
        if spare < 0:
            break
    return [op for op in working if op.ops_per_s >= lowest / 10]


def _frame(axes: Axes, result: Result, shown: Sequence[Operation], roofs: Ceilings) -> None:
    step_x, step_y = _whole_step(result)
    across = [op.intensity_ops_per_byte for op in shown] + [step_x]
    upward = [op.ops_per_s for op in shown] + [step_y]
    peak = max(roofs.peaks.values())
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(*across, roofs.ridge_ops_per_byte / 10) / 3, max(*across, roofs.ridge_ops_per_byte) * 5)
    axes.set_ylim(min(*upward, peak / 10) / _TERA / 3, peak / _TERA * 4)
    axes.set_xlabel("Operational intensity (operations/byte)")
    axes.set_ylabel(f"Performance ({_rate_unit(result)})")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.9f}".rstrip("0").rstrip(".")))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major")


def _rate_unit(result: Result) -> str:
    return "TOP/s" if result.formats.get("compute", "").startswith("int") else "TFLOP/s"


def _whole_step(result: Result) -> tuple[float, float]:
    """Intensity and operations/s of the step as a whole, transfers and waiting included."""
    everything = operations(result)
    work = sum(op.operations for op in everything)
    return work / max(sum(op.bytes for op in everything), 1.0), work / result.latency_s


def _legend(figure: Figure, working: Sequence[Operation], shown: Sequence[Operation], *, wide: bool) -> None:
    kinds = list(dict.fromkeys(op.kind for op in shown))
    handles = [
        Line2D([], [], ls="", marker="o", ms=5, mfc=kind_colour(kind), mec="white", label=kind.replace("_", " "))
        for kind in kinds
    ]
    handles.append(Line2D([], [], ls="", marker="D", ms=5, mfc="none", mec=INK, mew=1.0, label="whole step"))
    heading = "Operations\n(area, %: share\nof their time)" if wide else "Operations (area, %: share of their time)"
    if len(shown) < len(working):
        between = "\n" if wide else " "
        left_out = 1 - sum(op.seconds for op in shown) / sum(op.seconds for op in working)
        heading += f"\nnot shown: {len(working) - len(shown)} slower,{between}{percent_text(left_out)}"
    figure.legend(
        handles=handles,
        title=heading,
        loc="outside right upper" if wide else "outside lower center",
        ncols=1 if wide else 3,
        alignment="left",
    )


def _draw_operations(axes: Axes, result: Result, shown: Sequence[Operation]) -> Obstacles:
    """Markers, large ones first so that none is hidden; returns them as obstacles."""
    pixel = _pixels(axes)
    frame = axes.get_window_extent()
    obstacles = Obstacles(Box(frame.x0 + 2, frame.y0 + 2, frame.x1, frame.y1), _unit(axes))
    total = sum(op.seconds for op in shown)
    for op in shown:
        at = (op.intensity_ops_per_byte, op.ops_per_s / _TERA)
        area = _area(op, total)
        axes.scatter(*at, s=area, color=kind_colour(op.kind), alpha=0.85, edgecolors="white", linewidths=0.4, zorder=3)
        side = 2 * _radius(axes, area)
        obstacles.boxes.append(Box.around(*pixel(at), side, side))
    x, y = _whole_step(result)
    axes.scatter(x, y / _TERA, s=26, marker="D", facecolors="none", edgecolors=INK, linewidths=1.0, zorder=4)
    side = 2.6 * _radius(axes, 26)
    obstacles.boxes.append(Box.around(*pixel((x, y / _TERA)), side, side))
    return obstacles


def _draw_ceilings(axes: Axes, roofs: Ceilings, rate_unit: str, obstacles: Obstacles) -> list[_Line]:
    """Slopes up to the highest peak, peaks from the first slope on; returns each one's name and ends in pixels."""
    left, right = axes.get_xlim()
    pixel = _pixels(axes)
    highest, fastest = max(roofs.peaks.values()), max(roofs.bandwidths.values())
    ends = [
        (f"{name}, {number_text(peak / _TERA)} {rate_unit}", (peak / fastest, peak / _TERA), (right, peak / _TERA))
        for name, peak in roofs.peaks.items()
    ]
    ends += [
        (
            f"{name}, {engineering(bandwidth, 'B/s')}",
            (left, left * bandwidth / _TERA),
            (highest / bandwidth, highest / _TERA),
        )
        for name, bandwidth in roofs.bandwidths.items()
    ]
    first = {ends[0][0], ends[len(roofs.peaks)][0]}
    lines: list[_Line] = []
    for name, start, end in ends:
        width, style = (1.0, "-") if name in first else (0.8, (0, (4, 2)))
        axes.plot(*zip(start, end, strict=True), color=INK, lw=width, ls=style, zorder=2)
        obstacles.add_line(pixel(start), pixel(end))
        lines.append((name, pixel(start), pixel(end)))
    return lines


def _write_names(axes: Axes, lines: Sequence[_Line], shown: Sequence[Operation], obstacles: Obstacles) -> None:
    """Name ceilings and operations, in the order of the two that leaves both clearer."""
    unit = _unit(axes)
    labels = _labels(axes, shown)
    line_sizes = {line: _text_size(axes, line[0]) for line in lines}

    def place(lines_first: bool) -> tuple[list[LineSpot], list[Spot]]:
        taken = obstacles.copy()
        named: list[LineSpot] = []
        spots: list[Spot] = []
        for for_lines in (lines_first, not lines_first):
            if for_lines:
                named = [find_line_spot(taken, line[1], line[2], line_sizes[line]) for line in lines]
            else:
                spots = [find_spot(taken, label.point, label.radius, label.size) for label in labels]
        return named, spots

    def cost(placed: tuple[list[LineSpot], list[Spot]]) -> float:
        return sum(spot.cost for spot in placed[0]) + sum(spot.cost for spot in placed[1])

    named, spots = min((place(True), place(False)), key=cost)
    back = axes.transData.inverted()
    for line, line_spot in zip(lines, named, strict=True):
        x, y = back.transform(line_spot.middle)
        turned = math.degrees(line_spot.angle)
        name = axes.text(x, y, line[0], ha="center", va="center_baseline", color=MUTED, zorder=5)
        name.set(rotation=turned, rotation_mode="anchor")
    for label, spot in zip(labels, spots, strict=True):
        if spot.leader is not None:
            ends = [back.transform(end) for end in spot.leader]
            axes.plot(*zip(*ends, strict=True), color=INK, lw=0.5, zorder=4)
        for number, text in enumerate(label.lines):
            down = (number + 0.5) * _LINE_PITCH_PT * unit
            x, y = back.transform((spot.box.left + unit, spot.box.top - down))
            axes.text(x, y, text, ha="left", va="center_baseline", zorder=6)


def _labels(axes: Axes, shown: Sequence[Operation]) -> list[_Label]:
    """The operations that take longest, with their share of the time of all.

    Neighbours share one label, and within it those of one name, from different layers, one line.
    """
    pixel, unit = _pixels(axes), _unit(axes)
    total = sum(op.seconds for op in shown)
    groups: list[tuple[Point, float, dict[str, float]]] = []
    for op in shown:
        here = pixel((op.intensity_ops_per_byte, op.ops_per_s / _TERA))
        near = [seconds for there, _, seconds in groups if math.dist(here, there) < _TOGETHER_PT * unit]
        lines = sum(len(seconds) for _, _, seconds in groups)
        if near and (op.name in near[0] or lines < _LABELLED):
            near[0][op.name] = near[0].get(op.name, 0.0) + op.seconds
        elif not near and lines < _LABELLED:
            groups.append((here, _radius(axes, _area(op, total)), {op.name: op.seconds}))
    labels = []
    for point, radius, seconds in groups:
        texts = tuple(f"{name.replace('_', ' ')} {percent_text(time / total)}" for name, time in seconds.items())
        size = max(_text_size(axes, text)[0] for text in texts), _LINE_PITCH_PT * unit * len(texts)
        labels.append(_Label(texts, point, radius, size))
    return labels


def _area(op: Operation, total_s: float) -> float:
    """Marker area in square points."""
    return max(_SMALLEST_AREA, _LARGEST_AREA * op.seconds / total_s)


def _radius(axes: Axes, area: float) -> float:
    """Pixels of the radius of a round marker of ``area`` square points (matplotlib's s is the diameter squared)."""
    return math.sqrt(area) / 2 * _unit(axes)


def _unit(axes: Axes) -> float:
    """Pixels per typographic point."""
    return axes.figure.dpi / 72


def _pixels(axes: Axes) -> Callable[[Point], Point]:
    def pixel(point: Point) -> Point:
        x, y = axes.transData.transform(point)
        return float(x), float(y)

    return pixel


def _text_size(axes: Axes, text: str) -> tuple[float, float]:
    """Pixels across and up that a text takes, with a little air."""
    artist = axes.text(0, 0, text, transform=None)
    extent = artist.get_window_extent()
    artist.remove()
    return extent.width + 2 * _unit(axes), extent.height + 1 * _unit(axes)
