"""MiniMalloc's CSV, read and written (google/minimalloc at 9f5cf81, src/converter.cc).

The header names columns in any order: ``id`` (also ``buffer``, ``buffer_id``), ``lower`` (``start``, ``begin``),
``upper`` (``end``: inclusive, so one is added, to the ends of gaps too) and ``size``; and, where wanted, ``alignment``,
``offset`` (pinned), ``hint`` (-1: none) and ``gaps``: ``a-b`` or ``a-b@low:high``, separated by blanks. What follows
the first empty line is not read. Beyond that format: a field of ``offset``, ``hint`` or ``alignment`` may be left
empty, line ends may be those of Windows, and ``pool`` names the memories a buffer may live in, separated by blanks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mappers.planner.allocation.problem import AllocationProblem, Buffer, Gap
from workloads.errors import InputError, nearest_name

__all__ = ["parse_csv", "read_csv", "to_csv"]

_NAMES = {
    "id": "id", "buffer": "id", "buffer_id": "id", "lower": "lower", "start": "lower", "begin": "lower",
    "upper": "upper", "end": "upper", "size": "size", "alignment": "alignment", "offset": "offset", "hint": "hint",
    "gaps": "gaps", "pool": "pool",
}  # fmt: skip
_NEEDED = ("id", "lower", "upper", "size")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_GAP = re.compile(r"(-?[0-9]{1,18})-(-?[0-9]{1,18})(?:@([0-9]{1,18}):([0-9]{1,18}))?")


def read_csv(path: Path) -> AllocationProblem:
    """The problem in the file ``path``, named like it. Raises `InputError` with file, line and field."""
    return parse_csv(path.read_text(encoding="utf-8-sig"), path.stem, str(path))


def parse_csv(text: str, name: str, file: str | None = None) -> AllocationProblem:
    """The problem that ``text`` describes."""
    lines = text.split("\n")
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            break
        rows.append((number, [part.strip() for part in line.split(",")]))
    if not rows:
        raise InputError("is empty", "a header and a line for each buffer", file=file, line=1)
    columns, inclusive = _columns(rows[0][1], file)
    seen: dict[str, int] = {}
    buffers = []
    for number, fields in rows[1:]:
        if len(fields) != len(columns):
            problem = f"{len(fields)} fields under {len(columns)} columns"
            raise InputError(problem, "a field for each column", file=file, line=number)
        row = dict(zip(columns, fields, strict=True))
        if row["id"] in seen:
            problem = f"the id {row['id']!r} is that of line {seen[row['id']]}"
            raise InputError(problem, "each buffer its own id", "id", file, number)
        seen[row["id"]] = number
        try:
            buffers.append(_buffer(row, inclusive))
        except InputError as error:
            error.file, error.line = file, number
            raise
    try:
        return AllocationProblem(name, tuple(buffers))
    except InputError as error:
        error.file = file
        raise


def _columns(header: Sequence[str], file: str | None) -> tuple[list[str], int]:
    """The columns' plain names, and what is added to ends."""
    columns = []
    for written in header:
        if written not in _NAMES:
            expected = "a column of " + ", ".join(_NAMES)
            raise InputError(
                f"unknown column {written!r}", expected, file=file, line=1, nearest=nearest_name(written, _NAMES)
            )
        if _NAMES[written] in columns:
            raise InputError(f"{_NAMES[written]} has two columns", "one", written, file, 1)
        columns.append(_NAMES[written])
    for name in _NEEDED:
        if name not in columns:
            raise InputError(f"there is no column {name}", "columns id, lower, upper and size", name, file, 1)
    return columns, int("end" in header)


def _buffer(row: dict[str, str], inclusive: int) -> Buffer:
    pinned, hint = row.get("offset"), row.get("hint")
    wished = _integer(hint, "hint") if hint else -1
    return Buffer(
        id=row["id"],
        lower=_integer(row["lower"], "lower"),
        upper=_integer(row["upper"], "upper") + inclusive,
        size=_integer(row["size"], "size"),
        alignment=_integer(row["alignment"], "alignment") if row.get("alignment") else 1,
        pinned=_integer(pinned, "offset") if pinned else None,
        hint=None if wished == -1 else wished,
        gaps=tuple(sorted((_gap(part, inclusive) for part in row.get("gaps", "").split()), key=lambda gap: gap.lower)),
        pools=tuple(row.get("pool", "").split()),
    )


def _integer(text: str, field: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise InputError(f"{text[:40]!r} is not an integer", "an integer of at most 18 digits", field)
    return int(text)


def _gap(text: str, inclusive: int) -> Gap:
    found = _GAP.fullmatch(text)
    if found is None:
        raise InputError(f"{text[:40]!r} is not a gap", "FROM-TO or FROM-TO@LOW:HIGH, such as 3-5 or 3-5@0:64", "gaps")
    lower, upper, low, high = found.groups()
    window = None if low is None else (int(low), int(high))
    return Gap(int(lower), int(upper) + inclusive, window)


def to_csv(problem: AllocationProblem, offsets: Sequence[int] | None = None, pools: Sequence[str] | None = None) -> str:
    """``problem`` as text, half-open; with ``offsets`` (and ``pools``) as a solution, else the column has the pins.

    Columns that no buffer needs are left out.
    """
    buffers = problem.buffers
    columns = ["id", "lower", "upper", "size"]
    columns += ["alignment"] if any(buffer.alignment != 1 for buffer in buffers) else []
    columns += ["hint"] if any(buffer.hint is not None for buffer in buffers) else []
    columns += ["gaps"] if any(buffer.gaps for buffer in buffers) else []
    columns += ["pool"] if pools is not None or any(buffer.pools for buffer in buffers) else []
    columns += ["offset"] if offsets is not None or any(buffer.pinned is not None for buffer in buffers) else []
    lines = [",".join(columns)]
    for place, buffer in enumerate(buffers):
        at = buffer.pinned if offsets is None else offsets[place]
        fields = {
            "id": buffer.id,
            "lower": str(buffer.lower),
            "upper": str(buffer.upper),
            "size": str(buffer.size),
            "alignment": str(buffer.alignment),
            "hint": str(-1 if buffer.hint is None else buffer.hint),
            "gaps": " ".join(map(_gap_text, buffer.gaps)),
            "pool": " ".join(buffer.pools) if pools is None else pools[place],
            "offset": "" if at is None else str(at),
        }
        lines.append(",".join(fields[column] for column in columns))
    return "\n".join(lines) + "\n"


def _gap_text(gap: Gap) -> str:
    return f"{gap.lower}-{gap.upper}" + ("" if gap.window is None else f"@{gap.window[0]}:{gap.window[1]}")
