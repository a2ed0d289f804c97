"""``tiercade reproduce``: published systems rebuilt, their numbers beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["reproduce"]


def reproduce(
    context: typer.Context,
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY]...", help="From 'tiercade list studies'.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All studies.")] = False,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE,...", help="Another configuration; keys by 'reproduce STUDY --help'."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Write the page here, figures into the folder beside it.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; they change the time only.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
    about: Annotated[bool, typer.Option("--help", help="Show this; of named studies, their keys and metrics.")] = False,
) -> None:
    """Rebuild published systems and print each published number beside the simulated one, with the error."""
    from dse.cli.reproduce_run import help_lines, run_reproduce

    if about:
        typer.echo("\n".join(help_lines(studies)) if studies else context.get_help())
        return
    run_reproduce(studies, everything=everything, config=tuple(config or ()), out=out, workers=workers, as_json=json)
