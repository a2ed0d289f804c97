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


def _pim() -> list[Row]:
    from simulator.memory.pim.presets import load_pim, pim_names

    rows = []
    for name in pim_names():
        pim = load_pim(name)
        row = {"name": name, "dram": pim.dram.name, "channels": pim.channels, "units": pim.units, "level": pim.level}
        row |= {"capacity_bytes": pim.channels * pim.dram.capacity_bytes}
        row |= {"inside_bytes_per_s": pim.inside_bytes_per_s, "outside_bytes_per_s": pim.outside_bytes_per_s}
        rows.append(row | {"operations_per_s": 2 * pim.multiply_adds_per_s, "note": pim.note})
    return rows


def _arrays() -> list[Row]:
    from simulator.memory.arrays.devices import array_names, load_array

    rows = []
    for name in array_names():
        array = load_array(name)
        row = {"name": name, "kind": array.kind, "tiles": array.tiles, "rows": array.rows, "columns": array.columns}
        rows.append(row | {"note": array.note})
    return rows


def _links() -> list[Row]:
    from simulator.interconnect.links import protocol_efficiency
    from simulator.interconnect.protocols import EXAMPLES, link_type

    rows = []
    for name in EXAMPLES:
        link = link_type(name)
        row = {"name": name, "rate_bytes_per_s": link.rate_bytes_per_s, "latency_s": link.latency_s}
        row |= {"payload_bytes": link.packets.payload_bytes, "header_bytes": link.packets.header_bytes}
        rows.append(row | {f"efficiency_{size}_B": protocol_efficiency(link, size) for size in (64, 4096)})
    return rows


def _policies() -> list[Row]:
    from simulator.policies import POLICIES

    return [{"name": name, "written": named.usage(name), "summary": named.summary} for name, named in POLICIES.items()]


def _software() -> list[Row]:
    from mappers.kernels.software import SOFTWARE

    return [
        {"name": name, "launch": epoch.launch, "year": str(int(epoch.year)), "description": epoch.description}
        for name, epoch in SOFTWARE.items()
    ]


def _traces() -> list[Row]:
    from workloads.traces.named import request_model, request_model_names

    return [
        {"name": f"{name}-like", "requests": request_model(name).requests, "description": request_model(name).source}
        for name in request_model_names()
    ]


def _engines() -> list[Row]:
    from dse.explore.engines import ENGINES

    return [{"name": name, "learns": kind.learns, "summary": kind.summary} for name, kind in ENGINES.items()]


def _spaces() -> list[Row]:
    from dse.space.space import load_space, space_names

    spaces = [load_space(name) for name in space_names()]
    return [
        {"name": one.name, "designs": one.codec.size, "parameters": len(one.parameters), "description": one.description}
        for one in spaces
    ]


def _studies() -> list[Row]:
    from studies.frame.catalogue import load_study, study_names

    found = [load_study(name) for name in study_names()]
    return [{"name": one.name, "claim": one.claim, "source": one.source} for one in found]


LISTS: dict[str, Callable[[], list[Row]]] = {
    "models": _models,
    "systems": _systems,
    "formats": _formats,
    "cascades": _cascades,
    "devices": _devices,
    "drives": _drives,
    "pim": _pim,
    "arrays": _arrays,
    "links": _links,
    "policies": _policies,
    "software": _software,
    "traces": _traces,
    "engines": _engines,
    "spaces": _spaces,
    "studies": _studies,
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
