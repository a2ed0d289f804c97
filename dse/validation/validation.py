"""What comparing one file gives: rows to print, a document, and parts of the report with their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

__all__ = ["Report", "Validation"]


@dataclass(frozen=True)
class Report:
    """Parts in Markdown, each from its heading of the first level on, and the figures they name, by file name."""

    parts: tuple[str, ...]
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class Validation:
    """``rows`` share their keys; ``notes`` are lines below them. ``report`` is made when it is asked for only."""

    rows: list[dict[str, Any]]
    notes: list[str]
    document: dict[str, Any]
    report: Callable[[], Report]
