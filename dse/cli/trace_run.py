"""What ``tiercade trace`` does: read or draw a trace, count, draw a figure, write."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from dse.cli.output import check_figure, check_file, print_document, write_figure, write_text
from dse.reports.table import print_rows
from workloads.errors import InputError
from workloads.traces.generator import RequestModel, dump_request_model, fit_requests
from workloads.traces.generator import generate as drawn
from workloads.traces.named import request_model, request_model_names, requests_of
from workloads.traces.raw import TraceFile
from workloads.traces.readers import read_trace_file
from workloads.traces.requests import RequestTrace
from workloads.traces.statistics import LengthStatistics, TraceStatistics, trace_statistics
from workloads.traces.writers import trace_text

__all__ = ["run_fit", "run_generate", "run_show"]

_FORMAT_OF = {".jsonl": "mooncake", ".csv": "vidur"}


def run_show(file: str, *, seed: int, figure: Path | None, as_json: bool) -> None:
    """Print the statistics of a trace file or of drawn requests, and draw them to ``figure``."""
    if figure is not None:
        check_figure(figure)
    read = _read(file, seed)
    found = trace_statistics(read.trace)
    if figure is not None:
        from dse.reports.figures.requests import requests_figure

        write_figure(requests_figure(read.trace), figure)
    _print(read.trace, found, read.format, list(read.notes), as_json=as_json)


def run_fit(file: Path, *, out: Path, arrivals: str, as_json: bool) -> None:
    """Fit a model to a trace file and write it."""
    check_file(out)
    model = _fitted(file, arrivals)
    write_text(out, dump_request_model(model))
    if as_json:
        print_document(model.model_dump(mode="json", exclude_none=True))
    else:
        typer.echo(f"{out}: {model.requests:,} requests of {file.name}, arrivals {model.arrivals!r}")


def run_generate(
    like: str,
    *,
    out: Path,
    requests: int | None,
    seed: int,
    rate_per_s: float | None,
    arrivals: str | None,
    as_json: bool,
) -> None:
    """Draw requests and write them; print their statistics."""
    check_file(out)
    format_name = _FORMAT_OF.get(out.suffix.lower())
    if format_name is None:
        raise InputError(f"found {out.name!r}", "a file name that ends in .jsonl or .csv", "--out")
    trace = drawn(_model(like, arrivals), requests, seed, rate_per_s)
    notes = []
    if trace.blocks is not None and format_name == "vidur":
        notes.append("CSV has no prefixes: they are left out; .jsonl has them")
    write_text(out, trace_text(trace, format_name))
    _print(trace, trace_statistics(trace), format_name, notes, as_json=as_json)


def _read(text: str, seed: int) -> TraceFile:
    """A trace file, at another rate where that is asked for, or requests drawn from a model."""
    path = text if Path(text).is_file() else text.rpartition("@")[0]
    if not Path(path).is_file():
        return TraceFile(requests_of(text, seed), "drawn")
    found = read_trace_file(path)
    if path == text:
        return found
    note = f"arrivals are not the file's: {text.rpartition('@')[2]} requests/s were asked for"
    return TraceFile(requests_of(text, seed), found.format, (*found.notes, note))


def _model(like: str, arrivals: str | None) -> RequestModel:
    """A model by name or from its YAML, or fitted to a trace."""
    file = like not in request_model_names() and not like.lower().endswith((".yaml", ".yml"))
    if file and (Path(like).exists() or "." in like or "/" in like):
        return _fitted(Path(like), arrivals or "bursty")
    model = request_model(like)
    if arrivals is not None:
        raise InputError(f"{like} has its own arrivals", "a trace file beside it", "--arrivals")
    return model


def _fitted(file: Path, arrivals: str) -> RequestModel:
    trace = read_trace_file(file).trace
    stem = file.name.removesuffix(".gz").rpartition(".")[0] or file.name
    return fit_requests(trace, name=stem, source=f"fitted to {file.name}", arrivals=arrivals)


def _print(trace: RequestTrace, found: TraceStatistics, kind: str, notes: list[str], *, as_json: bool) -> None:
    if as_json:
        plain: dict[str, Any] = {key: value for key, value in asdict(found).items() if value is not None}
        if found.arrivals is not None:
            known = {key: value for key, value in plain["arrivals"].items() if not math.isnan(value)}
            plain["arrivals"] = known
        print_document({"trace": trace.name, "format": kind, **plain, "notes": notes})
        return
    typer.echo(f"{trace.name} ({kind}): {found.requests:,} requests")
    if found.arrivals is not None:
        came = found.arrivals
        typer.echo(
            f"{came.rate_per_s:.3g} requests/s; gaps: CV {came.gap_cv:.2f}, longest {came.longest_gap_s:.3g} s; "
            f"dispersion {_known(came.dispersion_1_s)} in 1 s, {_known(came.dispersion_60_s)} in 60 s; "
            f"at most {came.most_in_1_s} in a second"
        )
    typer.echo("")
    print_rows([_row("prompt", found.prompt), _row("answer", found.output)])
    typer.echo("")
    typer.echo(f"correlation of the lengths: {found.length_pearson:+.3f} linear, {found.length_spearman:+.3f} of ranks")
    if found.prefixes is not None:
        shared = found.prefixes
        typer.echo(
            f"prefixes: {shared.blocks:,} blocks of {trace.block_tokens} tokens, {shared.distinct:,} distinct; "
            f"{100 * shared.hit_rate:.1f} % were there before"
        )
    for note in notes:
        typer.echo(f"note: {note}")


def _known(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.1f}"


def _row(name: str, lengths: LengthStatistics) -> dict[str, object]:
    return {
        "tokens": name,
        "mean": f"{lengths.mean:,.0f}",
        "p50": f"{lengths.p50:,.0f}",
        "p90": f"{lengths.p90:,.0f}",
        "p99": f"{lengths.p99:,.0f}",
        "max": f"{lengths.largest:,}",
        "sd of ln": f"{lengths.ln_sd:.2f}",
    }
