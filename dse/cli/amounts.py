"""Amounts as they are typed: sizes with or without a unit, counts with a binary or decimal prefix."""

from __future__ import annotations

import re
from dataclasses import replace

from workloads.errors import InputError

__all__ = ["bytes_of", "count_of"]

_COUNT = re.compile(r"\s*(\d{1,15})\s*(Ki|Mi|Gi|k|M|G)?\s*")
_TIMES = {None: 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def bytes_of(text: str, option: str, *, least: int = 1, most: int = 2**60) -> int:
    """A size with its unit, or a plain number of bytes; raises `InputError` that names ``option``.

    >>> bytes_of("4 KiB", "--size"), bytes_of("512", "--size")
    (4096, 512)
    """
    try:
        size = int(text) if text.strip().isdecimal() and len(text) < 20 else _with_unit(text)
    except InputError as error:
        raise replace(error, field=option) from None
    if size != int(size) or not least <= size <= most:
        raise InputError(f"found {text}", f"a whole number of bytes, {least} to {most:,}", option)
    return int(size)


def _with_unit(text: str) -> float:
    from hw.spec.quantity import BYTES, parse_quantity  # brings pydantic, which plain numbers do without

    return parse_quantity(text, BYTES)


def count_of(text: str, option: str, expected: str) -> int:
    """A whole number, such as 65536 or 64Ki; raises `InputError` with what was ``expected`` of ``option``.

    >>> count_of("64Ki", "--context", "a number of tokens")
    65536
    """
    found = _COUNT.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise InputError(f"found {text[:40]!r}", expected, option)
    return int(found[1]) * _TIMES[found[2]]
