"""Traces: text with one request a line, ``LD`` or ``ST`` and a byte address, as DRAM simulators read them.

Addresses are hexadecimal with ``0x`` or decimal. Blank lines and what follows a ``#`` count for nothing. Files whose
names end in ``.gz`` are read through gzip.
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

import numpy as np
from numba import njit

from simulator.memory.dram.streams import Recorded
from workloads.errors import InputError, nearest_name

__all__ = ["read_trace"]

_OPERATIONS = ("LD", "ST")
_LINE = "LD or ST and an address, such as 'LD 0x1c0'"


def read_trace(path: str | Path, *, burst_bytes: int, capacity_bytes: int) -> Recorded:
    """The requests of the trace at ``path``, for a memory of that burst and capacity.

    Raises `InputError` with file and line for anything but whole bursts inside the memory, and for a file that holds no
    request or is no text.
    """
    file = str(path)
    data = _read(Path(path), file)
    # A request takes at least five characters with its line end: "LD 0\n".
    most = len(data) // 5 + 1
    addresses, writes = np.empty(most, np.int64), np.empty(most, np.bool_)
    characters = np.frombuffer(data, dtype=np.uint8)
    count, line, start = _parse(characters, burst_bytes, capacity_bytes, addresses, writes)
    if line:
        raise _explained(data, start, line, file, burst_bytes, capacity_bytes)
    if not count:
        raise InputError("holds no request", f"lines of {_LINE}", file=file)
    return Recorded(burst_bytes, addresses[:count].copy(), writes[:count].copy())


def _read(path: Path, file: str) -> bytes:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError("is no gzip file, or a damaged one", "a trace packed by gzip", file=file) from None
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InputError(problem, "a trace", file=file) from None
    if not data:
        raise InputError("is empty", f"lines of {_LINE}", file=file)
    if 0 in data or not _is_text(data):
        raise InputError("is not text", f"lines of {_LINE}", file=file)
    return data.removeprefix(b"\xef\xbb\xbf")  # the mark some editors begin UTF-8 with


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@njit(cache=True)
def _parse(data, burst_bytes, capacity_bytes, addresses, writes):  # type: ignore[no-untyped-def]
    """Fill ``addresses`` and ``writes``; return their count, and number and start of the first wrong line (or 0, 0).

    What is wrong with a line, `_explained` says.
    """
    at, end, line, count = 0, len(data), 0, 0
    while at < end:
        start = at
        line += 1
        while at < end and (data[at] == 32 or data[at] == 9 or data[at] == 13):
            at += 1
        if at < end and data[at] != 10 and data[at] != 35:
            if at + 2 >= end:
                return count, line, start
            load = data[at] == 76 and data[at + 1] == 68
            store = data[at] == 83 and data[at + 1] == 84
            at += 2
            if not (load or store) or not (data[at] == 32 or data[at] == 9):
                return count, line, start
            while at < end and (data[at] == 32 or data[at] == 9):
                at += 1
            base = 10
            if at + 1 < end and data[at] == 48 and (data[at + 1] == 120 or data[at + 1] == 88):
                base = 16
                at += 2
            value, digits = 0, 0
            while at < end:
                letter = data[at]
                if 48 <= letter <= 57:
                    digit = letter - 48
                elif base == 16 and 97 <= letter <= 102:
                    digit = letter - 87
                elif base == 16 and 65 <= letter <= 70:
                    digit = letter - 55
                else:
                    break
                value = value * base + digit
                digits += 1
                at += 1
                if value >= capacity_bytes:
                    return count, line, start
            while at < end and (data[at] == 32 or data[at] == 9 or data[at] == 13):
                at += 1
            if digits == 0 or value % burst_bytes != 0 or (at < end and data[at] != 10 and data[at] != 35):
                return count, line, start
            addresses[count] = value
            writes[count] = store
            count += 1
        while at < end and data[at] != 10:
            at += 1
        at += 1
    return count, 0, 0


def _explained(data: bytes, start: int, line: int, file: str, burst_bytes: int, capacity_bytes: int) -> InputError:
    """What is wrong with the line at ``start``."""
    end = data.find(b"\n", start)
    text = data[start : end if end >= 0 else None].decode("utf-8")
    words = [word for word in re.split(r"[ \t]+", text.split("#")[0].strip(" \t\r")) if word]

    def error(problem: str, expected: str, nearest: str | None = None) -> InputError:
        return InputError(problem, expected, None, file, line, nearest)

    shown = text.strip() if len(text) <= 60 else f"{text.strip()[:60]}..."
    number = re.fullmatch(r"0[xX]([0-9a-fA-F]+)|([0-9]+)", words[1]) if len(words) > 1 else None
    if end < 0 and (len(words) < 2 or number is None):
        return error(f"the last line is cut off: {shown!r}", f"{_LINE}, and a line end")
    if words[0] not in _OPERATIONS:
        nearest = nearest_name(words[0], _OPERATIONS)
        return error(f"unknown operation {words[0][:20]!r}", f"one of {', '.join(_OPERATIONS)}", nearest)
    if len(words) != 2:
        return error(f"found {len(words)} fields in {shown!r}", _LINE)
    if number is None:
        problem = "negative address" if re.fullmatch(r"-(0[xX][0-9a-fA-F]+|[0-9]+)", words[1]) else "bad address"
        return error(f"{problem} {words[1][:40]!r}", "a whole number, 0x for hexadecimal")
    value = int(number[1], 16) if number[1] else int(number[2][:40])
    if value >= capacity_bytes:
        shown = f"{value:#x}" if value < 1 << 64 else f"{words[1][:20]}..."
        return error(f"address {shown} lies beyond the memory", f"below {capacity_bytes:#x}, its capacity")
    return error(f"address {value:#x} is not aligned", f"a multiple of the burst of {burst_bytes} bytes")
