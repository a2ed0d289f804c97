"""Where the time of a step goes, layer by layer: operations of each distinct layer, and the time nothing computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from dse.reports.exposed import exposed_time
from dse.reports.figures.bars import Bar, Panel, Piece, bar_panels
from dse.reports.figures.style import DOUBLE_WIDTH_IN, Colour, kind_colour, tints
from dse.reports.figures.titles import panel_titles
from dse.reports.names import short_charge_text
from dse.reports.summary import Operation, operations
from dse.reports.units_text import percent_text, seconds_text
from simulator.result import Result

__all__ = ["layer_stack_figure"]

_WAITING, _SLOWED = "#5F5F5F", "#C4C4C4"
_VISIBLE = 4e-3


def layer_stack_figure(results: Sequence[Result], *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """The figure, one panel per result, each with a time axis of its own.

    A bar is one kind of layer with all its executions in a step, its pieces the operations in their order, at their
    time with operands in the home tier. The last bar is the time during which nothing computes, by what is waited
    for, and by how much transfers at the same memory port slow the operations down.
    """
    kinds: dict[str, Colour] = {}
    waiting: dict[str, Colour] = {}
    panels = []
    for result, title in zip(results, panel_titles(results, width_in), strict=True):
        factor, unit = _scale(result.latency_s)
        bars = [_layer_bar(result, layer, ops, factor) for layer, ops in _layers(result).items()]
        waits, slowed_s = _waits(result)
        if waits or slowed_s:
            bars.append(_waiting_bar(result, waits, slowed_s, factor))
        for op in operations(result):
            if op.seconds > _VISIBLE * result.latency_s:
                kinds.setdefault(op.kind.replace("_", " "), kind_colour(op.kind))
        waiting |= {"waiting": _WAITING} if waits else {}
        waiting |= {"slowed by transfers": _SLOWED} if slowed_s else {}
        limit = 1.02 * max(sum(piece.length for piece in bar.pieces) for bar in bars)
        panels.append(Panel(title, tuple(bars), f"Time per step ({unit})", limit))
    return bar_panels(panels, [*kinds.items(), *waiting.items()], width_in)


def _layers(result: Result) -> dict[str, list[Operation]]:
    """Operations by layer, both in the order of the result; layers too short to be seen share one bar."""
    order = {(row.layer.partition(" ")[0], row.op): at for at, row in reversed(list(enumerate(result.ops)))}
    layers: dict[str, list[Operation]] = {}
    for op in sorted(operations(result), key=lambda op: order[op.layer, op.name]):
        layers.setdefault(op.layer, []).append(op)
    small = [name for name, ops in layers.items() if sum(op.seconds for op in ops) < _VISIBLE * result.latency_s]
    if len(small) > 1:
        layers[", ".join(small)] = [op for name in small for op in layers.pop(name)]
    return layers


def _layer_bar(result: Result, layer: str, ops: Sequence[Operation], factor: float) -> Bar:
    kinds = [op.kind for op in ops]
    shades = {kind: iter(tints(kind_colour(kind), kinds.count(kind))) for kind in kinds}
    pieces = tuple(Piece(op.seconds * factor, next(shades[op.kind]), _names(op.name)) for op in ops)
    is_one = len({op.layer for op in ops}) == 1
    name = f"{layer} × {ops[0].count:,.4g}" if is_one and ops[0].count != 1 else layer
    return Bar(name, _amount(result, sum(op.seconds for op in ops)), pieces)


def _waits(result: Result) -> tuple[dict[str, float], float]:
    """Per step: exposed seconds by what is waited for, and by how much transfers slow operations down, if visible."""
    waits = {name: seconds / result.steps for name, seconds in exposed_time(result.execution).items()}
    slowed_s = result.latency_s - sum(op.seconds for op in operations(result)) - sum(waits.values())
    least = _VISIBLE * result.latency_s
    return {name: seconds for name, seconds in waits.items() if seconds > least}, slowed_s if slowed_s > least else 0.0


def _waiting_bar(result: Result, waits: Mapping[str, float], slowed_s: float, factor: float) -> Bar:
    names = sorted(waits, key=lambda name: (-waits[name], name))
    pieces = []
    for name, shade in zip(names, tints(_WAITING, len(names)), strict=True):
        text = short_charge_text(name)
        pieces.append(Piece(waits[name] * factor, shade, (f"for {text}", text, *_names(text))))
    if slowed_s:
        pieces.append(Piece(slowed_s * factor, _SLOWED))
    return Bar("waiting", _amount(result, sum(waits.values()) + slowed_s), tuple(pieces))


def _amount(result: Result, seconds: float) -> str:
    return f"{seconds_text(seconds)}, {percent_text(seconds / result.latency_s)}"


def _names(name: str) -> tuple[str, ...]:
    """The name on one line, or one word a line."""
    plain = name.replace("_", " ")
    return (plain, plain.replace(" ", "\n")) if plain.count(" ") == 1 else (plain,)


def _scale(seconds: float) -> tuple[float, str]:
    """Factor and unit that bring a duration to 1 to 1000."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return factor, unit
    return 1e9, "ns"
