"""``tiercade report``: what came of an exploration, as a page and as figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder of 'tiercade explore'.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write the page here; RUN/report.html when left out.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write figures for papers here, as SVG and as PNG.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Show an exploration: one page that opens in a browser without a network, and which parameter decides what.

    The run may be going on still: the page shows the designs that are evaluated.
    """
    from dse.cli.report_run import run_report

    run_report(run, out=out, figures=figures, as_json=json)
