"""``tiercade list`` and ``tiercade schema``: what there is to choose from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dse.cli.output import print_document, write_text
from workloads.errors import unknown_name

__all__ = ["run_list", "run_schema"]

Row = dict[str, Any]


def _models() -> list[Row]:
    from workloads.models.catalogue import model, model_names
    from workloads.models.counts import parameters

    rows = []
    for name in model_names():
        counted = parameters(model(name))
        rows.append(
            {
                "name": name,
                "family": model(name).family,
                "layers": len(model(name).order),
                "parameters": counted.total,
                "active_parameters": counted.active,
            }
        )
    return rows


def _systems() -> list[Row]:
    from hw.spec.load import load_system, system_names

    systems = [load_system(name) for name in system_names()]
    return [{"name": system.name, "devices": system.devices, "description": system.description} for system in systems]


def _formats() -> list[Row]:
    from workloads.formats import FORMATS

    return [
        {"name": name, "bits_per_element": fmt.bits_per_element, "block": fmt.block} for name, fmt in FORMATS.items()
    ]


def _cascades() -> list[Row]:
    from workloads.cascades import cascade_names, load_cascade

    return [{"name": name, "einsums": len(load_cascade(name).einsums)} for name in cascade_names()]


LISTS: dict[str, Callable[[], list[Row]]] = {
    "models": _models,
    "systems": _systems,
    "formats": _formats,
    "cascades": _cascades,
}


def run_list(what: str, *, as_json: bool) -> None:
    """Print one of the lists as a table or as JSON."""
    if what not in LISTS:
        raise unknown_name("list", what, LISTS)
    rows = LISTS[what]()
    if as_json:
        print_document(rows)
        return
    from dse.reports.table import print_rows

    print_rows(rows)


def run_schema(out: Path | None) -> None:
    """Print or write the JSON schema of system files."""
    from hw.spec.load import system_json_schema

    document = system_json_schema()
    if out is None:
        print_document(document)
    else:
        write_text(out, json.dumps(document, indent=2) + "\n")
