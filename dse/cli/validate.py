"""``tiercade validate``: our predictions beside measurements, runs of other simulators or published figures."""

from __future__ import annotations

from pathlib import Path

from dse.cli.output import print_document, write_bytes, write_text
from dse.reports.sections import with_part
from dse.validation.kinds import kind_of
from dse.validation.validation import Report
from workloads.errors import InputError

__all__ = ["run_validate"]


def run_validate(path: Path, *, report: Path | None, as_json: bool) -> None:
    """Predict every row of ``path``, print the errors, and write our parts of the report if asked.

    The file's columns tell its kind; each kind has its parts of the report and keeps the others.
    """
    kind = kind_of(path)
    found = kind.validate(path)
    if report is not None:
        _write(report, found.report())
    if as_json:
        print_document({"kind": kind.name, **found.document})
        return
    from dse.reports.table import print_rows

    if found.rows:
        print_rows(found.rows)
    for note in found.notes:
        print(note)  # noqa: T201


def _write(report: Path, made: Report) -> None:
    """Put every part where it belongs in ``report``, beside what other files left there, and figures beside it."""
    try:
        text = report.read_text(encoding="utf-8") if report.is_file() else ""
    except (OSError, UnicodeDecodeError):
        raise InputError("is not UTF-8 text", expected="a report in Markdown, or no file", file=str(report)) from None
    for part in made.parts:
        text = with_part(text, part)
    write_text(report, text)
    if made.figures:
        from dse.reports.figures.style import png_bytes

        folder = report.parent / "figures"
        try:
            folder.mkdir(exist_ok=True)
            for name, figure in made.figures.items():
                write_bytes(folder / name, png_bytes(figure))
        except OSError as error:
            raise InputError(f"cannot hold figures: {error.strerror}", "a folder to write", file=str(folder)) from None
