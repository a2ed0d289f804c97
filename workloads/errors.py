"""The errors a user can cause: an input that is wrong, and a request that cannot be met or cannot be divided so.

All carry their parts as fields, so that the command line can print one sentence (exit code 2 or 3) or one JSON
document, and so that tests can check which field was named.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ImpossibleError", "InfeasibleError", "InputError", "nearest_name", "unknown_name"]


@dataclass
class InputError(Exception):
    """An input is wrong: ``problem`` says what was found, ``expected`` what would be right.

    ``file``, ``line`` (1-based) and ``field`` (dotted path) say where; ``nearest`` is the closest valid name.
    """

    problem: str
    expected: str | None = None
    field: str | None = None
    file: str | None = None
    line: int | None = None
    nearest: str | None = None

    def __str__(self) -> str:
        where = self.file or ""
        if self.file and self.line is not None:
            where += f":{self.line}"
        parts = [part for part in (where, self.field) if part]
        text = f"{': '.join(parts)}: {self.problem}" if parts else self.problem
        if self.expected:
            text += f"; expected {self.expected}"
        if self.nearest:
            text += f"; did you mean {self.nearest!r}?"
        return text


@dataclass
class ImpossibleError(InputError):
    """A well-formed request whose parts do not go together, such as a division that does not come out even.

    Nothing in it is too large by an amount, so it is no `InfeasibleError`, but it exits like one (code 3);
    ``expected`` is the smallest change that would do.
    """


@dataclass
class InfeasibleError(Exception):
    """A well-formed request cannot be met: ``constraint`` names what is violated, and by how much.

    ``needed`` and ``available`` are in ``unit``; ``hint`` says what would make it fit, ``changes`` lists what would as
    plain values, what changes least first.
    """

    constraint: str
    needed: float
    available: float
    unit: str
    hint: str | None = None
    changes: tuple[Mapping[str, Any], ...] | None = None

    @property
    def excess(self) -> float:
        """How much too much is asked for, in ``unit``."""
        return self.needed - self.available

    def __str__(self) -> str:
        text = f"{self.constraint}: needs {self.needed:,.6g} {self.unit}, has {self.available:,.6g} {self.unit} "
        text += f"({self.excess:,.6g} {self.unit} too much)"
        return f"{text}; {self.hint}" if self.hint else text


def nearest_name(name: str, valid: Iterable[str]) -> str | None:
    """The valid name closest to ``name``, ignoring case, or None when nothing is close."""
    by_folded = {candidate.casefold(): candidate for candidate in valid}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.55)
    return by_folded[matches[0]] if matches else None


def unknown_name(
    kind: str,
    name: str,
    valid: Iterable[str],
    *,
    field: str | None = None,
    file: str | None = None,
    line: int | None = None,
) -> InputError:
    """The error for a name that is not among ``valid``: lists them (first 12) and suggests the nearest."""
    names = sorted(valid)
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return InputError(
        f"unknown {kind} {name!r}",
        expected=f"one of {shown}" if names else f"a {kind}, but none is defined",
        field=field,
        file=file,
        line=line,
        nearest=nearest_name(name, names),
    )
