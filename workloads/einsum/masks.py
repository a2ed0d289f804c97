"""The share of points that a condition leaves, in closed form for conditions that are linear in one or two ranks.

A causal mask, a sliding window and any ``and`` of linear comparisons leave, for each coordinate of one rank, an
interval of the other. The interval's ends are linear in the first coordinate, so their sum is a handful of arithmetic
series.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TypeAlias

from workloads.einsum.expressions import Access, Call, Constant, Coordinate, Expression, Number, Size, walk
from workloads.einsum.ir import Cascade
from workloads.einsum.sizes import evaluate_constant

__all__ = ["reached", "survival"]

_Line: TypeAlias = tuple[dict[str, float], float]
_Lines: TypeAlias = list[tuple[float, float]]


def survival(cascade: Cascade, condition: Expression | None, values: Mapping[str, float]) -> float:
    """The share (0 to 1) of points for which ``condition`` holds; tensors it reads count by their density.

    Sizes are rounded to whole numbers. Conditions of another shape (more than two ranks, products of coordinates,
    ``or``) are counted point by point over their ranks.
    """
    if condition is None:
        return 1.0
    share = 1.0
    for part in _conjuncts(condition):
        share *= _tensor_density(cascade, part, values) if _reads(part) else 1.0
    band = _band(cascade, condition, values)
    if band is None:
        return share * _by_points(cascade, [part for part in _conjuncts(condition) if not _reads(part)], values)
    ranks, lines = band
    return share * _by_intervals(ranks, lines, {rank: _whole(rank, values) for rank in ranks})


def reached(cascade: Cascade, condition: Expression, rank: str, values: Mapping[str, float]) -> float:
    """At most how many coordinates of ``rank`` occur in a point for which ``condition`` holds.

    A sliding window over few rows reaches few columns. Exact for bands without gaps; the whole rank for other
    conditions.
    """
    band = _band(cascade, condition, values)
    if band is None or rank not in band[0]:
        return values[rank]
    ranks = [rank, *(other for other in band[0] if other != rank)]
    sizes = {name: _whole(name, values) for name in ranks}
    if not _is_regular(ranks, band[1]):
        return values[rank]
    lows, highs, first, last = _interval_ends(ranks, band[1], sizes)
    spans: list[tuple[float, float]] = []
    for start, stop in pairwise(_cuts(lows + highs, first, last)):
        spans += [_span(lows, highs, x) for x in (start, stop - 1) if _width(lows, highs, x) > 0]
    if not spans:
        return 0.0
    return min(values[rank], max(high for _, high in spans) - min(low for low, _ in spans))


def _band(cascade: Cascade, condition: Expression, values: Mapping[str, float]) -> tuple[list[str], list[_Line]] | None:
    """The comparisons of a condition that is linear in at most two ranks; parts that read tensors are left out."""
    lines: list[_Line] = []
    for part in _conjuncts(condition):
        if _reads(part):
            continue
        line = _comparison(cascade, part, values)
        if line is None:
            return None
        lines.append(line)
    ranks = list(dict.fromkeys(rank for line in lines for rank in line[0]))
    return (ranks, lines) if len(ranks) <= 2 and _is_regular(ranks, lines) else None


def _is_regular(ranks: list[str], lines: list[_Line]) -> bool:
    """True when every interval's ends are whole: slopes are whole and that of the first rank is 1, -1 or 0."""
    return all(
        slope == int(slope) and (rank != ranks[0] or abs(slope) == 1)
        for slopes, _ in lines
        for rank, slope in slopes.items()
    )


def _whole(rank: str, values: Mapping[str, float]) -> int:
    return max(round(values[rank]), 1)


def _reads(expression: Expression) -> bool:
    return any(isinstance(node, Access) for node in walk(expression))


def _conjuncts(condition: Expression) -> Iterator[Expression]:
    if isinstance(condition, Call) and condition.operator == "and":
        for argument in condition.arguments:
            yield from _conjuncts(argument)
    else:
        yield condition


def _tensor_density(cascade: Cascade, part: Expression, values: Mapping[str, float]) -> float:
    density = 1.0
    for node in walk(part):
        if isinstance(node, Access):
            stated = cascade.tensors[node.tensor].density
            density *= 1.0 if stated is None else evaluate_constant(cascade, stated, values)
    return density


def _comparison(cascade: Cascade, part: Expression, values: Mapping[str, float]) -> _Line | None:
    """``part`` as ``sum(c * rank) + constant >= 0`` over whole ranks, or None."""
    if not isinstance(part, Call) or part.operator not in ("lt", "le", "gt", "ge"):
        return None
    left, right = (_linear(argument, cascade, values) for argument in part.arguments)
    if left is None or right is None:
        return None
    high, low = (left, right) if part.operator in ("gt", "ge") else (right, left)
    slopes = {rank: high[0].get(rank, 0.0) - low[0].get(rank, 0.0) for rank in {**high[0], **low[0]}}
    constant = high[1] - low[1] - (1 if part.operator in ("lt", "gt") else 0)
    joined = _join_pieces(cascade, slopes, values)
    return None if joined is None else ({rank: slope for rank, slope in joined.items() if slope}, math.floor(constant))


def _join_pieces(cascade: Cascade, slopes: dict[str, float], values: Mapping[str, float]) -> dict[str, float] | None:
    """Pieces that occur as ``outer * |inner| + inner`` are the rank they cut; lone pieces stay as they are."""
    joined = dict(slopes)
    for split in cascade.splits:
        outer, inner = joined.get(split.outer), joined.get(split.inner)
        if outer and inner:
            if outer != inner * values[split.inner]:
                return None
            del joined[split.outer], joined[split.inner]
            joined[split.rank] = joined.get(split.rank, 0.0) + inner
    return joined


