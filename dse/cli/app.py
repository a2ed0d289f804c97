"""The command tree. Each command's module is imported when the command runs, so that ``--help`` stays light."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli.cascade import app as cascade_app
from dse.cli.experts import experts
from dse.cli.explore import explore
from dse.cli.memory import app as memory_app
from dse.cli.plan import app as plan_app
from dse.cli.report import report
from dse.cli.reproduce import reproduce
from dse.cli.rtl import app as rtl_app
from dse.cli.serve import serve
from dse.cli.simulate_options import simulate
from dse.cli.trace import app as trace_app

__all__ = ["app"]

app = typer.Typer(
    name="tiercade",
    help="Co-design of memory systems and accelerators for large models.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cascade_app)
app.add_typer(memory_app)
app.add_typer(plan_app)
app.add_typer(rtl_app)
app.add_typer(trace_app)

app.command()(simulate)
app.command()(serve)
app.command()(experts)
app.command()(explore)
app.command(context_settings={"help_option_names": []})(reproduce)  # --help of a study is its own
app.command()(report)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tiercade {version('tiercade')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Co-design of memory systems and accelerators for large models."""


@app.command("map")
def map_cascade(
    problem: Annotated[Path | None, typer.Argument(metavar="[PROBLEM.yaml]", help="A problem file.")] = None,
    cascade: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A name from 'tiercade cascade list', or a file.")
    ] = None,
    sizes: Annotated[
        list[str] | None, typer.Option("--sizes", "--size", metavar="RANK=N,...", help="Rank sizes: m=1024,n0=512.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A mapper machine or a system, by name or file.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change it: glb.capacity='64 KiB'.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="energy, latency or edp (the default; latency for a model).")
    ] = None,
    no_fuse: Annotated[
        bool, typer.Option("--no-fuse", help="Send every intermediate through the outer level.")
    ] = False,
    tiles: Annotated[str | None, typer.Option(help="divisor, or imperfect (the default): last pieces short.")] = None,
    workers: Annotated[int, typer.Option(help="Processes to search with.")] = 1,
    bits: Annotated[list[str] | None, typer.Option(help="Width of elements: 8, or A=8,W=4.")] = None,
    dataflow: Annotated[
        str | None, typer.Option(help="ws, os or is: weight, output or input stays where it is.")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(metavar="LEVEL=TENSOR", help="Keep a tensor at a level.")] = None,
    bypass: Annotated[
        list[str] | None, typer.Option(metavar="LEVEL=TENSOR", help="Send a tensor around a level.")
    ] = None,
    tile: Annotated[
        list[str] | None, typer.Option(metavar="LEVEL.TENSOR.RANK=N", help="Fix the tile kept at a level.")
    ] = None,
    unfused: Annotated[
        list[str] | None, typer.Option(metavar="TENSOR", help="Send it through the outer level.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Map a whole model instead; with the four options below.")] = None,
    phase: Annotated[str | None, typer.Option(help="Of a model: prefill or decode (the default).")] = None,
    batch: Annotated[int | None, typer.Option(help="Of a model: sequences at once; 1.")] = None,
    context: Annotated[int | None, typer.Option(help="Of a model: tokens per sequence; 2048.")] = None,
    devices: Annotated[int | None, typer.Option(help="Of a model: equal devices to split it over.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop with the best mapping so far.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a drawing of the mapping.")] = None,
    mapping_out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the mapping as JSON.")] = None,
    json: Json = False,
) -> None:
    """Find the best mapping of a cascade, a problem file's or a whole model's, and say how far from the bound it is.

    The search ends by itself; Ctrl-C and --timeout end it early with the best mapping so far.
    """
    from dse.cli.map_options import MapOptions

    options = MapOptions(
        problem=problem,
        cascade=cascade,
        sizes=tuple(sizes or ()),
        system=system,
        changes=tuple(changes or ()),
        objective=objective,
        no_fuse=no_fuse,
        tiles=tiles,
        workers=workers,
        bits=tuple(bits or ()),
        dataflow=dataflow,
        keep=tuple(keep or ()),
        bypass=tuple(bypass or ()),
        tile=tuple(tile or ()),
        unfused=tuple(unfused or ()),
        timeout=timeout,
        svg=svg,
        mapping_out=mapping_out,
    )
    if model is not None:
        from dse.cli.map_model import ModelOptions, run_map_model

        code = run_map_model(ModelOptions(model, phase, batch, context, devices), options, as_json=json)
    else:
        from dse.cli.map import run_map

        shape = {"phase": phase, "batch": batch, "context": context, "devices": devices}
        given = tuple(name for name, value in shape.items() if value is not None)
        code = run_map(options, given=given, as_json=json)
    if code:
        raise typer.Exit(code)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run folders, the report and the figures.")] = Path(
        "tiercade-demo"
    ),
    json: Json = False,
) -> None:
    """A real model on two real machines, end to end, with figures; takes well under a minute."""
    from dse.cli.demo import run_demo

    run_demo(out, as_json=json)


@app.command("list")
def list_things(
    what: Annotated[
        str,
        typer.Argument(
            help="models, systems, formats, cascades, devices, drives, pim, arrays, links, policies, software, traces."
        ),
    ],
    json: Json = False,
) -> None:
    """List what there is to choose from."""
    from dse.cli.listing import run_list

    run_list(what, as_json=json)


@app.command()
def schema(
    what: Annotated[str, typer.Argument(help="system, or mapper for the machines of 'tiercade map'.")] = "system",
    out: Annotated[Path | None, typer.Option(help="Write it to this file instead of standard output.")] = None,
) -> None:
    """The JSON schema of machine files, for editors."""
    from dse.cli.listing import run_schema

    run_schema(what, out)


@app.command()
def validate(
    measurements: Annotated[
        Path, typer.Argument(help="A CSV file of measurements, of other simulators' runs or of published figures.")
    ],
    report: Annotated[
        Path | None, typer.Option(help="Write its parts of the accuracy report (Markdown) to this file; others stay.")
    ] = None,
    fidelity: Annotated[
        str | None, typer.Option(help="Of measured GPUs: how kernels are predicted, kernel (the default) or roofline.")
    ] = None,
    constants: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of measured GPUs: constants of 'tiercade calibrate'.")
    ] = None,
    json: Json = False,
) -> None:
    """Error of our predictions beside measurements, runs of other simulators or published figures."""
    from dse.cli.validate import run_validate

    run_validate(measurements, report=report, as_json=json, fidelity=fidelity, constants=constants)


@app.command()
def calibrate(
    system: Annotated[str, typer.Option(help="The machine they ran on: a name, or a YAML file.")],
    measurements: Annotated[
        Path | None, typer.Argument(help="A CSV file of measured kernels, as for 'tiercade validate'.")
    ] = None,
    software: Annotated[
        str | None, typer.Option(help="The software epoch they are of; left out: as each row's framework says.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the constants to this YAML file.")] = None,
    json: Json = False,
) -> None:
    """Fit constants of kernels to a machine's measurements; without a file, to the tables of aiconfigurator-core."""
    from dse.cli.calibrate import run_calibrate

    run_calibrate(measurements, system=system, software=software, out=out, as_json=json)
