"""``tiercade reproduce``: published systems rebuilt, their numbers beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["reproduce"]


def reproduce(
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY]...", help="From 'tiercade list studies'.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All studies.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Write the page here, figures into the folder beside it.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Rebuild published systems and print each published number beside the simulated one, with the error."""
    from dse.cli.reproduce_run import run_reproduce

    run_reproduce(studies, everything=everything, out=out, as_json=json)
