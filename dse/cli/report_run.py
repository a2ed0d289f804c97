"""What ``tiercade report`` does: a run folder read, a page and figures written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from dse.cli.output import check_file, print_document, write_figure, write_text
from dse.reports.exploration.data import bottlenecks, sensitivities
from dse.reports.exploration.page import exploration_page
from dse.reports.exploration.run import read_run
from dse.reports.exploration.sensitivity import METHOD
from dse.reports.table import print_rows
from dse.reports.units_text import number_text, percent_text
from workloads.errors import InputError

__all__ = ["run_report"]

_SHOWN = 3


def run_report(folder: Path, *, out: Path | None, figures: Path | None, as_json: bool) -> None:
    """Write the page, and the figures where asked for, and print what decides each objective."""
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"found {out.name!r}", "a file name that ends in .html", "--out")
    if figures is not None and figures.exists() and not figures.is_dir():
        raise InputError("is a file", "a folder to put figures into", file=str(figures))
    run = read_run(folder)
    target = out or folder / "report.html"
    check_file(target)
    write_text(target, exploration_page(run))
    files = []
    if figures is not None:
        from dse.reports.exploration.figures import exploration_figures

        figures.mkdir(parents=True, exist_ok=True)
        for name, figure in exploration_figures(run).items():
            for ending in (".svg", ".png"):
                files.append(figures / f"{name}{ending}")
                write_figure(figure, files[-1])
    found = sensitivities(run)
    if as_json:
        summary = {name: value for name, value in run.summary.items() if name != "front"}
        shares = {
            name: {"feasible": of_all, "front": of_front} for name, (of_all, of_front) in bottlenecks(run).items()
        }
        told = {"method": METHOD, "sensitivity": [asdict(each) for each in found], "bottlenecks": shares}
        print_document(
            {"report": str(target), "figures": list(map(str, files)), **summary, "front": len(run.summary["front"])}
            | told
        )
        return
    rows = []
    for each in found:
        most = (
            f"{effect.parameter} {percent_text(effect.share)}"
            + (f" (×{number_text(effect.span)})" if each.logarithmic else "")
            for effect in each.effects[:_SHOWN]
        )
        rows.append({"objective": each.metric, "decided by": ", ".join(most), "interactions": percent_text(each.rest)})
    if rows:
        print_rows(rows)
    else:
        typer.echo("too few designs were simulated to tell which parameter decides what")
    for file in (target, *files):
        typer.echo(f"wrote {file}", err=True)
