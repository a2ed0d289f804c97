"""``tiercade validate``: our predictions beside measurements, runs of other simulators or published figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dse.cli.output import print_document, write_bytes, write_text
from dse.reports.sections import with_part
from dse.validation.kinds import GPU_KIND, kind_of
from dse.validation.validation import Report, Validation
from workloads.errors import InputError

__all__ = ["run_validate"]


def run_validate(
    path: Path, *, report: Path | None, as_json: bool, fidelity: str | None = None, constants: Path | None = None
) -> None:
    """Predict every row of ``path``, print the errors, and write our parts of the report if asked.

    The file's columns tell its kind; each kind has its parts of the report and keeps the others. ``fidelity`` and
    ``constants`` are those of kernels: only files of measured GPUs take them.
    """
    kind = kind_of(path)
    if fidelity is None and constants is None:
        found = kind.validate(path)
    elif kind.name == GPU_KIND:
        found = _kernels(path, fidelity or "kernel", constants)
    else:
        option = "--constants" if fidelity is None else "--fidelity"
        raise InputError(f"a file of {kind.name}", f"{GPU_KIND} with this option", option)
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


def _kernels(path: Path, fidelity: str, constants: Path | None) -> Validation:
    from dse.validation.report import validate_gpus
    from mappers.kernels.constants import read_constants

    given = read_constants(constants) if constants is not None else ()
    try:
        return validate_gpus(path, fidelity=fidelity, given=given)
    except InputError as error:
        raise (replace(error, field="--fidelity") if error.field == "fidelity" else error) from None


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
