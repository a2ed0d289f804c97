"""A cascade as an SVG graph: tensors in layers, an arrow from each operand to what is computed from it."""

from __future__ import annotations

from html import escape

from workloads.einsum.expressions import Access
from workloads.einsum.ir import Cascade, Einsum
from workloads.einsum.printer import print_einsum
from workloads.einsum.schedule import group_einsums, schedule

__all__ = ["draw_cascade"]

_BOX = (132, 40)
_GAP = (28, 56)
_LANE = 28
_MARGIN = 24
_STYLE = (
    "text{font:12px sans-serif;text-anchor:middle}.ranks{font-size:10px;fill:#555}"
    ".title{font-weight:bold;text-anchor:start}"
    "rect{stroke:#444;fill:#fff}.input rect{fill:#dde8f5}.output rect{fill:#dff0dc}.contraction rect{stroke-width:2.5}"
    "path{fill:none;stroke:#888}.state{stroke-dasharray:4 3}"
)


def draw_cascade(cascade: Cascade) -> str:
    """The drawing as a self-contained SVG document.

    Inputs are blue, results green; a thick frame marks what a matrix engine can run; a dashed arrow carries a running
    state to the next step. Each box shows its Einsums as a tooltip.
    """
    layers = _layers(cascade)
    rows: list[list[str]] = [[] for _ in range(max(layers.values()) + 1)]
    for name in cascade.tensors:
        rows[layers[name]].append(name)
    passing = _passing(cascade, layers, len(rows))
    width = 2 * _MARGIN + max(map(_row_width, rows, passing))
    height = 2 * _MARGIN + 20 + len(rows) * (_BOX[1] + _GAP[1]) - _GAP[1]
    places: dict[str, tuple[float, float]] = {}
    lanes: list[dict[str, float]] = []
    for depth, row in enumerate(rows):
        x, y = (width - _row_width(row, passing[depth])) / 2, _MARGIN + 20 + depth * (_BOX[1] + _GAP[1])
        # An arrow that passes a row keeps to the side of the drawing that it comes from.
        came_from = {name: lanes[-1].get(name, places[name][0] + _BOX[0] / 2) for name in passing[depth]}
        left = [name for name in passing[depth] if came_from[name] < width / 2]
        lanes.append({})
        for name in left:
            lanes[depth][name] = x + _LANE / 2
            x += _LANE
        for name in row:
            places[name] = (x, y)
            x += _BOX[0] + _GAP[0]
        for name in passing[depth]:
            if name not in left:
                lanes[depth][name] = x - _GAP[0] + _LANE / 2
                x += _LANE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" style="fill:#888"/></marker></defs>',
        f'<text class="title" x="{_MARGIN}" y="{_MARGIN}">{escape(cascade.name)}</text>',
    ]
    parts += [
        _arrow(places, lanes, operand.tensor, einsum.label, layers)
        for einsum in cascade.einsums
        for operand in _once(einsum)
    ]
    parts += [_box(cascade, name, *places[name]) for name in cascade.tensors]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _layers(cascade: Cascade) -> dict[str, int]:
    """Inputs on top, each tensor below its operands; what a loop hands to its next turn does not count."""
    layers = dict.fromkeys(cascade.inputs, 0)
    for group in schedule(cascade):
        for einsum in group_einsums(group):
            above = [layers[operand.tensor] for operand in einsum.operands if operand.tensor in layers]
            layers[einsum.label] = max([layers.get(einsum.label, 1), *(layer + 1 for layer in above if layer >= 0)])
    return layers


def _passing(cascade: Cascade, layers: dict[str, int], depth: int) -> list[list[str]]:
    """For each row, the tensors whose arrows pass it on their way to a lower one."""
    rows: list[dict[str, None]] = [{} for _ in range(depth)]
    for einsum in cascade.einsums:
        for operand in _once(einsum):
            for row in rows[layers[operand.tensor] + 1 : layers[einsum.label]]:
                row[operand.tensor] = None
    return [list(row) for row in rows]


def _row_width(row: list[str], passing: list[str]) -> float:
    return len(row) * (_BOX[0] + _GAP[0]) - _GAP[0] + len(passing) * _LANE


def _once(einsum: Einsum) -> list[Access]:
    """One access for each operand."""
    return list({operand.tensor: operand for operand in einsum.operands}.values())


def _arrow(
    places: dict[str, tuple[float, float]], lanes: list[dict[str, float]], start: str, end: str, layers: dict[str, int]
) -> str:
    x0, y0 = places[start][0] + _BOX[0] / 2, places[start][1] + _BOX[1]
    x1, y1 = places[end][0] + _BOX[0] / 2, places[end][1]
    if layers[start] >= layers[end]:
        side = places[end][0] + _BOX[0]
        x0, y0, x1, y1 = places[start][0] + _BOX[0], y0 - _BOX[1] / 2, side, y1 + _BOX[1] / 2 + 6
        curve = f"M{x0:g} {y0:g}C{x0 + 40:g} {y0:g} {x1 + 40:g} {y1:g} {x1:g} {y1:g}"
        return f'<path class="state" marker-end="url(#tip)" d="{curve}"/>'
    path = f"M{x0:g} {y0:g}"
    for lane in lanes[layers[start] + 1 : layers[end]]:
        path += _curve(x0, y0, lane[start], y0 + _GAP[1])
        x0, y0 = lane[start], y0 + _GAP[1] + _BOX[1]
        path += f"L{x0:g} {y0:g}"
    return f'<path marker-end="url(#tip)" d="{path}{_curve(x0, y0, x1, y1)}"/>'


def _curve(x0: float, y0: float, x1: float, y1: float) -> str:
    """From the bottom of one row to the top of the next, leaving and arriving straight."""
    middle = (y0 + y1) / 2
    return f"C{x0:g} {middle:g} {x1:g} {middle:g} {x1:g} {y1:g}"


def _box(cascade: Cascade, name: str, x: float, y: float) -> str:
    writers = cascade.writers(name)
    classes = ["input"] if name in cascade.inputs else ["output"] if name in cascade.outputs else []
    classes += ["contraction"] if any(einsum.is_contraction for einsum in writers) else []
    tip = "\n".join(print_einsum(einsum) for einsum in writers) or f"input {name}"
    ranks = ", ".join(dim.rank + (f"+{dim.extra}" if dim.extra else "") for dim in cascade.tensors[name].dims)
    middle = x + _BOX[0] / 2
    return (
        f'<g class="{" ".join(classes)}"><title>{escape(tip)}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{_BOX[0]}" height="{_BOX[1]}" rx="6"/>'
        f'<text x="{middle:g}" y="{y + 17:g}">{escape(name)}</text>'
        f'<text class="ranks" x="{middle:g}" y="{y + 32:g}">[{escape(ranks)}]</text></g>'
    )
