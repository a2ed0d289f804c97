"""Places text beside points of a figure so that it covers neither other text, nor points, nor lines.

Greedy: each label in turn takes the cheapest of a fixed set of places around its point, and is from then on an
obstacle itself. All coordinates are pixels of the figure at its own resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["Box", "Obstacles", "Spot", "find_spot"]

_DIRECTIONS = 24
_OUTSIDE = 1e9


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

    def contains(self, x: float, y: float) -> bool:
        """Whether a point lies inside."""
        return self.left < x < self.right and self.bottom < y < self.top

    def holds(self, other: Box) -> bool:
        """Whether all of the other box lies inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.bottom <= other.bottom and other.top <= self.top

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of the box closest to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


@dataclass
class Obstacles:
    """What labels must keep clear of: boxes (text, points) and lines, all inside ``frame``."""

    frame: Box
    boxes: list[Box] = field(default_factory=list)
    dots: list[tuple[float, float]] = field(default_factory=list)

    def add_line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Keep clear of a straight line."""
        self.dots += [dot for dot in _along(start, end) if self.frame.contains(*dot)]

    def cost(self, box: Box) -> float:
        """0 for a free place; grows with what the box would cover, and is prohibitive outside the frame."""
        if not self.frame.holds(box):
            return _OUTSIDE
        covered = sum(box.overlap(other) for other in self.boxes)
        return covered + 30.0 * sum(box.contains(x, y) for x, y in self.dots)

    def crossed(self, start: tuple[float, float], end: tuple[float, float]) -> int:
        """How much of a line lies over boxes or beside other lines."""
        return sum(any(box.contains(x, y) for box in self.boxes) for x, y in _along(start, end))


def _along(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    steps = max(1, round(math.dist(start, end) / 3))
    return [
        (start[0] + (end[0] - start[0]) * at / steps, start[1] + (end[1] - start[1]) * at / steps)
        for at in range(steps + 1)
    ]


@dataclass(frozen=True)
class Spot:
    """Where a label stands: its box, and the leader line to its point where the two are apart."""

    box: Box
    leader: tuple[tuple[float, float], tuple[float, float]] | None


def find_spot(
    obstacles: Obstacles, point: tuple[float, float], radius: float, size: tuple[float, float], unit: float
) -> Spot:
    """The cheapest place for a label of ``size`` beside a point of ``radius``; it becomes an obstacle.

    ``unit`` is the pixels of one typographic point. Distances up to 70 points are tried; nearer is better, and right
    or left better than askew.
    """
    x, y = point
    width, height = size
    best: tuple[float, Spot] | None = None
    for distance in (2, 6, 11, 17, 24, 32, 41, 51, 62, 74):
        for step in range(_DIRECTIONS):
            angle = 2 * math.pi * step / _DIRECTIONS
            reach = radius + distance * unit
            cos, sin = math.cos(angle), math.sin(angle)
            # From the point outwards to the middle of the label, so that its near edge is `reach` away.
            across = min(width / 2 / max(abs(cos), 1e-9), height / 2 / max(abs(sin), 1e-9))
            box = Box.around(x + cos * (reach + across), y + sin * (reach + across), width, height)
            leader = None
            cost = obstacles.cost(box) + 4.0 * distance * unit + 3.0 * abs(sin) * unit
            if distance > 2:
                leader = ((x, y), box.nearest(x, y))
                start = (x + cos * radius * 1.1, y + sin * radius * 1.1)
                cost += 12.0 * obstacles.crossed(start, leader[1])
            if best is None or cost < best[0]:
                best = (cost, Spot(box, leader))
    assert best is not None
    spot = best[1]
    obstacles.boxes.append(spot.box)
    if spot.leader is not None:
        obstacles.add_line(*spot.leader)
    return spot
