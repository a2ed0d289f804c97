"""Runs of published DRAM simulators from a CSV file, one row each.

Lines that begin with ``#`` are comments. Columns: ``simulator, preset, mapping, scheduler, read_queue, write_queue,
refresh, tries_per_tick, pattern, trace_sha256, requests, cycles, mean_read_latency_cycles, row_hits, row_misses,
row_conflicts, row_hit_rate, refresh_cmds, energy_pJ_tck_scaled``; others are ignored. ``tries_per_tick`` is how many
requests the front end offers per cycle, or ``1/n`` for one in n cycles. Counts and energy may be empty.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from workloads.errors import InputError, nearest_name

__all__ = ["DRAM_COLUMNS", "DramRow", "is_dram_file", "read_dram_rows"]

_TEXTS = ("simulator", "preset", "mapping", "scheduler", "read_queue", "write_queue", "refresh", "pattern")
_COUNTS = ("requests", "cycles")
_OPTIONAL = ("row_hits", "row_misses", "row_conflicts", "refresh_cmds")
DRAM_COLUMNS = (
    *_TEXTS, "tries_per_tick", "trace_sha256", *_COUNTS, "mean_read_latency_cycles", "row_hit_rate", *_OPTIONAL,
    "energy_pJ_tck_scaled",
)  # fmt: skip
_LARGEST = 10**12


@dataclass(frozen=True)
class DramRow:
    """One run. Latency and hit rate are means; the clock's end is the simulator's own (see the report)."""

    line: int
    simulator: str
    preset: str
    mapping: str
    scheduler: str
    read_queue: str
    write_queue: str
    refresh: str
    pattern: str
    tries_per_tick: int
    interval_ticks: int
    trace_sha256: str
    requests: int
    cycles: int
    latency_cycles: float
    hit_rate: float
    hits_misses_conflicts: tuple[int, int, int] | None
    refreshes: int | None
    energy_j: float | None


def is_dram_file(path: Path) -> bool:
    """Whether the first line of ``path`` that is no comment names the columns of a DRAM file."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            header = next((line for line in lines if not line.startswith("#")), "")
    except (OSError, UnicodeDecodeError):
        return False
    return {"simulator", "preset", "pattern"} <= set(header.strip().split(","))


def read_dram_rows(path: Path) -> list[DramRow]:
    """All rows of the file. Raises `InputError` with file, line and column for what is missing or no number."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise InputError(reason, expected="a CSV file of DRAM runs", file=str(path)) from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    reader = csv.reader([line for _, line in numbered])
    header = next(reader, [])
    for column in DRAM_COLUMNS:
        if column not in header:
            near, expected = nearest_name(column, header), f"columns {', '.join(DRAM_COLUMNS)}"
            first = numbered[0][0] if numbered else 1
            raise InputError(f"no column {column!r}", expected=expected, file=str(path), line=first, nearest=near)
    rows = []
    for cells in reader:
        line = numbered[reader.line_num - 1][0]
        try:
            rows.append(_row(dict(zip(header, cells, strict=False)), line))
        except InputError as error:
            error.file, error.line = str(path), line
            raise
    return rows


def _row(cells: dict[str, str], line: int) -> DramRow:
    tries, interval = _offers(cells.get("tries_per_tick", ""))
    counts = [_whole(cells, name) if cells.get(name) else None for name in _OPTIONAL]
    states = (counts[0], counts[1], counts[2])
    energy = cells.get("energy_pJ_tck_scaled")
    return DramRow(
        line=line,
        **{name: cells.get(name, "") for name in _TEXTS},
        tries_per_tick=tries,
        interval_ticks=interval,
        trace_sha256=cells.get("trace_sha256", ""),
        requests=_whole(cells, "requests"),
        cycles=_whole(cells, "cycles"),
        latency_cycles=_number(cells, "mean_read_latency_cycles", above=True),
        hit_rate=_number(cells, "row_hit_rate"),
        hits_misses_conflicts=None if None in states else (states[0] or 0, states[1] or 0, states[2] or 0),
        refreshes=counts[3],
        energy_j=_number(cells, "energy_pJ_tck_scaled", above=True) * 1e-12 if energy else None,
    )


def _offers(text: str) -> tuple[int, int]:
    """Requests per cycle and cycles between requests, 0 for none: "2" is (2, 0), "1/400" is (1, 400)."""
    tries, _, interval = text.partition("/")
    if tries.isdecimal() and 1 <= int(tries) <= 64 and (not interval or (interval.isdecimal() and int(interval) > 0)):
        return int(tries), int(interval or 0)
    raise InputError(f"{text!r}", expected="requests per cycle, or 1/n for one in n cycles", field="tries_per_tick")


def _whole(cells: dict[str, str], column: str) -> int:
    text = cells.get(column, "")
    least = 1 if column in _COUNTS else 0
    if not text.isdecimal() or not least <= int(text) <= _LARGEST:
        raise InputError(f"{text!r}", expected=f"a whole number from {least} to 1e12", field=column)
    return int(text)


def _number(cells: dict[str, str], column: str, *, above: bool = False) -> float:
    text = cells.get(column, "")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (above and value == 0):
        expected = "a number above 0" if above else "a number of 0 or more"
        raise InputError(f"{text!r}", expected=expected, field=column)
    return value
