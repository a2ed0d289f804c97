"""One number of ours beside one of somebody else's, and tables of such pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

__all__ = ["Compared", "error_text", "markdown_table", "median_error", "worst_error"]


@dataclass(frozen=True)
class Compared:
    """``quantity`` in ``unit`` by the reference and by us."""

    quantity: str
    unit: str
    reference: float
    predicted: float

    @property
    def error(self) -> float | None:
        """Predicted / reference - 1; None beside a reference of 0."""
        return self.predicted / self.reference - 1 if self.reference else None

    def document(self) -> dict[str, Any]:
        """Plain values."""
        names = ("quantity", "unit", "reference", "predicted", "error")
        return {name: getattr(self, name) for name in names}


def median_error(compared: Iterable[Compared]) -> float | None:
    """The median of the absolute errors; None without any."""
    sizes = [abs(one.error) for one in compared if one.error is not None]
    return median(sizes) if sizes else None


def worst_error(compared: Iterable[Compared]) -> float | None:
    """The error that is largest in size, with its sign; None without any."""
    return max((one.error for one in compared if one.error is not None), key=abs, default=None)


def error_text(error: float | None, digits: int = 1) -> str:
    """An error for a table."""
    return "-" if error is None else f"{error:+.{digits}%}"


def markdown_table(heading: Sequence[str], sides: str, rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, one letter of ``sides`` per column: ``l`` or ``r``."""
    marks = ["---" if side == "l" else "--:" for side in sides]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, marks, *rows)) + "\n"
