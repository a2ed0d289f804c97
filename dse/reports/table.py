"""Results as text for a terminal: one result in full, two side by side, or a plain list of rows.

Everything fits 80 columns. Colour and bold appear on a terminal only; where the stream cannot encode ``µ``, ``×`` or
``→``, their ASCII spellings stand instead.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from dse.reports.compare import comparison, result_labels
from dse.reports.names import case_text
from dse.reports.summary import bottleneck_sentence, charges, headline, operations, tier_uses
from dse.reports.units_text import bytes_text, number_text, percent_text, seconds_text
from simulator.result import Result

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = [
    "comparison_table",
    "comparison_text",
    "print_comparison",
    "print_report",
    "print_rows",
    "print_text",
    "report_table",
    "report_text",
]

WIDTH = 80
_UNLIMITED = 1000
_BAR = 18
_MOST_OPERATIONS = 8
_FORMATS_SHOWN = ("weights", "kv_cache")
_ASCII = {"µ": "u", "×": "x", "→": "->", "█": "#", "…": "~", "·": "-"}


def print_report(result: Result, *, stream: TextIO | None = None) -> None:
    """Print one result in full, on standard output unless a ``stream`` is given."""
    _print(report_table(result), stream)


def report_text(result: Result) -> str:
    """One result in full as plain text of at most 80 columns."""
    return _plain(report_table(result))


def print_comparison(first: Result, second: Result, *, stream: TextIO | None = None) -> None:
    """Print two results side by side, on standard output unless a ``stream`` is given."""
    _print(comparison_table(first, second), stream)


def comparison_text(first: Result, second: Result) -> str:
    """Two results side by side as plain text of at most 80 columns."""
    return _plain(comparison_table(first, second))


def print_rows(rows: Sequence[Mapping[str, Any]], *, stream: TextIO | None = None) -> None:
    """Print rows that share their keys as a table with the keys as its head; whole numbers get thousands separators.

    On a terminal the last column is folded to fit; elsewhere lines are as long as they need to be.
    """
    table = _table()
    for at, name in enumerate(rows[0] if rows else ()):
        is_number = isinstance(rows[0][name], int | float)
        _column(table, name.replace("_", " "), right=is_number, first=at == 0)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    if table.columns:
        table.columns[-1].no_wrap = False
        table.columns[-1].overflow = "fold"
    _print(table, stream, width=_UNLIMITED)


def _cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return number_text(value) if isinstance(value, float) else str(value)


def report_table(result: Result) -> RenderableType:
    """One result in full, as something rich prints: headline, time by bound, memory by tier, operations, notes."""
    from rich.console import Group
    from rich.text import Text

    formats = result.formats
    kept = ", ".join(f"{kind.replace('_', ' ')} {name}" for kind, name in formats.items() if kind in _FORMATS_SHOWN)
    where = f"{result.devices} × {result.system}" if result.devices > 1 else result.system
    details = ", ".join(part for part in (f"on {where}", f"{result.fidelity} fidelity", kept) if part)
    parts: list[RenderableType] = [Text(case_text(result), style="bold"), Text(details), Text()]
    figures = _table(header=False)
    _column(figures, first=True)
    _column(figures, style="bold")
    for name, value in headline(result):
        figures.add_row(name, value)
    parts += [figures, Text(bottleneck_sentence(result), style="bold yellow")]
    parts += [Text(), _bound_table(result), Text(), _memory_table(result), Text(), _operation_table(result)]
    if result.notes:
        parts += [Text(), Text("Notes", style="bold"), *(Text(f"  {note}") for note in result.notes)]
    return Group(*parts)


def _bound_table(result: Result) -> Table:
    table = _table()
    _column(table, "Where the time goes", first=True)
    _column(table, "time", right=True)
    _column(table, "share", right=True)
    _column(table, "", style="cyan")
    for row in charges(result):
        table.add_row(row.text, seconds_text(row.seconds), percent_text(row.share), "█" * round(_BAR * row.share))
    return table


def _memory_table(result: Result) -> Table:
    table = _table()
    _column(table, "Memory" + (" per device" if result.devices > 1 else ""), first=True)
    for name in ("peak", "capacity", "share"):
        _column(table, name, right=True)
    _column(table, "largest contents")
    for use in tier_uses(result):
        held = sorted(use.by_role, key=lambda row: -row[1])[:2]
        contents = ", ".join(f"{role.replace('_', ' ')} {bytes_text(size)}" for role, size in held)
        peak = bytes_text(use.peak_bytes) if use.peak_bytes else "-"
        table.add_row(use.tier, peak, bytes_text(use.capacity_bytes), percent_text(use.share), contents)
    return table


def _operation_table(result: Result) -> Table:
    table = _table()
    _column(table, "Operations, without transfers", first=True)
    for name in ("count", "each", "total", "share", "op/byte"):
        _column(table, name, right=True)
    _column(table, "bound by")
    for row in operations(result)[:_MOST_OPERATIONS]:
        table.add_row(
            f"{row.layer}.{row.name}",
            number_text(row.count) if row.count % 1 else f"{row.count:,.0f}",
            seconds_text(row.seconds / row.count),
            seconds_text(row.seconds),
            percent_text(row.seconds / result.latency_s),
            number_text(row.intensity_ops_per_byte),
            row.bound,
        )
    return table


def comparison_table(first: Result, second: Result) -> RenderableType:
    """Two results side by side with the ratio second / first, as something rich prints."""
    from rich.console import Group
    from rich.text import Text

    names = result_labels((first, second))
    table = _table()
    _column(table, "", first=True)
    for name in names:
        _column(table, name, right=True)
    _column(table, "ratio", right=True, style="bold")
    for row in comparison(first, second):
        if row.values:
            table.add_row(f"  {row.name}" if row.inset else row.name, *row.values, row.ratio)
        else:
            table.add_row(row.name, "", "", "", style="bold")
    cases = {case_text(first), case_text(second)}
    title = [Text(cases.pop(), style="bold")] if len(cases) == 1 else []
    pairs = zip(names, (first, second), strict=True)
    said = [Text(f"{name}: {bottleneck_sentence(result)}") for name, result in pairs]
    return Group(*title, table, Text(), *said)


def _table(*, header: bool = True) -> Table:
    from rich.table import Table

    return Table(box=None, show_header=header, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))


def _column(table: Table, name: str = "", *, right: bool = False, first: bool = False, style: str = "") -> None:
    """A column that is cut short with an ellipsis rather than wrapped."""
    table.add_column(name, justify="right" if right else "left", style=style, no_wrap=True, overflow="ellipsis")
    if first:
        table.columns[-1].min_width = min(len(name), 20)


def _plain(renderable: RenderableType, width: int = WIDTH) -> str:
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=width, color_system=None, force_terminal=False, legacy_windows=False).print(renderable)
    return _trimmed(text.getvalue().splitlines())


def _trimmed(lines: Iterable[str]) -> str:
    return "".join(line.rstrip() + "\n" for line in lines)


def _print(renderable: RenderableType, stream: TextIO | None, *, width: int = WIDTH) -> None:
    stream = sys.stdout if stream is None else stream
    if stream.isatty():
        from rich.console import Console

        console = Console(file=stream, highlight=False)
        console.print(renderable)
        return
    print_text(_plain(renderable, width), stream=stream)


def print_text(text: str, *, stream: TextIO | None = None) -> None:
    """Write ``text``, on standard output unless a ``stream`` is given, in ASCII spellings where it must be."""
    stream = sys.stdout if stream is None else stream
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        text = "".join(_ASCII.get(letter, letter if letter.isascii() else "?") for letter in text)
    stream.write(text)
