"""What ``tiercade reproduce`` does: rows of studies, at published or other configurations, or a page with figures."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import typer

from dse.cli.output import check_file, print_document, write_figure, write_text
from dse.reports.table import print_rows
from studies.frame.catalogue import load_study, study_names
from studies.frame.rows import Row, counts_text, rows_at, rows_of
from workloads.errors import InputError

__all__ = ["help_lines", "run_reproduce"]


def run_reproduce(
    names: Sequence[str] | None,
    *,
    everything: bool,
    config: Sequence[str],
    out: Path | None,
    workers: int,
    as_json: bool,
) -> None:
    """Print the rows of ``names``, and write the page of them."""
    chosen = list(study_names()) if everything else list(dict.fromkeys(names or ()))
    if not chosen:
        raise InputError("no study is named", f"--all, or some of {', '.join(study_names())}", "STUDY")
    studies = {name: load_study(name) for name in chosen}
    if workers < 1:
        raise InputError(f"found {workers}", "at least 1", "--workers")
    if out is not None:
        check_file(out)
    if config:
        if len(chosen) > 1:
            raise InputError(f"{len(chosen)} studies are named", "one, whose keys are set", "--config")
        study = studies[chosen[0]]
        found = {chosen[0]: rows_at(study, study.read_config(config))}
    else:
        found = _rows(chosen, workers)
    if out is not None:
        _write_page(found, out)
    everywhere = [row for rows in found.values() for row in rows]
    if as_json:
        print_document([_plain(row) for row in everywhere])
        return
    print_rows([_cells(row) for row in everywhere])
    if any(row.error is not None for row in everywhere):
        typer.echo(counts_text([row for row in everywhere if not row.calibrates]))


def _rows(names: Sequence[str], workers: int) -> dict[str, list[Row]]:
    if workers == 1 or len(names) == 1:
        found = {}
        for name in names:
            typer.echo(f"{name} ...", err=True)
            found[name] = rows_of(load_study(name))
        return found
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {name: pool.submit(_rows_of, name) for name in names}
        done = {}
        for name, future in futures.items():
            done[name] = future.result()
            typer.echo(f"{name}: {counts_text([row for row in done[name] if not row.calibrates])}", err=True)
        return done


def _rows_of(name: str) -> list[Row]:
    return rows_of(load_study(name))


def _plain(row: Row) -> dict[str, object]:
    return {**asdict(row), "error": row.error}


def _cells(row: Row) -> dict[str, object]:
    return {
        "study": row.study,
        "metric": row.metric + (" (fitted to)" if row.calibrates else ""),
        "config": " ".join(f"{key}={value}" for key, value in row.config.items()),
        "published": "" if row.published is None else row.published,
        "simulated": row.simulated,
        "error": "" if row.error is None else f"{row.error:+.2%}",
        "inputs": row.inputs,
    }


def _write_page(found: dict[str, list[Row]], out: Path) -> None:
    from dse.reports.figures.study import study_figure
    from dse.reports.studies_page import studies_page

    studies = {name: load_study(name) for name in found}
    folder = out.parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, study in studies.items():
        write_figure(study_figure(study, found[name]), folder / f"study-{name}.svg")
    write_text(out, studies_page(studies, found))


def help_lines(names: Sequence[str]) -> list[str]:
    """What ``tiercade reproduce STUDY --help`` prints: what the studies claim, and the keys and metrics of each."""
    lines = []
    for name in names:
        study = load_study(name)
        lines += [f"{name}: {study.title}", "", f"  {study.claim}", f"  Source: {study.source}", "", "  --config:"]
        for key, about in study.keys.items():
            lines.append(f"    {key}={about.default}  {about.description} ({about.range_text})")
        lines += ["", "  metrics:"]
        for metric, what in study.metrics.items():
            unit = f" [{what.unit}]" if what.unit else ""
            lines.append(f"    {metric}{unit}  {what.description}")
        lines.append("")
    return lines
