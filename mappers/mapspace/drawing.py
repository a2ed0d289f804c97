"""A mapping as an SVG drawing: loops as brackets around what they repeat, stores as bars coloured by level."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Table
from dataclasses import dataclass
from html import escape

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Nest, Spread, Store
from mappers.mapspace.problem import CascadeProblem, EinsumProblem
from mappers.mapspace.report import EinsumCost, MappingCost
from mappers.mapspace.text import bits_text, turns_text

__all__ = ["draw_mapping"]

_COLOURS = ("#d9d9d9", "#bcd7ee", "#fbd9a5", "#c6e5b3", "#e3c8ec", "#f6c1c1", "#c4e9e6", "#efe6a8")
_CHARACTER = 6.9  # px of a 12 px sans-serif letter, on the wide side so that nothing is clipped
_SMALL = 5.9
_MARGIN = 20
_INDENT = 14
_GAP = 6
_ROW = 20
_APART = 22
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.small{font-size:10px;fill:#444}.title{font-weight:bold;font-size:14px}"
    ".store{stroke:#555}.loop{fill:none;stroke:#7a4a9a;stroke-width:2}.word{fill:#5f3a78}"
    ".spread{fill:#fff;stroke:#7a4a9a;stroke-dasharray:4 3}.unit{fill:#444;stroke:#222}.on{fill:#fff}"
    ".bound{fill:#ddd;font-size:10px}"
    ".nest{fill:#fafafa;stroke:#bbb}.arrow{fill:none;stroke:#888;stroke-width:1.5}"
)


def draw_mapping(
    mapping: Mapping,
    problem: CascadeProblem | None = None,
    hierarchy: Hierarchy | None = None,
    cost: MappingCost | None = None,
) -> str:
    """The drawing as a self-contained SVG document.

    A bracket is a loop; a bar is a store, with the tile that it keeps; a dashed box deals a rank over instances; a dark
    box computes. Nests side by side run one after the other where arrows join them, interleaved where none do. With
    ``problem`` tiles have sizes, with ``hierarchy`` the legend stands in the machine's order, with ``cost`` stores show
    what is read and written there and computations their time and busiest resource.
    """
    levels = dict.fromkeys([*(hierarchy.levels if hierarchy else ()), *_levels(mapping.nest)])
    used = set(_levels(mapping.nest))
    colours = {level: _COLOURS[place % len(_COLOURS)] for place, level in enumerate(levels)}
    sizes = {rank: size for einsum in problem.einsums for rank, size in einsum.sizes} if problem else {}
    drawing = _Drawing(
        colours,
        {einsum.name: einsum for einsum in problem.einsums} if problem else {},
        {einsum.einsum: einsum for einsum in cost.einsums} if cost else {},
    )
    title = f"{mapping.cascade} on {mapping.hierarchy}"
    if cost is not None:
        title += f": {_engineering(cost.energy_j)}J, {_engineering(cost.latency_s)}s"
    named = [level for level in levels if level in used]
    legend_width = sum(_CHARACTER * len(level) + 34 for level in named)
    width = max(drawing.width(mapping.nest, sizes), legend_width, 8.2 * len(title))
    bottom = drawing.nest(mapping.nest, sizes, _MARGIN, _MARGIN + 50, width)
    full = (width + 2 * _MARGIN, bottom + _MARGIN)
    legend, x = [], float(_MARGIN)
    for level in named:
        legend.append(
            f'<rect class="store" x="{x:g}" y="{_MARGIN + 16}" width="14" height="14" fill="{colours[level]}"/>'
            f'<text x="{x + 19:g}" y="{_MARGIN + 27}">{escape(level)}</text>'
        )
        x += _CHARACTER * len(level) + 34
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{full[0]:g}" height="{full[1]:g}" '
            f'viewBox="0 0 {full[0]:g} {full[1]:g}">',
            f"<style>{_STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0L8 4L0 8z" fill="#888"/></marker></defs>',
            f'<rect width="{full[0]:g}" height="{full[1]:g}" fill="#fff"/>',
            f'<text class="title" x="{_MARGIN}" y="{_MARGIN}">{escape(title)}</text>',
            *legend,
            *drawing.parts,
            "</svg>\n",
        ]
    )


def _levels(nest: Nest) -> Iterator[str]:
    for node in nest:
        if isinstance(node, Store):
            yield node.level
        elif isinstance(node, Branch):
            for inner in node.nests:
                yield from _levels(inner)


def _engineering(value: float) -> str:
    for power, prefix in ((0, ""), (-3, "m"), (-6, "u"), (-9, "n"), (-12, "p")):
        if value >= 10.0**power:
            return f"{value / 10.0**power:.4g} {prefix}"
    return f"{value:.4g} "


@dataclass(frozen=True, slots=True)
class _Bar:
    """A store as drawn: its name and what stands below it in small letters."""

    level: str
    head: str
    notes: tuple[str, ...]

    @property
    def width(self) -> float:
        return max(_CHARACTER * len(self.head), *(_SMALL * len(note) for note in self.notes), 0.0) + 14

    @property
    def height(self) -> float:
        return 20 + 13 * len(self.notes)


class _Drawing:
    """Places nodes from the top down. Nests are as wide as their widest row; bars flow into the width there is."""

    def __init__(
        self, colours: Table[str, str], einsums: Table[str, EinsumProblem], costs: Table[str, EinsumCost]
    ) -> None:
        self.colours, self.einsums, self.costs = colours, einsums, costs
        self.parts: list[str] = []

    def width(self, nest: Nest, tiles: dict[str, int]) -> float:
        """The least width of a nest."""
        widest, indent = 0.0, 0
        bars: list[_Bar] = []
        for node in nest:
            if isinstance(node, Store):
                bars.append(self._bar(node, nest, tiles))
                widest = max(widest, indent + bars[-1].width)
            elif isinstance(node, Loop):
                widest = max(widest, indent + _INDENT + _CHARACTER * len(_loop_text(node, tiles)))
                tiles = _inside(node, tiles)
                indent += _INDENT
            elif isinstance(node, Branch):
                inner = [self.width(n, tiles) + 2 * _GAP for n in node.nests]
                widest = max(widest, indent + sum(inner) + _APART * (len(inner) - 1))
            elif isinstance(node, Spread):
                widest = max(widest, indent + _CHARACTER * len(_spread_text(node)) + 14)
            else:
                texts = self._compute_texts(node)
                widest = max(widest, indent + max(_CHARACTER * len(texts[0]), _SMALL * len(texts[1])) + 16)
        return widest

    def nest(self, nest: Nest, tiles: dict[str, int], x: float, y: float, width: float) -> float:
        """Draw a nest; where it ends."""
        right = x + width
        brackets: list[tuple[float, float]] = []
        place = 0
        while place < len(nest):
            node = nest[place]
            if isinstance(node, Store):
                bars = []
                while isinstance(store := nest[place], Store):
                    bars.append(self._bar(store, nest, tiles))
                    place += 1
                y = self._bars(bars, x, y, right) + _GAP
                continue
            place += 1
            if isinstance(node, Loop):
                brackets.append((x, y))
                self.parts.append(
                    f'<text class="word" x="{x + 8:g}" y="{y + 14:g}">{escape(_loop_text(node, tiles))}</text>'
                )
                tiles = _inside(node, tiles)
                x += _INDENT
                y += _ROW + 2
            elif isinstance(node, Spread):
                text = _spread_text(node)
                self.parts.append(_box("spread", x, y, _CHARACTER * len(text) + 14, 20))
                self.parts.append(f'<text x="{x + 7:g}" y="{y + 14:g}">{escape(text)}</text>')
                y += 20 + _GAP
            elif isinstance(node, Compute):
                head, note = self._compute_texts(node)
                height = 36 if note else 24
                self.parts.append(_box("unit", x, y, right - x, height))
                self.parts.append(f'<text class="on" x="{x + 8:g}" y="{y + 16:g}">{escape(head)}</text>')
                if note:
                    self.parts.append(f'<text class="bound" x="{x + 8:g}" y="{y + 30:g}">{escape(note)}</text>')
                y += height + _GAP
            else:
                y = self._branch(node, tiles, x, y, right) + _GAP
        for at, (left, top) in enumerate(brackets):
            end = y + 4 * (len(brackets) - 1 - at)
            self.parts.append(f'<path class="loop" d="M{left + 6:g} {top + 2:g}H{left + 2:g}V{end:g}H{left + 8:g}"/>')
        return y + 4 * len(brackets)

    def _branch(self, node: Branch, tiles: dict[str, int], x: float, y: float, right: float) -> float:
        least = [self.width(inner, tiles) + 2 * _GAP for inner in node.nests]
        spare = (right - x - sum(least) - _APART * (len(least) - 1)) / len(least)
        starts, ends, frames = [], [], len(self.parts)
        for inner, width in zip(node.nests, least, strict=True):
            starts.append(x)
            ends.append(self.nest(inner, tiles, x + _GAP, y + _GAP, width + spare - 2 * _GAP))
            x += width + spare + _APART
        bottom = max(ends)
        drawn = [_box("nest", s, y, w + spare, bottom - y) for s, w in zip(starts, least, strict=True)]
        if node.execution == "sequential":
            drawn += [
                f'<path class="arrow" marker-end="url(#tip)" d="M{start - _APART + 2:g} {y + 14:g}H{start - 2:g}"/>'
                for start in starts[1:]
            ]
        self.parts[frames:frames] = drawn  # frames stand behind what they hold
        return bottom

    def _bars(self, bars: list[_Bar], x: float, y: float, right: float) -> float:
        left, bottom = x, y
        for bar in bars:
            if left > x and left + bar.width > right:
                left, y = x, bottom + 4
            width = right - left if len(bars) == 1 else bar.width
            fill = self.colours[bar.level]
            self.parts.append(
                f'<rect class="store" x="{left:g}" y="{y:g}" width="{width:g}" height="{bar.height:g}" rx="3" '
                f'fill="{fill}"/><text x="{left + 7:g}" y="{y + 14:g}">{escape(bar.head)}</text>'
            )
            for line, note in enumerate(bar.notes):
                self.parts.append(
                    f'<text class="small" x="{left + 7:g}" y="{y + 27 + 13 * line:g}">{escape(note)}</text>'
                )
            left += width + 4
            bottom = max(bottom, y + bar.height)
        return bottom

    def _bar(self, node: Store, nest: Nest, tiles: Table[str, int]) -> _Bar:
        below = [name for name in _einsums(nest) if name in self.einsums or name in self.costs]
        head, notes = f"{node.level}: {node.tensor}", []
        use = next((u for n in below if n in self.einsums and (u := self.einsums[n].by_tensor.get(node.tensor))), None)
        if use is not None:
            head += f" {bits_text(use.elements(tiles) * use.bits)}"
            notes.append(f"tile {' x '.join(str(axis.extent(tiles)) for axis in use.axes)}")
        rows = [self.costs[n].traffic.get(node.level, {}).get(node.tensor) for n in below if n in self.costs]
        moved = [row for row in rows if row is not None]
        if moved:
            read, written = sum(row.read_bits for row in moved), sum(row.write_bits for row in moved)
            notes.append(f"reads {bits_text(read)}, writes {bits_text(written)}")
        return _Bar(node.level, head, tuple(notes))

    def _compute_texts(self, node: Compute) -> tuple[str, str]:
        cost = self.costs.get(node.einsum)
        note = f"{_engineering(cost.latency_s)}s, bound by {cost.bound}" if cost else ""
        return f"{node.einsum} on {node.unit}", note


def _einsums(nest: Nest) -> Iterator[str]:
    for node in nest:
        if isinstance(node, Compute):
            yield node.einsum
        elif isinstance(node, Branch):
            for inner in node.nests:
                yield from _einsums(inner)


def _inside(node: Loop, tiles: dict[str, int]) -> dict[str, int]:
    return {**tiles, node.rank: min(node.tile, tiles.get(node.rank, node.tile))}


def _loop_text(node: Loop, tiles: Table[str, int]) -> str:
    size = tiles.get(node.rank)
    turns = f" ({turns_text(size, node.tile)})" if size else ""
    return f"for {node.rank} in steps of {node.tile}{turns}"


def _spread_text(node: Spread) -> str:
    return f"spread {node.rank} over {node.factor} {node.component}.{node.dimension}"


def _box(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4"/>'
