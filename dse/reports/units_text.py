"""Quantities as people write them: three significant digits and an engineering prefix."""

from __future__ import annotations

import math

__all__ = [
    "bytes_text",
    "engineering",
    "joules_text",
    "number_text",
    "percent_text",
    "ratio_text",
    "seconds_text",
]

_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}


def engineering(value: float, unit: str) -> str:
    """``value`` in ``unit`` with the prefix that leaves 1 to 999 before the decimal point.

    >>> engineering(0.00123, "s"), engineering(16.06e9, "B"), engineering(0, "J")
    ('1.23 ms', '16.1 GB', '0 J')
    """
    if value == 0:
        return f"0 {unit}"
    if not math.isfinite(value):
        return f"{value} {unit}"
    # Rounded first, so that 999.96 µs becomes 1.00 ms.
    exponent = math.floor(math.log10(abs(float(f"{value:.2e}"))))
    power = min(max(3 * (exponent // 3), min(_PREFIXES)), max(_PREFIXES))
    decimals = min(max(0, 2 - (exponent - power)), 2)
    return f"{value / 10.0**power:.{decimals}f} {_PREFIXES[power]}{unit}"


def seconds_text(seconds: float) -> str:
    """A duration: ``'1.23 ms'``; from 1,000 s on plain seconds."""
    return f"{seconds:,.0f} s" if seconds >= 1000 else engineering(seconds, "s")


def bytes_text(size_bytes: float) -> str:
    """A size in decimal units: ``'16.1 GB'``; bytes themselves come whole."""
    return f"{size_bytes:.0f} B" if abs(size_bytes) < 1000 else engineering(size_bytes, "B")


def joules_text(energy_j: float) -> str:
    """An energy: ``'3.20 mJ'``."""
    return engineering(energy_j, "J")


def percent_text(share: float) -> str:
    """A share of one as a percentage: whole from 10 % on, with one decimal below, ``'<0.1 %'`` for next to nothing."""
    percent = 100 * share
    if 0 < percent < 0.05:
        return "<0.1 %"
    return f"{percent:.0f} %" if percent >= 9.95 or percent == 0 else f"{percent:.1f} %"


def number_text(value: float) -> str:
    """A plain number: three significant digits below 100, whole with thousands separators above.

    >>> number_text(0.5813), number_text(42.0), number_text(18765.4)
    ('0.581', '42.0', '18,765')
    """
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.2e}"
    exponent = math.floor(math.log10(abs(float(f"{value:.2e}"))))
    return f"{value:.{2 - exponent}f}"


def ratio_text(ratio: float) -> str:
    """How many times as much: ``'1.05×'``, ``'320×'``."""
    return f"{number_text(ratio)}×" if math.isfinite(ratio) else "-"
