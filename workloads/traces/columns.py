"""Columns of large CSV files: read whole and fast, looked at cell by cell only where something is wrong."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError, nearest_name

__all__ = ["LARGEST_TOKENS", "CsvTable", "decimal_number", "parse_table", "token_count"]

LARGEST_TOKENS = 10**9
"""More tokens than that in one request are a mistake in the file."""

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class CsvTable:
    """Cells of a CSV file by column; ``text`` is kept to find the line of a row that turns out to be wrong."""

    file: str
    text: str
    columns: dict[str, tuple[str, ...]]

    def converted(self, column: str, convert: Callable[[str], Value], expected: str) -> list[Value]:
        """All cells of ``column`` by ``convert``, whose ValueError becomes an `InputError` with the line."""
        cells = self.columns[column]
        try:
            return list(map(convert, cells))
        except ValueError:
            row = next(row for row, cell in enumerate(cells) if not _converts(cell, convert))
            raise self.wrong(row, column, expected) from None

    def tokens(self, column: str) -> NDArray[np.int64]:
        """A column of whole numbers from 0; ``12.0`` counts as whole, as some tools write it."""
        return np.array(self.converted(column, token_count, f"a whole number from 0 to {LARGEST_TOKENS:.0e}"), np.int64)

    def seconds(self, column: str) -> NDArray[np.float64]:
        """A column of finite seconds from 0."""
        return np.array(self.converted(column, decimal_number, "seconds from 0"), np.float64)

    def wrong(self, row: int, column: str, expected: str) -> InputError:
        """The error for the cell of ``column`` in ``row`` (from 0)."""
        found = repr(self.columns[column][row])
        return InputError(found, expected, column, file=self.file, line=_line_of_row(self.text, row))


def parse_table(text: str, file: str, columns: Sequence[str], what: str) -> CsvTable:
    """The cells of a CSV text whose first line names ``columns`` at least; empty lines are passed over.

    Raises `InputError` with file and line for a column that is missing, a row with more or fewer cells than the first
    line, or no rows at all.
    """
    try:
        rows = [row for row in csv.reader(text.splitlines()) if row]
    except csv.Error as error:
        raise InputError(f"is no CSV: {error}", expected=what, file=file) from None
    header = [name.strip() for name in rows[0]] if rows else []
    for column in columns:
        if column not in header:
            near = nearest_name(column, header)
            expected = f"columns {', '.join(columns)}"
            raise InputError(f"no column {column!r}", expected=expected, file=file, line=1, nearest=near)
    body = rows[1:]
    if not body:
        raise InputError("has no rows", expected=what, file=file)
    if set(map(len, body)) != {len(header)}:
        row = next(row for row, cells in enumerate(body) if len(cells) != len(header))
        problem, expected = f"{len(body[row])} cells", f"{len(header)}, one for each column"
        raise InputError(problem, expected, file=file, line=_line_of_row(text, row))
    return CsvTable(file, text, dict(zip(header, zip(*body, strict=True), strict=True)))


def token_count(cell: str) -> int:
    """A whole number from 0 to 1e9. Raises ValueError for anything else (signs, underscores, halves)."""
    value = int(cell) if cell.isdecimal() and cell.isascii() else decimal_number(cell)
    if value > LARGEST_TOKENS or value != int(value):
        raise ValueError
    return int(value)


def decimal_number(cell: str) -> float:
    """A finite number from 0. Raises ValueError for anything else."""
    value = float(cell)
    if not 0 <= value < float("inf") or "_" in cell:
        raise ValueError
    return value


def _converts(cell: str, convert: Callable[[str], object]) -> bool:
    try:
        convert(cell)
    except ValueError:
        return False
    return True


def _line_of_row(text: str, row: int) -> int:
    """The 1-based line of a row (from 0) behind the header, empty lines passed over."""
    filled = (number for number, line in enumerate(text.splitlines(), 1) if line)
    return next(number for index, number in enumerate(filled) if index == row + 1)
