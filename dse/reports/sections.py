"""Markdown reports of several parts, each made by a command of its own and kept by the others."""

from __future__ import annotations

__all__ = ["with_part"]


def with_part(text: str, part: str) -> str:
    """``text`` with ``part`` in the place of the one that has the same first line, else after all others.

    A part begins with a heading of the first level and ends before the next. Nothing else of ``text`` changes.
    """
    heading = part.split("\n", 1)[0]
    lines = text.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if line.startswith("# ")]
    mine = next((number for number in starts if lines[number].rstrip("\n") == heading), None)
    if mine is None:
        return f"{text.rstrip()}\n\n{part}" if text.strip() else part
    after = next((number for number in starts if number > mine), len(lines))
    rest = "".join(lines[after:])
    return "".join(lines[:mine]) + part + ("\n" + rest if rest else "")
