"""``tiercade rtl list | test | contract | emit | lint | formal | synth | report``: the hardware units."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="rtl",
    help="Hardware units in Amaranth: their regression, cycle contracts, Verilog, proofs and synthesis.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Units = Annotated[list[str] | None, typer.Argument(metavar="[UNIT]...", help="All units when left out.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter; without any, the unit's usual sets of them."),
]
Simulator = Annotated[
    str | None, typer.Option(help="icarus, verilator or amaranth; the first of these there is when left out.")
]
Seed = Annotated[int, typer.Option(help="Equal seeds draw equal stimulus.")]
Workers = Annotated[int, typer.Option(help="Processes; they change the time only.")]
Waves = Annotated[Path | None, typer.Option(metavar="DIR", help="Record waves of every run here.")]


@app.command("list")
def list_units(json: Json = False) -> None:
    """The units there are, their parameters and what they do."""
    from dse.cli.rtl_list import run_list

    run_list(as_json=json)


@app.command("test")
def regress(
    units: Units = None,
    settings: Settings = None,
    beats: Annotated[int, typer.Option(help="Random beats of each unit, beside its corners.")] = 4000,
    seed: Seed = 1,
    simulator: Simulator = None,
    workers: Workers = 1,
    waves: Waves = None,
    json: Json = False,
) -> None:
    """Run units against golden model and cycle contract: corners, random beats, idle sources, blocked sinks, resets.

    Exit code 1: a unit differs, or a coverage goal was missed; its row ends with the command that shows it again.
    """
    from dse.cli.rtl_run import RegressionOptions, run_test

    if not run_test(RegressionOptions(units, settings, seed, simulator, workers, waves), beats, as_json=json):
        raise typer.Exit(1)


@app.command("contract")
def contract(
    units: Units = None,
    settings: Settings = None,
    cases: Annotated[int, typer.Option(help="Random lengths and stall patterns of each unit.")] = 200,
    seed: Seed = 1,
    simulator: Simulator = None,
    workers: Workers = 1,
    waves: Waves = None,
    json: Json = False,
) -> None:
    """Hold the cycle contracts that simulator and mapper read against the RTL, cycle by cycle.

    Exit code 1: some unit is early or late anywhere.
    """
    from dse.cli.rtl_run import RegressionOptions, run_contract

    if not run_contract(RegressionOptions(units, settings, seed, simulator, workers, waves), cases, as_json=json):
        raise typer.Exit(1)


@app.command("emit")
def emit(
    unit: Annotated[str, typer.Argument(help="A name from 'tiercade rtl list'.")],
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.v", help="Write it here instead of printing it.")] = None,
    json: Json = False,
) -> None:
    """The unit as Verilog."""
    from dse.cli.rtl_list import run_emit

    run_emit(unit, settings, out=out, as_json=json)


@app.command("lint")
def lint(units: Units = None, settings: Settings = None, json: Json = False) -> None:
    """Lint the Verilog of units: Verilator, else Icarus, else Yosys; what is waived has its reason written down.

    Exit code 1: a finding stands.
    """
    from dse.cli.rtl_flow import run_lint

    if not run_lint(units, settings, as_json=json):
        raise typer.Exit(1)


@app.command("formal")
def formal(
    units: Units = None,
    settings: Settings = None,
    depth: Annotated[int | None, typer.Option(help="Cycles after reset; as each unit says when left out.")] = None,
    limit: Annotated[float, typer.Option(metavar="SECONDS", help="For each property.")] = 120.0,
    json: Json = False,
) -> None:
    """Prove the stream rules at every port, at the reduced widths each unit names.

    Exit code 1: a property is refuted, or was not proved to the depth within the limit.
    """
    from dse.cli.rtl_flow import run_formal

    if not run_formal(units, settings, depth, limit, as_json=json):
        raise typer.Exit(1)


@app.command("synth")
def synth(
    units: Units = None,
    settings: Settings = None,
    check: Annotated[bool, typer.Option("--check", help="Hold it against the kept numbers, within 2 %.")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Keep the numbers of designs that are new or changed.")
    ] = False,
    limit: Annotated[float, typer.Option(metavar="SECONDS", help="For each design.")] = 300.0,
    json: Json = False,
) -> None:
    """Cells, area, path, energy and FPGA resources of units, on the standard cells that are found.

    Exit code 1: with --check, a number has moved by more than 2 %.
    """
    from dse.cli.rtl_flow import run_synth

    if not run_synth(units, settings, check=check, write=write, limit_s=limit, as_json=json):
        raise typer.Exit(1)


@app.command("mutants")
def mutants(
    units: Units = None,
    settings: Settings = None,
    count: Annotated[int, typer.Option(help="Mutants of each unit.")] = 10,
    seed: Seed = 1,
    json: Json = False,
) -> None:
    """Change units in one place at random and see whether their regression notices.

    Exit code 1: of some unit no mutant was noticed.
    """
    from dse.cli.rtl_flow import run_mutants

    if not run_mutants(units, settings, count, seed, as_json=json):
        raise typer.Exit(1)


@app.command("report")
def report(
    out: Annotated[Path, typer.Option(metavar="FILE.md", help="Write the page here.")],
    units: Units = None,
    beats: Annotated[int, typer.Option(help="Random beats of each unit, over all its parameter sets.")] = 100_000,
    mutants: Annotated[int, typer.Option(help="Of each unit.")] = 10,
    seed: Seed = 1,
    simulator: Simulator = None,
    workers: Workers = 1,
) -> None:
    """Everything found of units on one page: behaviour, proofs, mutants, lint, synthesis.

    Takes an hour for all units; a design that has not changed is taken from the cache.
    """
    from dse.cli.rtl_report import run_report

    run_report(units, beats=beats, mutants=mutants, seed=seed, simulator=simulator, workers=workers, out=out)
