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
    design: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Show this design in depth too, by its number; repeatable.", show_default=False),
    ] = None,
    in_depth: Annotated[
        int, typer.Option(metavar="N", help="Designs of the front to show in depth, well spread; 0 for none.")
    ] = 12,
    traces: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the timelines of the designs in depth here.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all designs to this file instead of a page.")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same as Parquet (extra parquet); both may be asked for.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Show an exploration: one page that opens in a browser without a network, and which parameter decides what.

    Some designs of the front are simulated again, to show in depth where their time, energy, area and memory go. The
    run may be going on still: the page shows the designs that are evaluated.
    """
    if csv is not None or parquet is not None:
        from dse.cli.report_export import run_export
        from workloads.errors import InputError

        if out is not None or figures is not None or traces is not None or design:
            problem = "a page or figures besides a table of all designs"
            raise InputError(problem, "one or the other", "--parquet" if csv is None else "--csv")
        run_export(run, csv=csv, parquet=parquet, as_json=json)
        return
    from dse.cli.report_run import Depth, run_report

    depth = Depth(tuple(design or ()), in_depth, traces)
    run_report(run, out=out, figures=figures, depth=depth, as_json=json)
