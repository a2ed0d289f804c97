"""``tiercade trace show | fit | generate``: what a request trace is like, and requests like those of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="trace",
    help="Request traces: their statistics, models fitted to them, and requests drawn from those.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
FILE = "A trace: Azure, BurstGPT or Vidur CSV, Mooncake JSON lines, ShareGPT JSON; plain or .gz."
LIKE = "A trace file, a model's file (YAML), or a model's name: azure-code, azure-conversation, mooncake-conversation."
OUT = "Write it here: .jsonl as Mooncake's format, with prefixes; .csv as Vidur's."


@app.command("show")
def show(
    file: Annotated[str, typer.Argument(metavar="FILE|NAME-like[:N][@RATE]", help=FILE)],
    seed: Annotated[int, typer.Option(help="Seed of requests that are drawn.")] = 0,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it: .png or .svg.")] = None,
    json: Json = False,
) -> None:
    """Rates, burstiness, lengths, their correlation and shared prefixes of a trace."""
    from dse.cli.trace_run import run_show

    run_show(file, seed=seed, figure=figure, as_json=json)


@app.command("fit")
def fit(
    file: Annotated[Path, typer.Argument(help=FILE)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Write the model here, as YAML.")],
    arrivals: Annotated[str, typer.Option(help="bursty (dispersion at 1 and 60 s) or gamma (CV of gaps).")] = "bursty",
    json: Json = False,
) -> None:
    """Fit a model to a trace: quantiles of lengths, their correlation, arrivals and prefixes."""
    from dse.cli.trace_run import run_fit

    run_fit(file, out=out, arrivals=arrivals, as_json=json)


@app.command("generate")
def generate(
    like: Annotated[str, typer.Option(metavar="FILE|NAME", help=LIKE)],
    out: Annotated[Path, typer.Option(metavar="FILE", help=OUT)],
    requests: Annotated[int | None, typer.Option(help="How many; as many as the trace when left out.")] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds draw equal requests.")] = 0,
    rate: Annotated[float | None, typer.Option(metavar="REQUESTS/S", help="Instead of the trace's.")] = None,
    arrivals: Annotated[str | None, typer.Option(help="Of a trace file: bursty, as when left out, or gamma.")] = None,
    json: Json = False,
) -> None:
    """Draw requests like those of a trace and write them to a file."""
    from dse.cli.trace_run import run_generate

    run_generate(like, out=out, requests=requests, seed=seed, rate_per_s=rate, arrivals=arrivals, as_json=json)
