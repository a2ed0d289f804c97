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
    from dse.cli.rtl_run import run_test

    if not run_test(units, settings, beats, seed=seed, simulator=simulator, workers=workers, waves=waves, as_json=json):
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
    from dse.cli.rtl_run import run_contract

    if not run_contract(
        units, settings, cases, seed=seed, simulator=simulator, workers=workers, waves=waves, as_json=json
    ):
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
