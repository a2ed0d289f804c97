"""Runs of published DRAM simulators from a CSV file, one row each.

Lines that begin with ``#`` are comments. Columns: ``simulator, preset, mapping, scheduler, read_queue, write_queue,
refresh, tries_per_tick, pattern, trace_sha256, requests, cycles, mean_read_latency_cycles, row_hits, row_misses,
row_conflicts, row_hit_rate, refresh_cmds, energy_pJ_tck_scaled``; others are ignored. ``tries_per_tick`` is how many
requests the front end offers per cycle, or ``1/n`` for one in n cycles. Counts and energy may be empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dse.validation.csv_rows import CsvRow, read_csv

__all__ = ["DRAM_COLUMNS", "DramRow", "read_dram_rows"]

_TEXTS = ("simulator", "preset", "mapping", "scheduler", "read_queue", "write_queue", "refresh", "pattern")
_COUNTS = ("requests", "cycles")
_OPTIONAL = ("row_hits", "row_misses", "row_conflicts", "refresh_cmds")
DRAM_COLUMNS = (
    *_TEXTS, "tries_per_tick", "trace_sha256", *_COUNTS, "mean_read_latency_cycles", "row_hit_rate", *_OPTIONAL,
    "energy_pJ_tck_scaled",
)  # fmt: skip


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


def read_dram_rows(path: Path) -> list[DramRow]:
    """All rows of the file. Raises `InputError` with file, line and column for what is missing or no number."""
    return [_row(row) for row in read_csv(path, DRAM_COLUMNS, "DRAM runs")]


def _row(row: CsvRow) -> DramRow:
    tries, interval = _offers(row)
    counts = [row.whole(name) if row.text(name) else None for name in _OPTIONAL]
    states = (counts[0], counts[1], counts[2])
    energy = row.text("energy_pJ_tck_scaled")
    return DramRow(
        line=row.line,
        **{name: row.text(name) for name in _TEXTS},
        tries_per_tick=tries,
        interval_ticks=interval,
        trace_sha256=row.text("trace_sha256"),
        requests=row.whole("requests", 1),
        cycles=row.whole("cycles", 1),
        latency_cycles=row.number("mean_read_latency_cycles", above=True),
        hit_rate=row.number("row_hit_rate"),
        hits_misses_conflicts=None if None in states else (states[0] or 0, states[1] or 0, states[2] or 0),
        refreshes=counts[3],
        energy_j=row.number("energy_pJ_tck_scaled", above=True) * 1e-12 if energy else None,
    )


def _offers(row: CsvRow) -> tuple[int, int]:
    """Requests per cycle and cycles between requests, 0 for none: "2" is (2, 0), "1/400" is (1, 400)."""
    tries, _, interval = row.text("tries_per_tick").partition("/")
    if tries.isdecimal() and 1 <= int(tries) <= 64 and (not interval or (interval.isdecimal() and int(interval) > 0)):
        return int(tries), int(interval or 0)
    raise row.wrong("tries_per_tick", "requests per cycle, or 1/n for one in n cycles")
