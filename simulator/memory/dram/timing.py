"""Timing expressions of device files: sums and differences of timing names and whole numbers, ``nCL + nBL + 2``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from workloads.errors import InputError, nearest_name

__all__ = ["evaluate", "names_in"]

_TERM = re.compile(r"\s*([+-]?)\s*([A-Za-z_][A-Za-z0-9_]*|[0-9]{1,9})")
_EXPECTED = "timing names and whole numbers joined by + and -, such as 'nCWL + nBL + nWR'"


def _terms(expression: str) -> list[tuple[int, str]]:
    terms: list[tuple[int, str]] = []
    at = 0
    while at < len(expression.rstrip()):
        match = _TERM.match(expression, at)
        if match is None or (terms and not match[1]):
            raise InputError(f"{expression!r} is not a timing expression", _EXPECTED)
        terms.append((-1 if match[1] == "-" else 1, match[2]))
        at = match.end()
    if not terms:
        raise InputError(f"{expression!r} is not a timing expression", _EXPECTED)
    return terms


def names_in(expression: str) -> tuple[str, ...]:
    """The timing names ``expression`` uses, in order. Raises `InputError` for text that is no expression."""
    return tuple(term for _, term in _terms(expression) if not term.isdigit())


def evaluate(expression: str, timing: Mapping[str, int]) -> int:
    """``expression`` in ticks, with each name at its value in ``timing``.

    >>> evaluate("nCWL + nBL + 2 - nCL", {"nCWL": 16, "nBL": 4, "nCL": 22})
    0

    Raises `InputError` for a name ``timing`` does not have.
    """
    total = 0
    for sign, term in _terms(expression):
        if not term.isdigit() and term not in timing:
            raise InputError(
                f"unknown timing {term!r} in {expression!r}",
                f"one of {', '.join(sorted(timing))}",
                nearest=nearest_name(term, timing),
            )
        total += sign * (int(term) if term.isdigit() else timing[term])
    return total
