"""The share of points that a condition leaves, in closed form for conditions that are linear in one or two ranks.

A causal mask, a sliding window and any ``and`` of linear comparisons leave, for each coordinate of one rank, an interval
of the other. The interval's ends are linear in the first coordinate, so their sum is a handful of arithmetic series.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

from workloads.einsum.expressions import Access, Call, Constant, Coordinate, Expression, Number, Size, walk
from workloads.einsum.ir import Cascade
from workloads.einsum.sizes import evaluate_constant

__all__ = ["survival"]

_Line = tuple[dict[str, float], float]


def survival(cascade: Cascade, condition: Expression | None, values: Mapping[str, float]) -> float:
    """The share (0 to 1) of points for which ``condition`` holds; tensors it reads count by their density.

    Sizes are rounded to whole numbers. Conditions of another shape (more than two ranks, products of coordinates, ``or``)
    are counted point by point over their ranks.
    """
    if condition is None:
        return 1.0
    share = 1.0
    linear: list[_Line] = []
    other: list[Expression] = []
    for part in _conjuncts(condition):
        if any(isinstance(node, Access) for node in walk(part)):
            share *= _tensor_density(cascade, part, values)
            continue
        line = _comparison(cascade, part, values)
        if line is None:
            other.append(part)
        else:
            linear.append(line)
    ranks = list(dict.fromkeys(rank for line in linear for rank in line[0]))
    if other or len(ranks) > 2 or not _is_regular(ranks, linear):
        return share * _by_points(cascade, [p for p in _conjuncts(condition) if not _reads(p)], values)
    return share * _by_intervals(ranks, linear, {rank: _whole(rank, values) for rank in ranks})


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
    count = sizes[ranks[0]]
    length = sizes[ranks[1]] if len(ranks) > 1 else 1
    other = ranks[1] if len(ranks) > 1 else ""
    lows: list[tuple[float, float]] = [(0.0, 0.0)]
    highs: list[tuple[float, float]] = [(0.0, float(count))]
    ends: list[tuple[float, float]] = []
    for slopes, constant in lines:
        along, across = slopes.get(ranks[0], 0.0), slopes.get(other, 0.0)
        if along > 0:
            lows.append((-across, -constant))
        elif along < 0:
            highs.append((across, constant + 1.0))
        else:
            ends.append((across, constant))
    first, last = _range(ends, length)
    kept = 0.0
    cuts = _cuts(lows + highs, first, last)
    for start, stop in pairwise(cuts):
        # Within a stretch one pair of lines bounds the interval, so the widths form an arithmetic series, unless they
        # pass through 0, which is where the series is cut off.
        kept += _series(_width(lows, highs, start), _width(lows, highs, stop - 1), stop - start)
    return kept / (count * length)


def _range(ends: list[tuple[float, float]], length: int) -> tuple[int, int]:
    first, last = 0, length
    for slope, constant in ends:
        if slope > 0:
            first = max(first, math.ceil(-constant / slope))
        elif slope < 0:
            last = min(last, math.floor(constant / -slope) + 1)
        elif constant < 0:
            return 0, 0
    return first, max(last, first)


def _cuts(lines: list[tuple[float, float]], first: int, last: int) -> list[int]:
    """Coordinates where another line may become the binding one."""
    cuts = {first, last}
    for a_slope, a_constant in lines:
        for b_slope, b_constant in lines:
            if a_slope != b_slope:
                crossing = (b_constant - a_constant) / (a_slope - b_slope)
                cuts |= {cut for cut in (math.floor(crossing), math.floor(crossing) + 1) if first < cut < last}
    return sorted(cuts)


def _width(lows: list[tuple[float, float]], highs: list[tuple[float, float]], x: int) -> float:
    low = max(slope * x + constant for slope, constant in lows)
    high = min(slope * x + constant for slope, constant in highs)
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
