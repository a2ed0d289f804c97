"""What ``tiercade report --csv`` and ``--parquet`` do: all designs of a run in a file for other tools."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from dse.cli.output import check_file, print_document
from dse.cli.progress import Progress
from dse.reports.design_table import table_of, write_csv, write_parquet
from workloads.errors import InputError

__all__ = ["run_export"]


def run_export(folder: Path, *, csv: Path | None, parquet: Path | None, as_json: bool) -> None:
    """Write the designs of the run in ``folder`` to the files asked for, each whole or not at all."""
    table = table_of(folder)
    for file in (csv, parquet):
        if file is not None:
            check_file(file)
    told, rows = Progress("rows"), 0
    if csv is not None:
        with _aside(csv) as aside, aside.open("w", encoding="utf-8", newline="") as out:
            rows = write_csv(table, out, lambda done: told("csv", done, None))
    if parquet is not None:
        with _aside(parquet) as aside:
            rows = write_parquet(table, aside, lambda done: told("parquet", done, None))
    told.done()
    files = {name: str(file) for name, file in (("csv", csv), ("parquet", parquet)) if file is not None}
    if as_json:
        print_document({**files, "rows": rows, "columns": list(table.columns)})
        return
    for written in files.values():
        typer.echo(f"{written}: {rows:,} rows of {len(table.columns)} columns")


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to be written, which then takes its place; what is no regular file is written itself."""
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        expected = "a file in a folder you may write"
        raise InputError(f"cannot be written: {error.strerror}", expected, file=str(path)) from None
    try:
        yield aside
        if path.exists():
            aside.chmod(path.stat().st_mode & 0o777)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
