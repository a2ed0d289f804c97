"""Places text beside points of a figure so that it covers neither other text, nor points, nor lines.

Greedy: each label in turn takes the cheapest of a fixed set of places around its point, and is from then on an
obstacle itself. All coordinates are pixels of the figure at its own resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Box", "LineSpot", "Obstacles", "Point", "Spot", "find_line_spot", "find_spot"]

Point = tuple[float, float]

_DIRECTIONS = 24
_STEPS = 60
_OUTSIDE = 1e9
_COVERED, _STRUCK, _CROSSING = 40.0, 60.0, 120.0
_APART, _ASKEW, _STEP, _BELOW = 5.5, 4.0, 0.2, 5.0
"""Costs: of a square point of other things covered, of a dot of a line under the text, of two points of a leader line
over something; of a point of distance, of standing above or below, of a step along a line, of standing under it."""


@dataclass(frozen=True)
class Box:
    """A rectangle with sides along the axes."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float) -> Box:
        """The box of this size centred on a point."""
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def overlap(self, other: Box) -> float:
        """Area in common."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return wide * high if wide > 0 and high > 0 else 0.0

    def holds(self, other: Box) -> bool:
        """Whether all of the other box lies inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.bottom <= other.bottom and other.top <= self.top

    def nearest(self, x: float, y: float) -> Point:
        """The point of the box closest to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


@dataclass
class Obstacles:
    """What labels must keep clear of: boxes (text, points) and lines, all inside ``frame``.

    ``unit`` is the pixels of one typographic point; lines are kept as dots two points apart.
    """

    frame: Box
    unit: float
    boxes: list[Box] = field(default_factory=list)
    dots: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    def copy(self) -> Obstacles:
        """The same obstacles, to add others to."""
        return Obstacles(self.frame, self.unit, list(self.boxes), self.dots)

    def add_line(self, start: Point, end: Point) -> None:
        """Keep clear of a straight line."""
        self.dots = np.vstack([self.dots, self._along(start, end)])

    def cost(self, box: Box) -> float:
        """0 for a free place; grows with what the box would cover, and is prohibitive outside the frame."""
        if not self.frame.holds(box):
            return _OUTSIDE
        covered = sum(box.overlap(other) for other in self.boxes) / self.unit**2
        return _COVERED * covered + _STRUCK * _inside(self.dots, box)

    def crossed(self, start: Point, end: Point) -> int:
        """Over how many boxes a line runs, counted every two points of its length."""
        dots = self._along(start, end)
        return sum(_inside(dots, box) for box in self.boxes)

    def _along(self, start: Point, end: Point) -> np.ndarray:
        return np.linspace(start, end, max(2, round(math.dist(start, end) / (2 * self.unit)) + 1))


def _inside(dots: np.ndarray, box: Box) -> int:
    x, y = dots[:, 0], dots[:, 1]
    return int(np.count_nonzero((x > box.left) & (x < box.right) & (y > box.bottom) & (y < box.top)))


@dataclass(frozen=True)
class Spot:
    """Where a label stands, what that costs, and the leader line to its point where the two are apart."""

    box: Box
    cost: float
    leader: tuple[Point, Point] | None


@dataclass(frozen=True)
class LineSpot:
    """Where the name of a line stands: its middle, how it is turned (radians), and what that costs."""

    middle: Point
    angle: float
    cost: float


def find_spot(obstacles: Obstacles, point: Point, radius: float, size: tuple[float, float]) -> Spot:
    """The cheapest place for a label of ``size`` beside a point of ``radius``; it becomes an obstacle.

    Distances up to 74 points are tried; nearer is better, and right or left better than askew.
    """
    x, y = point
    unit = obstacles.unit
    width, height = size
    best: Spot | None = None
    for distance in (2, 6, 11, 17, 24, 32, 41, 51, 62, 74):
        for step in range(_DIRECTIONS):
            angle = 2 * math.pi * step / _DIRECTIONS
            reach = radius + distance * unit
            cos, sin = math.cos(angle), math.sin(angle)
            # From the point outwards to the middle of the label, so that its near edge is `reach` away.
            across = min(width / 2 / max(abs(cos), 1e-9), height / 2 / max(abs(sin), 1e-9))
            box = Box.around(x + cos * (reach + across), y + sin * (reach + across), width, height)
            cost = obstacles.cost(box) + _APART * distance + _ASKEW * abs(sin)
            leader = None
            if distance > 2:
                leader = (point, box.nearest(x, y))
                start = (x + cos * radius * 1.1, y + sin * radius * 1.1)
                cost += _CROSSING * obstacles.crossed(start, leader[1])
            if best is None or cost < best.cost:
                best = Spot(box, cost, leader)
    assert best is not None
    obstacles.boxes.append(best.box)
    if best.leader is not None:
        obstacles.add_line(*best.leader)
    return best


def find_line_spot(obstacles: Obstacles, start: Point, end: Point, size: tuple[float, float]) -> LineSpot:
    """The cheapest place for a name of ``size`` along a line that is flat or rises; it becomes an obstacle.

    Above is better than below. A slope is named from its near end on, a flat line from its far end: there a roofline
    has most room. A flat line may be shorter than its name.
    """
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    cos, sin = math.cos(angle), math.sin(angle)
    width, height = size
    length, is_slope = math.dist(start, end), sin > 0.1
    pieces = max(1, round(width / height))
    offsets = [width * ((piece + 0.5) / pieces - 0.5) for piece in range(pieces)]
    best: tuple[LineSpot, list[Box]] | None = None
    for side in (1, -1):
        lift = side * (height / 2 + obstacles.unit)
        for step in range(_STEPS + 1):
            share = step / _STEPS
            along = width / 2 + share * (length - width) if is_slope else length - width / 2 - share * length
            x, y = start[0] + cos * along - sin * lift, start[1] + sin * along + cos * lift
            boxes = [Box.around(x + cos * off, y + sin * off, height, height) for off in offsets]
            cost = sum(obstacles.cost(box) for box in boxes) + _STEP * step + (_BELOW if side < 0 else 0)
            if best is None or cost < best[0].cost:
                best = LineSpot((x, y), angle, cost), boxes
    assert best is not None
    obstacles.boxes += best[1]
    return best[0]
