"""``tiercade list`` and ``tiercade schema``: what there is to choose from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
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
    from hw.spec.load_hierarchy import hierarchy_names, load_hierarchy

    systems = [load_system(name) for name in system_names()]
    rows: list[Row] = [
        {"name": made.name, "kind": "system", "devices": made.devices, "description": made.description}
        for made in systems
    ]
    machines = [load_hierarchy(name) for name in hierarchy_names()]
    rows += [{"name": made.name, "kind": "mapper", "devices": 1, "description": made.description} for made in machines]
    return rows


def _formats() -> list[Row]:
    from workloads.formats import FORMATS

    return [
        {"name": name, "bits_per_element": fmt.bits_per_element, "block": fmt.block} for name, fmt in FORMATS.items()
    ]


def _cascades() -> list[Row]:
    from workloads.cascades import cascade_families, cascade_names, family_cascade, load_cascade

    cascades = {name: load_cascade(name) for name in cascade_names()}
    cascades |= {name: family_cascade(name) for name in cascade_families()}
    return [{"name": name, "einsums": len(cascade.einsums)} for name, cascade in cascades.items()]


def _devices() -> list[Row]:
    from simulator.memory.dram.devices import device_rows

    return [asdict(row) for row in device_rows()]


def _drives() -> list[Row]:
    from simulator.memory.flash.drives import drive_rows

    return [asdict(row) for row in drive_rows()]


LISTS: dict[str, Callable[[], list[Row]]] = {
    "models": _models,
    "systems": _systems,
    "formats": _formats,
    "cascades": _cascades,
    "devices": _devices,
    "drives": _drives,
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


def _system_schema() -> dict[str, Any]:
    from hw.spec.load import system_json_schema

    return system_json_schema()


def _mapper_schema() -> dict[str, Any]:
    from hw.spec.load_hierarchy import hierarchy_json_schema

    return hierarchy_json_schema()


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {"system": _system_schema, "mapper": _mapper_schema}


def run_schema(what: str, out: Path | None) -> None:
    """Print or write the JSON schema of system files, or of a mapper's machines."""
    if what not in SCHEMAS:
        raise unknown_name("schema", what, SCHEMAS)
    document = SCHEMAS[what]()
    if out is None:
        print_document(document)
    else:
        write_text(out, json.dumps(document, indent=2) + "\n")
