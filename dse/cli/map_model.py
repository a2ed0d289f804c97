"""``tiercade map --model``: every operation of a model mapped onto a system's engines, beside its roofline."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import typer

from dse.cli.map import check_run
from dse.cli.map_options import OBJECTIVES, MapOptions
from dse.cli.output import print_document
from dse.cli.simulate import INFERENCE, choose_model, choose_system
from dse.cli.stopping import stoppable
from mappers.map_workload import OpMapper, OpMapping
from workloads.errors import InputError, unknown_name
from workloads.models.lower import lower
from workloads.workload import Workload

__all__ = ["ModelOptions", "run_map_model"]

ALLOWED = ("--system", "--set", "--objective")
"""Options of a cascade's mapping that mean something for a whole model."""


@dataclass(frozen=True)
class ModelOptions:
    """The options that only the mapping of a whole model has; None is not given."""

    model: str
    phase: str | None = None
    batch: int | None = None
    context: int | None = None
    devices: int | None = None


@dataclass(frozen=True)
class Row:
    """One operation of one kind of layer, ``count`` times in the model."""

    layer: str
    op: str
    cascade: str
    count: int
    mapping: OpMapping


def run_map_model(asked: ModelOptions, options: MapOptions, *, as_json: bool) -> int:
    """Map the model, print the report; returns the exit code (130 after Ctrl-C)."""
    check_run(options)
    for name in options.given():
        if name not in ALLOWED:
            raise InputError("does not go with --model", f"only {', '.join(ALLOWED)} beside it", name)
    if options.system is None:
        raise InputError("is missing", "a name from 'tiercade list systems' or a file", "--system")
    if options.objective is not None and options.objective not in OBJECTIVES:
        raise unknown_name("objective", options.objective, OBJECTIVES, field="--objective")
    if asked.phase is not None and asked.phase not in INFERENCE:
        raise unknown_name("phase", asked.phase, INFERENCE, field="--phase")
    workload, mapper = _prepared(asked, options)
    started = time.process_time()
    rows: list[Row] = []
    with stoppable(options.timeout) as stop:
        mapper.should_stop = stop
        for layer, count in workload.layers():
            rows += [Row(layer.name, op.name, op.cascade.name, count, mapper(op)) for op in layer.ops]
    seconds = time.process_time() - started
    report = _document(workload, mapper, rows, seconds, stop.why)
    if as_json:
        print_document(report)
    else:
        _print(report)
    return 130 if stop.why == "interrupt" else 0


def _prepared(asked: ModelOptions, options: MapOptions) -> tuple[Workload, OpMapper]:
    assert options.system is not None
    step = "--model"
    try:
        model = choose_model(asked.model)
        step = "--system"
        system = choose_system(options.system, options.changes, asked.devices)
        step = "--phase"
        batch = 1 if asked.batch is None else asked.batch
        phase = INFERENCE[asked.phase or "decode"](batch, 2048 if asked.context is None else asked.context)
        workload = lower(model, phase, devices=system.devices)
    except InputError as error:
        if error.file is not None or (error.field or "").startswith("--"):
            raise
        named = {name: f"--{name}" for name in ("phase", "batch", "context", "devices")}
        raise replace(error, field=named.get(error.field or "", step)) from None
    mapper = OpMapper(system)
    if options.objective is not None:
        mapper.objective = options.objective  # type: ignore[assignment]
    return workload, mapper


def _document(
    workload: Workload, mapper: OpMapper, rows: list[Row], seconds: float, stopped: str | None
) -> dict[str, Any]:
    phase = workload.phase
    total = sum(row.count * row.mapping.mapped.time_s for row in rows)
    roofline = sum(row.count * row.mapping.roofline.time_s for row in rows)
    return {
        "model": workload.model,
        "system": mapper.system.name,
        "phase": phase.name,
        "batch": phase.batch,
        "context": phase.context,
        "devices": workload.devices,
        "objective": mapper.objective,
        "ops": [_op_document(row) for row in rows],
        "mapped_s": total,
        "roofline_s": roofline,
        "distinct_shapes": len(mapper.results),
        "cache_hits": mapper.hits,
        "at_roofline": sum(row.mapping.result is None for row in rows),
        "candidates": sum(result.candidates for result in mapper.results.values()),
        "cpu_seconds": seconds,
        "stopped": stopped,
    }


def _op_document(row: Row) -> dict[str, Any]:
    mapped, result = row.mapping.mapped, row.mapping.result
    return {
        "layer": row.layer,
        "op": row.op,
        "cascade": row.cascade,
        "count": row.count,
        "mapped_s": mapped.time_s,
        "roofline_s": row.mapping.roofline.time_s,
        "bound": mapped.bound,
        "home_bytes": mapped.read_bytes + mapped.write_bytes,
        "roofline_bytes": row.mapping.roofline.read_bytes + row.mapping.roofline.write_bytes,
        "gap": None if result is None else result.gap,
        "seconds": None if result is None else result.seconds,
        "reason": row.mapping.reason,
    }


def _print(report: dict[str, Any]) -> None:
    from dse.reports.table import print_rows
    from dse.reports.units_text import ratio_text, seconds_text

    where = f"{report['devices']} x {report['system']}" if report["devices"] > 1 else report["system"]
    typer.echo(
        f"{report['model']} on {where}, {report['phase']}, batch {report['batch']}, context {report['context']}, "
        f"for the least {report['objective']}"
    )
    typer.echo("")
    print_rows(
        [
            {
                "count": op["count"],
                "layer": op["layer"],
                "operation": op["op"],
                "mapped": seconds_text(op["mapped_s"]),
                "roofline": seconds_text(op["roofline_s"]),
                "ratio": ratio_text(op["mapped_s"] / op["roofline_s"]),
                "home bytes": ratio_text(op["home_bytes"] / op["roofline_bytes"]) if op["roofline_bytes"] else "-",
                "bound by": op["bound"],
                "proof": op["reason"] or ("optimal" if op["gap"] <= 1e-9 else f"gap {100 * op['gap']:.2g} %"),
            }
            for op in report["ops"]
        ]
    )
    typer.echo("")
    typer.echo(
        f"all operations {seconds_text(report['mapped_s'])}, at the roofline {seconds_text(report['roofline_s'])} "
        f"({ratio_text(report['mapped_s'] / report['roofline_s'])}); operands in the home tier, collectives left out"
    )
    typer.echo(
        f"{report['distinct_shapes']} distinct shapes searched, {report['cache_hits']} operations found theirs mapped, "
        f"{report['at_roofline']} stay at a roofline; {report['candidates']:,} candidates, "
        f"{report['cpu_seconds']:.1f} s of CPU time"
    )