def _linear(expression: Expression, cascade: Cascade, values: Mapping[str, float]) -> _Line | None:
    match expression:
        case Coordinate(rank):
            return {rank: 1.0}, 0.0
        case Number() | Size() | Constant():
            return {}, evaluate_constant(cascade, expression, values)
        case Call(operator, arguments) if operator in ("add", "sub", "mul", "neg"):
            parts = [_linear(argument, cascade, values) for argument in arguments]
            known = [part for part in parts if part is not None]
            if len(known) < len(parts):
                return None
            if operator == "neg":
                return _scaled(known[0], -1.0)
            if operator == "mul":
                first, second = known
                if first[0] and second[0]:
                    return None
                return _scaled(first, second[1]) if first[0] else _scaled(second, first[1])
            return _sum(known[0], known[1] if operator == "add" else _scaled(known[1], -1.0))
        case _:
            return None


def _scaled(line: _Line, factor: float) -> _Line:
    return {rank: slope * factor for rank, slope in line[0].items()}, line[1] * factor


def _sum(a: _Line, b: _Line) -> _Line:
    return {rank: a[0].get(rank, 0.0) + b[0].get(rank, 0.0) for rank in {**a[0], **b[0]}}, a[1] + b[1]


def _by_intervals(ranks: list[str], lines: list[_Line], sizes: Mapping[str, int]) -> float:
    """Points kept, over all points: for each coordinate x of the second rank an interval of the first."""
    if not ranks:
        return 1.0 if all(constant >= 0 for _, constant in lines) else 0.0
    lows, highs, first, last = _interval_ends(ranks, lines, sizes)
    kept = 0.0
    for start, stop in pairwise(_cuts(lows + highs, first, last)):
        # Within a stretch one pair of lines bounds the interval, so the widths form an arithmetic series; stretches
        # also end where the width passes through 0.
        kept += _series(_width(lows, highs, start), _width(lows, highs, stop - 1), stop - start)
    return kept / (sizes[ranks[0]] * (sizes[ranks[1]] if len(ranks) > 1 else 1))


def _interval_ends(ranks: list[str], lines: list[_Line], sizes: Mapping[str, int]) -> tuple[_Lines, _Lines, int, int]:
    """Lower and upper ends of the first rank as lines in the second, and the range of the second."""
    other = ranks[1] if len(ranks) > 1 else ""
    lows: _Lines = [(0.0, 0.0)]
    highs: _Lines = [(0.0, float(sizes[ranks[0]]))]
    ends: _Lines = []
    for slopes, constant in lines:
        along, across = slopes.get(ranks[0], 0.0), slopes.get(other, 0.0)
        if along > 0:
            lows.append((-across, -constant))
        elif along < 0:
            highs.append((across, constant + 1.0))
        else:
            ends.append((across, constant))
    first, last = _range(ends, sizes[other] if other else 1)
    return lows, highs, first, last


def _range(ends: _Lines, length: int) -> tuple[int, int]:
    first, last = 0, length
    for slope, constant in ends:
        if slope > 0:
            first = max(first, math.ceil(-constant / slope))
        elif slope < 0:
            last = min(last, math.floor(constant / -slope) + 1)
        elif constant < 0:
            return 0, 0
    return first, max(last, first)


def _cuts(lines: _Lines, first: int, last: int) -> list[int]:
    """Coordinates where another line may become the binding one."""
    cuts = {first, last}
    for a_slope, a_constant in lines:
        for b_slope, b_constant in lines:
            if a_slope != b_slope:
                crossing = (b_constant - a_constant) / (a_slope - b_slope)
                cuts |= {cut for cut in (math.floor(crossing), math.floor(crossing) + 1) if first < cut < last}
    return sorted(cuts)


def _span(lows: _Lines, highs: _Lines, x: int) -> tuple[float, float]:
    return max(slope * x + constant for slope, constant in lows), min(slope * x + constant for slope, constant in highs)


def _width(lows: _Lines, highs: _Lines, x: int) -> float:
    low, high = _span(lows, highs, x)
    return max(high - low, 0.0)


def _series(first: float, last: float, count: int) -> float:
    return count * (first + last) / 2


def _by_points(cascade: Cascade, parts: list[Expression], values: Mapping[str, float]) -> float:
    """The share by visiting every point: time and memory grow with the product of the ranks."""
    import numpy as np

    from workloads.einsum.operators import MAPS

    ranks = list(dict.fromkeys(node.rank for part in parts for node in walk(part) if isinstance(node, Coordinate)))
    grids = np.meshgrid(*(np.arange(_whole(rank, values), dtype=float) for rank in ranks), indexing="ij", sparse=True)
    table = dict(zip(ranks, grids, strict=True))

    def evaluate(expression: Expression) -> object:
        match expression:
            case Coordinate(rank):
                return table[rank]
            case Call(operator, arguments) if operator in MAPS:
                return MAPS[operator].apply(*(evaluate(argument) for argument in arguments))
            case _:
                return evaluate_constant(cascade, expression, values)

    keep = np.ones([len(grid.ravel()) for grid in grids], dtype=bool)
    for part in parts:
        keep &= np.asarray(evaluate(part)) != 0
    for split in cascade.splits:
        if split.outer in table and split.inner in table:
            keep = keep[table[split.outer] * values[split.inner] + table[split.inner] < values[split.rank]]
    return float(keep.mean())
