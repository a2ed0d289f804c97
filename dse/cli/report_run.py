"""What ``tiercade report`` does: a run folder read, a page and figures written."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from dse.cli.output import check_file, print_document, write_bytes, write_figure, write_text
from dse.reports.exploration.data import bottlenecks, sensitivities
from dse.reports.exploration.depth import MOST_DRAWN, DesignInDepth, can_be_drawn, chosen_designs, in_depth
from dse.reports.exploration.depth_data import trace_bytes, trace_name
from dse.reports.exploration.page import exploration_page
from dse.reports.exploration.run import ExploredRun, read_run
from dse.reports.exploration.sensitivity import METHOD
from dse.reports.table import print_rows
from dse.reports.units_text import number_text, percent_text
from workloads.errors import InputError

__all__ = ["Depth", "run_report"]

_SHOWN = 3


@dataclass(frozen=True)
class Depth:
    """Which designs are shown in depth: those of ``picks`` by their numbers, and up to ``most`` of the front; their
    timelines go into ``traces``."""

    picks: tuple[int, ...] = ()
    most: int = MOST_DRAWN
    traces: Path | None = None


def run_report(folder: Path, *, out: Path | None, figures: Path | None, depth: Depth, as_json: bool) -> None:
    """Write the page, and the figures where asked for, and print what decides each objective."""
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"found {out.name!r}", "a file name that ends in .html", "--out")
    if figures is not None and figures.exists() and not figures.is_dir():
        raise InputError("is a file", "a folder to put figures into", file=str(figures))
    if depth.traces is not None and depth.traces.exists() and not depth.traces.is_dir():
        raise InputError("is a file", "a folder to put timelines into", file=str(depth.traces))
    if depth.most < 0:
        raise InputError(f"found {depth.most}", "0 or more", "--in-depth")
    run = read_run(folder)
    target = out or folder / "report.html"
    check_file(target)
    designs = _in_depth(run, depth)
    write_text(target, exploration_page(run, designs, depth.picks))
    traces = _traces(designs, depth.traces) if depth.traces is not None else []
    files: list[Path] = []
    if figures is not None:
        from dse.reports.exploration.depth_figures import depth_figures
        from dse.reports.exploration.figures import exploration_figures

        figures.mkdir(parents=True, exist_ok=True)
        for name, figure in {**exploration_figures(run), **depth_figures(run, designs, depth.picks)}.items():
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
            | {"in_depth": [each.ordinal for each in designs], "traces": list(map(str, traces))}
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
    for file in (target, *traces, *files):
        typer.echo(f"wrote {file}", err=True)


def _in_depth(run: ExploredRun, depth: Depth) -> tuple[DesignInDepth, ...]:
    """The designs, simulated again: a line on a terminal says how far that is."""
    if not can_be_drawn(run.space):
        return ()
    telling = sys.stderr.isatty()

    def tell(done: int, of: int) -> None:
        if telling:
            typer.echo(f"\r\033[Kin depth: {done} of {of} designs", err=True, nl=False)

    chosen = chosen_designs(run, depth.most, depth.picks)
    found, refused = in_depth(run, chosen, tell)
    if telling:
        typer.echo("\r\033[K", err=True, nl=False)
    for why in dict.fromkeys(refused.values()):
        which = ", ".join(f"{ordinal:,}" for ordinal, reason in refused.items() if reason == why)
        typer.echo(f"not shown in depth, since no longer to be simulated: {which} ({why})", err=True)
    return found


def _traces(designs: Sequence[DesignInDepth], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for each in designs:
        for workload in each.results:
            files.append(folder / trace_name(each, workload))
            write_bytes(files[-1], trace_bytes(each, workload))
    return files
