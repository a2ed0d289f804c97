"""Curves of a memory as data: charts with named axes, what was run in them, and the bounds beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Axis", "Chart", "Curve", "Limit", "Progress", "Sheet", "document"]

Progress = Callable[[str], None]
"""Told what is drawn next."""


@dataclass(frozen=True)
class Axis:
    """``name`` is the key of documents, with its unit; ``label`` and ``unit`` are for people.

    ``scale`` is linear, log10, or log2 for counts that double (sizes of ``unit`` B in Ki and Mi).
    """

    name: str
    label: str
    unit: str = ""
    scale: Literal["linear", "log10", "log2"] = "linear"


@dataclass(frozen=True)
class Curve:
    """Points of one run after the other. ``bound``: not run, but a closed form that the others are held against."""

    name: str
    points: tuple[tuple[float, float], ...]
    bound: bool = False


@dataclass(frozen=True)
class Limit:
    """A bound that is one value of the axis ``along``."""

    name: str
    along: Literal["x", "y"]
    value: float


@dataclass(frozen=True)
class Chart:
    """Curves over common axes; ``stacked`` ones have the same x and are parts of a whole, drawn one on the other."""

    name: str
    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    limits: tuple[Limit, ...] = ()
    stacked: bool = False


@dataclass(frozen=True)
class Sheet:
    """All charts of one device. ``settings`` are what was run with; ``notes`` say what is to be known beside."""

    device: str
    kind: str
    headline: str
    charts: tuple[Chart, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def document(sheet: Sheet) -> dict[str, Any]:
    """The sheet as plain values: every point under the names of its axes."""
    return {
        "device": sheet.device,
        "kind": sheet.kind,
        "headline": sheet.headline,
        "settings": dict(sheet.settings),
        "charts": {chart.name: _chart(chart) for chart in sheet.charts},
        "notes": list(sheet.notes),
    }


def _chart(chart: Chart) -> dict[str, Any]:
    x, y = chart.x.name, chart.y.name
    axes = {"x": x, "y": y}
    return {
        "title": chart.title,
        **axes,
        "curves": [
            {"name": curve.name, "bound": curve.bound, "points": [{x: a, y: b} for a, b in curve.points]}
            for curve in chart.curves
        ],
        "limits": [{"name": limit.name, axes[limit.along]: limit.value} for limit in chart.limits],
    }
