"""Published figures from a CSV file beside what our models give: memories that compute, drives by chunk, arrays.

Columns: ``subject, key, group, what, unit, published, role, source, note``. A subject's models are looked up by
``key``; ``role`` says what agreement is worth. Rows of role ``open`` have no model, and may have no number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dse.validation.compared import Compared, error_text, markdown_table, median_error, worst_error
from dse.validation.csv_rows import CsvRow, read_csv
from dse.validation.validation import Report, Validation
from workloads.errors import InputError, nearest_name, unknown_name

__all__ = [
    "PUBLISHED_COLUMNS",
    "ROLES",
    "SUBJECTS",
    "Figure",
    "Subject",
    "published_report",
    "read_figures",
    "subject_of",
    "validate_published",
]

PUBLISHED_COLUMNS = ("subject", "key", "group", "what", "unit", "published", "role", "source", "note")
ROLES = {
    "check": "nothing of ours was set by it",
    "derived": "follows from stated inputs by arithmetic",
    "stated": "an input of ours",
    "fitted": "a constant of ours is fitted to it",
    "synthetic": "rests on cell values nobody published",
    "open": "not reproduced",
}
_MOST_LISTED = 9


@dataclass(frozen=True)
class Subject:
    """What a file of figures is about: heading and text of its part of the report, and a model per key."""

    heading: str
    text: str
    models: Mapping[str, Callable[[], float]]


@dataclass(frozen=True)
class Figure:
    """One row; ``compared`` is None where nothing of ours stands beside it."""

    line: int
    subject: str
    group: str
    what: str
    unit: str
    published: float | None
    role: str
    source: str
    note: str
    compared: Compared | None


SUBJECTS = ("pim", "chunks", "arrays", "plans")
"""All subjects."""


@lru_cache
def subject_of(name: str) -> Subject:
    """The subject ``name``, one of `SUBJECTS`; its models are imported with it."""
    if name == "pim":
        from dse.validation.published_pim import PIM

        return PIM
    if name == "chunks":
        from dse.validation.published_chunks import CHUNKS

        return CHUNKS
    if name == "plans":
        from dse.validation.published_plans import PLANS

        return PLANS
    from dse.validation.published_arrays import ARRAYS

    return ARRAYS


def read_figures(path: Path) -> list[Figure]:
    """All rows of the file beside our models. Raises `InputError` with file, line and column for a wrong cell."""
    return [_figure(row) for row in read_csv(path, PUBLISHED_COLUMNS, "published figures")]


def _figure(row: CsvRow) -> Figure:
    subject = row.text("subject")
    if subject not in SUBJECTS:
        raise unknown_name("subject", subject, SUBJECTS, field="subject", file=row.file, line=row.line)
    role, compared = row.one_of("role", tuple(ROLES)), None
    if role == "open":
        published = row.optional("published")
    else:
        published = row.number("published", above=True)
        models, key = subject_of(subject).models, row.text("key")
        if key not in models:
            problem, near = f"no model {key!r} of {subject}", nearest_name(key, models)
            raise InputError(problem, "a model's key", "key", file=row.file, line=row.line, nearest=near)
        compared = Compared(row.text("what"), row.text("unit"), published, models[key]())
    texts = {name: row.text(name) for name in ("group", "what", "unit", "source", "note")}
    return Figure(line=row.line, subject=subject, role=role, published=published, compared=compared, **texts)


def _gathered(figures: Iterable[Figure], by: Callable[[Figure], str]) -> dict[str, list[Figure]]:
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        found.setdefault(by(figure), []).append(figure)
    return found


def published_report(subject: Subject, figures: Sequence[Figure]) -> str:
    """A subject's part of the report: its text, a table by group, notes, sources. Long groups take one line."""
    cells: list[tuple[str, ...]] = []
    for group, members in _gathered(figures, lambda figure: figure.group).items():
        lines = [_summary(members)] if len(members) > _MOST_LISTED else [_cells(figure) for figure in members]
        cells += [(group if at == 0 else "", *line) for at, line in enumerate(lines)]
    present = [role for role in ROLES if any(figure.role == role for figure in figures)]
    parts = [
        f"# {subject.heading}\n",
        subject.text,
        "What agreement is worth: " + "; ".join(f"*{role}*, {ROLES[role]}" for role in present) + ".\n",
        markdown_table(("of", "figure", "published", "ours", "error", "worth"), "llrrrl", cells),
    ]
    notes = [f"- {figure.group}, {figure.what}: {figure.note}." for figure in figures if figure.note]
    if notes:
        parts.append("\n".join(notes) + "\n")
    sources = _gathered(figures, lambda figure: figure.source).items()
    named = [f"- {source}: {'; '.join(dict.fromkeys(one.group for one in members))}." for source, members in sources]
    parts.append("Sources:\n\n" + "\n".join(named) + "\n")
    return "\n".join(parts)


def _summary(members: Sequence[Figure]) -> tuple[str, ...]:
    pairs = [figure.compared for figure in members if figure.compared is not None]
    errors = (f"median {median_error(pairs) or 0.0:.2%}, worst {error_text(worst_error(pairs), 2)}",)
    return (f"{len(members)} figures", "", "", *errors, members[0].role)


def _cells(figure: Figure) -> tuple[str, ...]:
    published = "-" if figure.published is None else f"{_number(figure.published)} {figure.unit}"
    pair = figure.compared
    ours = "-" if pair is None else f"{_number(pair.predicted)} {figure.unit}"
    return (figure.what, published, ours, error_text(None if pair is None else pair.error), figure.role)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def validate_published(path: Path) -> Validation:
    """All figures of a file. Raises `InputError` as `read_figures` does."""
    figures = read_figures(path)
    parts = _gathered(figures, lambda figure: figure.subject)
    rows: list[dict[str, Any]] = [
        {
            "figure": f"{figure.group}: {figure.what}",
            "unit": figure.unit,
            "published": _number(pair.reference),
            "ours": _number(pair.predicted),
            "error": error_text(pair.error),
            "role": figure.role,
        }
        for figure in figures
        if (pair := figure.compared) is not None
    ]
    document = {
        "rows": [
            {
                "line": figure.line,
                "subject": figure.subject,
                "group": figure.group,
                "what": figure.what,
                "role": figure.role,
                "source": figure.source,
                "compared": None if figure.compared is None else figure.compared.document(),
            }
            for figure in figures
        ],
    }
    return Validation(
        rows,
        [f"not reproduced: {figure.group}, {figure.what}: {figure.note}" for figure in figures if not figure.compared],
        document,
        lambda: Report(tuple(published_report(subject_of(name), members) for name, members in parts.items())),
    )
