"""The error of a cascade text: an ``InputError`` that also knows the column."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import InputError

__all__ = ["CascadeError"]


@dataclass
class CascadeError(InputError):
    """A cascade text is wrong at ``line`` and ``column`` (both 1-based); ``expected`` states the rule."""

    column: int | None = None

    def __str__(self) -> str:
        where = self.file or "cascade"
        if self.line is not None:
            where += f":{self.line}"
            if self.column is not None:
                where += f":{self.column}"
        text = f"{where}: {self.problem}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.nearest:
            text += f"; did you mean {self.nearest!r}?"
        return text
