"""A line on standard error while something takes long."""

from __future__ import annotations

import sys
import time

import typer

__all__ = ["Progress"]

_TELL_S = 1.0


class Progress:
    """Told often how far it is; says so every second, on a terminal over the line before, else every ten."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._tty = sys.stderr.isatty()
        self._every_s = _TELL_S if self._tty else 10 * _TELL_S
        self._next_s = time.monotonic() + self._every_s
        self._on_line = False

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` are, where that is known, of ``what``."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + self._every_s
        of = f"{done:,} of {total:,}" if total else f"{done:,}"
        text = f"{what}: {of} {self._noun}"
        typer.echo(f"\r\033[K{text}" if self._tty else text, err=True, nl=not self._tty)
        self._on_line = self._tty

    def done(self) -> None:
        """Clear the line on a terminal: what comes next begins on it."""
        if self._on_line:
            typer.echo("\r\033[K", err=True, nl=False)
            self._on_line = False
