"""Rows of a CSV file, with errors that name file, line and column. Lines that begin with ``#`` are comments."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workloads.errors import InputError, nearest_name

__all__ = ["CsvRow", "header_of", "read_csv"]

_LARGEST = 10**12


@dataclass(frozen=True)
class CsvRow:
    """One row: the cells by column, and where they stand."""

    file: str
    line: int
    cells: dict[str, str]

    def text(self, column: str) -> str:
        """The cell as it is, empty where the file has no such column."""
        return self.cells.get(column, "")

    def wrong(self, column: str, expected: str) -> InputError:
        """The error for a cell that is not what was expected."""
        return InputError(repr(self.text(column)), expected, column, file=self.file, line=self.line)

    def whole(self, column: str, least: int = 0) -> int:
        """A whole number from ``least`` to 1e12."""
        text = self.text(column)
        if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= _LARGEST:
            raise self.wrong(column, f"a whole number from {least} to 1e12")
        return int(text)

    def number(self, column: str, *, above: bool = False, expected: str | None = None) -> float:
        """A finite number of 0 or more, or ``above`` 0."""
        try:
            value = float(self.text(column))
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf") or (above and value == 0):
            raise self.wrong(column, expected or ("a number above 0" if above else "a number of 0 or more"))
        return value

    def optional(self, column: str) -> float | None:
        """`number`, or None for an empty cell."""
        return self.number(column) if self.text(column) else None

    def one_of(self, column: str, names: Sequence[str]) -> str:
        """One of ``names``."""
        text = self.text(column)
        if text not in names:
            error = self.wrong(column, ", ".join(names))
            error.nearest = nearest_name(text, names) if any(map(str.isalpha, text)) else None
            raise error
        return text


def header_of(path: Path) -> frozenset[str]:
    """The columns that the first line of ``path`` names, comments aside. Raises `InputError` if it cannot be read."""
    header = next((line for _, line in _lines(path, "measurements")), "")
    return frozenset(header.strip().split(","))


def _lines(path: Path, what: str) -> list[tuple[int, str]]:
    """Lines that are neither empty nor comments, with their numbers."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise InputError(reason, expected=f"a CSV file of {what}", file=str(path)) from None
    return [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]


def read_csv(path: Path, columns: Sequence[str], what: str) -> list[CsvRow]:
    """All rows of a file that has ``columns`` at least. ``what`` the file should hold is for the message.

    Raises `InputError` with file and line for a file that cannot be read or has no rows, a column that is missing, or a
    row that has more or fewer cells than the header.
    """
    file, numbered = str(path), _lines(path, what)
    reader = csv.reader([line for _, line in numbered])
    rows: list[CsvRow] = []
    header: list[str] = []
    try:
        header = next(reader, [])
        for column in columns:
            if column not in header:
                first, near = numbered[0][0] if numbered else 1, nearest_name(column, header)
                expected = f"columns {', '.join(columns)}"
                raise InputError(f"no column {column!r}", expected=expected, file=file, line=first, nearest=near)
        for cells in reader:
            line = numbered[reader.line_num - 1][0]
            if len(cells) != len(header):
                raise InputError(f"{len(cells)} cells", f"{len(header)}, one for each column", file=file, line=line)
            rows.append(CsvRow(file, line, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise InputError(f"is no CSV: {error}", expected=f"a CSV file of {what}", file=file) from None
    if not rows:
        raise InputError("has no rows", expected=f"a CSV file of {what}", file=file)
    return rows
