"""Traces of requests as text: our own lines, and the comma-separated form of the MSR Cambridge traces."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hw.spec.quantity import BYTES, parse_quantity
from simulator.memory.flash.drive import SECTOR_BYTES
from simulator.memory.flash.trace import DriveTrace
from workloads.errors import InputError

__all__ = ["read_trace"]

_SIZE = r"([0-9][0-9_.eE+]*(?:\s*[A-Za-z]*B)?)"
_LINE = re.compile(rf"([RrWw])\s+{_SIZE}\s+{_SIZE}(?:\s+([0-9.eE+-]+))?")
_EXPECTED = "R or W, offset, size and, if any line has one, the arrival in microseconds"
_EXPECTED_MSR = "Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime"
_LONGEST_BYTES = 2**62


@dataclass
class _Lines:
    file: str
    first: array[int] = field(default_factory=lambda: array("q"))
    size: array[int] = field(default_factory=lambda: array("q"))
    write: array[int] = field(default_factory=lambda: array("b"))
    arrival_s: array[float] = field(default_factory=lambda: array("d"))

    def add(self, line: int, first: int, size: int, write: bool, arrival_s: float | None) -> None:
        for name, value, least in (("offset", first, 0), ("size", size, SECTOR_BYTES)):
            if value % SECTOR_BYTES or not least <= value <= _LONGEST_BYTES:
                raise self.wrong(f"{name} of {value} bytes", f"whole sectors of {SECTOR_BYTES} bytes", line)
        if len(self.first) and (arrival_s is None) != (len(self.arrival_s) == 0):
            raise self.wrong("an arrival on some lines and none on others", "it on every line, or on none", line)
        if arrival_s is not None:
            if not (self.arrival_s[-1] if self.arrival_s else 0.0) <= arrival_s < float("inf"):
                raise self.wrong(f"arrival after {arrival_s:g} s", "none before that of the line before", line)
            self.arrival_s.append(arrival_s)
        self.first.append(first)
        self.size.append(size)
        self.write.append(write)

    def wrong(self, problem: str, expected: str, line: int) -> InputError:
        return InputError(problem, expected, file=self.file, line=line)

    def trace(self, queue_depth: int) -> DriveTrace:
        if not self.first:
            raise InputError("has no requests", _EXPECTED, file=self.file)
        arrival_s = np.array(self.arrival_s) if self.arrival_s else None
        return DriveTrace(np.array(self.first), np.array(self.size), np.array(self.write) != 0, arrival_s, queue_depth)


def read_trace(path: str | Path, *, queue_depth: int = 32, disk: int | None = None) -> DriveTrace:
    """The requests of a text file, one a line; blank lines and what follows a ``#`` mean nothing.

    ``R|W OFFSET SIZE [ARRIVAL_US]``: offset and size in bytes, or with a unit (``4 KiB``); the arrival, in microseconds
    from the start, on every line or on none. Or, where lines have commas, the form of the MSR Cambridge traces (read me
    of those files, Narayanan et al., "Write Off-Loading", FAST 2008): ``Timestamp,Hostname,DiskNumber,Type,Offset,Size,
    ResponseTime`` with the time in units of 100 ns, counted here from the first request; a first line with these names
    is passed over. ``disk`` takes the requests of one disk number only.

    Raises `InputError` with file and line, for lines out of form, parts of sectors and arrivals that go back.
    """
    file = Path(path)
    lines = _Lines(str(path))
    start = None
    try:
        with file.open(encoding="utf-8") as text:
            for number, raw in enumerate(text, 1):
                line = raw.partition("#")[0].strip()
                if not line:
                    continue
                if "," in line:
                    if not lines.first and line.casefold().startswith("timestamp,"):
                        continue
                    start = _read_msr(lines, number, line, start, disk)
                else:
                    _read_own(lines, number, line)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text in UTF-8"
        raise InputError(str(reason), "a file of requests", file=str(path)) from None
    return lines.trace(queue_depth)


def _read_own(lines: _Lines, number: int, line: str) -> None:
    found = _LINE.fullmatch(line)
    if found is None:
        raise lines.wrong(f"found {line[:60]!r}", _EXPECTED, number)
    first, size = (_bytes(lines, number, found[part]) for part in (2, 3))
    try:
        arrival_s = None if found[4] is None else float(found[4]) * 1e-6
    except ValueError:
        raise lines.wrong(f"arrival of {found[4]!r}", "microseconds", number) from None
    lines.add(number, first, size, found[1] in "Ww", arrival_s)


def _bytes(lines: _Lines, number: int, text: str) -> int:
    if text.isdecimal():
        return int(text)
    try:
        size = parse_quantity(text if text[-1] == "B" else f"{text} B", BYTES)
    except InputError as error:
        raise replace(error, field=None, file=lines.file, line=number) from None
    if size != int(size):
        raise lines.wrong(f"found {text}", "whole bytes", number)
    return int(size)


def _read_msr(lines: _Lines, number: int, line: str, start: int | None, disk: int | None) -> int | None:
    """One line; returns the time of the first request."""
    parts = [part.strip() for part in line.split(",")]
    kind = parts[3].casefold() if len(parts) == 7 else ""
    counts = [parts[at] for at in (0, 2, 4, 5)] if len(parts) == 7 else [""]
    if kind not in ("read", "write") or not all(text.isascii() and text.isdecimal() for text in counts):
        raise lines.wrong(f"found {line[:60]!r}", _EXPECTED_MSR, number)
    when, of_disk, first, size = (int(text) for text in counts)
    if disk is not None and of_disk != disk:
        return start
    start = when if start is None else start
    lines.add(number, first, size, kind == "write", (when - start) * 1e-7)
    return start
