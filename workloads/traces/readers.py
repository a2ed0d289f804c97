"""Request traces from files: the format is told by the columns or keys."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from workloads.errors import InputError
from workloads.traces.azure import AZURE_COLUMNS, from_azure
from workloads.traces.burstgpt import BURSTGPT_COLUMNS, from_burstgpt
from workloads.traces.columns import CsvTable, parse_table
from workloads.traces.mooncake import MOONCAKE_KEYS, from_mooncake
from workloads.traces.raw import PRIORITY, RawRequests, TraceFile, finished
from workloads.traces.requests import RequestTrace
from workloads.traces.sharegpt import from_sharegpt
from workloads.traces.vidur import VIDUR_COLUMNS, from_vidur

__all__ = ["read_requests", "read_trace_file"]

_CSV: dict[str, tuple[tuple[str, ...], Callable[[CsvTable], RawRequests]]] = {
    "azure": (AZURE_COLUMNS, from_azure),
    "burstgpt": (BURSTGPT_COLUMNS, from_burstgpt),
    "vidur": (VIDUR_COLUMNS, from_vidur),
}
_LONGEST_HEADER = 2**16
_EXPECTED = "a request trace: Azure, BurstGPT or Vidur CSV, Mooncake JSON lines, or ShareGPT JSON"


def read_requests(path: Path | str) -> RequestTrace:
    """The requests of a trace file, plain or ``.gz``, in any format of `read_trace_file`.

    Requests without a prompt or an answer are dropped, arrivals are sorted and count from the first. Of any CSV format,
    a column ``priority`` of whole numbers is read too, and that key of Mooncake's, lower to go first. Raises
    `InputError` with file, line and column for a file that cannot be read, is of no known format or has a wrong cell.
    """
    return read_trace_file(path).trace


def read_trace_file(path: Path | str) -> TraceFile:
    """As `read_requests`, with the format (azure, burstgpt, vidur, mooncake or sharegpt) and notes on the reading."""
    path = Path(path)
    file = str(path)
    text = _text(path)
    first = text.lstrip()[:_LONGEST_HEADER].split("\n", 1)[0].rstrip()
    if first.startswith("["):
        return finished(from_sharegpt(text, file), path, "sharegpt")
    if first.startswith("{"):
        if not any(f'"{key}"' in first for key in MOONCAKE_KEYS):
            raise InputError(
                f"found an object with {_keys(first)}", f"keys {', '.join(MOONCAKE_KEYS)}", file=file, line=1
            )
        return finished(from_mooncake(text, file), path, "mooncake")
    header = {name.strip().strip('"') for name in first.split(",")}
    # The format with most of its columns here is taken for the one that is meant; a missing column is then named.
    name, (columns, convert) = max(_CSV.items(), key=lambda item: len(header & set(item[1][0])) / len(item[1][0]))
    if not header & set(columns):
        raise InputError(f"begins with {first[:60]!r}", _EXPECTED, file=file, line=1)
    table = parse_table(text, file, columns, _EXPECTED)
    priority = table.tokens(PRIORITY) if PRIORITY in table.columns else None
    return finished(replace(convert(table), priority=priority), path, name)


def _keys(line: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return "no closing brace on its line"
    return ", ".join(map(repr, list(record)[:6])) or "no keys"


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", _EXPECTED, file=str(path)) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError("is no whole gzip file", _EXPECTED, file=str(path)) from None
    except OSError as error:
        raise InputError(error.strerror or "cannot be read", _EXPECTED, file=str(path)) from None
