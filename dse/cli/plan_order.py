"""What ``tiercade plan order`` does: read a graph or make one of a network, order it, place it, report."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dse.cli.amounts import bytes_of
from dse.cli.output import check_figure, print_document, write_figure
from dse.cli.stopping import Stop, stoppable
from mappers.planner.order import OrderGraph, PlannedMemory, plan_memory
from mappers.planner.order.lowering import Counting
from mappers.planner.order.networks import ConvNet, network
from mappers.planner.order.patches import MOST_PARTS, PatchPlan, choose_patches, chosen_graph, whole_plan
from mappers.planner.order.published import compare
from mappers.planner.order.reader import read_graph
from workloads.errors import InputError, unknown_name

__all__ = ["OrderOptions", "run_order"]

_LEAST_TIME_S = 1.0
"""For the order, when choosing patches has taken the time there was."""

_MOST_PATCHES = 256
"""Each patch has operations of its own: the graph of so many takes some 15 s, and no time limit ends its making."""

_COUNTING = {"residual": ("separate", "accumulated"), "image": ("streamed", "resident")}


@dataclass(frozen=True)
class OrderOptions:
    """The arguments of ``plan order`` as they were typed."""

    file: Path | None = None
    model: str | None = None
    resolution: int | None = None
    patches: str | None = None
    image: str = "streamed"
    residual: str = "separate"
    in_place: bool = True
    capacity: str | None = None
    time_limit_s: float = 60.0
    figure: Path | None = None


def run_order(options: OrderOptions, *, as_json: bool) -> int:
    """Plan, draw, print the report; 3 when nothing within the capacity is known, 130 after Ctrl-C."""
    capacity = None if options.capacity is None else bytes_of(options.capacity, "--capacity", least=0)
    _check(options)
    net = None if options.model is None else network_of(options.model, options.resolution)
    _grid(options.patches)
    counting = Counting(options.in_place, options.residual == "accumulated", options.image == "streamed")
    started = time.monotonic()
    with stoppable(None) as stop:
        chosen = None
        if net is None:
            assert options.file is not None
            graph = read_graph(options.file)
        else:
            chosen = _choice(net, options, counting, capacity, stop)
            graph = chosen_graph(net, chosen, counting)
        spent = 0.0 if net is None else time.monotonic() - started
        left = max(min(_LEAST_TIME_S, options.time_limit_s), options.time_limit_s - spent)
        plan = plan_memory(graph, capacity, time_limit_s=left, should_stop=stop)
    if options.figure is not None:
        _draw(graph, plan, options.figure)
    notes = _notes(net, chosen, counting)
    if as_json:
        print_document(_document(graph, plan, chosen, notes))
    else:
        _print(graph, plan, chosen, notes, tried=options.patches == "auto")
    if stop.why == "interrupt":
        return 130
    return 0 if plan.fits else 3


def network_of(name: str, resolution: int | None) -> ConvNet:
    """The network that the options name; errors name the option."""
    try:
        return network(name, resolution)
    except InputError as error:
        error.field = f"--{error.field}"
        raise


def _choice(net: ConvNet, options: OrderOptions, counting: Counting, capacity: int | None, stop: Stop) -> PatchPlan:
    if options.patches is None:
        return whole_plan(net, counting)
    started = time.monotonic()

    def over() -> bool:
        return stop() or time.monotonic() - started >= options.time_limit_s

    try:
        return choose_patches(net, counting, capacity, grid=_grid(options.patches), should_stop=over)
    except InputError as error:
        error.field = "--patches"
        raise


def _grid(text: str | None) -> tuple[int, int] | None:
    """Rows and columns of ``NxN``; None for ``auto``."""
    if text is None or text == "auto":
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,2})x([1-9][0-9]{0,2})", text)
    if found is None:
        raise InputError(f"{text!r} is no grid", "auto, or rows x columns such as 4x4", "--patches")
    rows, columns = int(found[1]), int(found[2])
    if rows * columns > _MOST_PATCHES:
        raise InputError(f"{text} is {rows * columns:,} patches", f"at most {_MOST_PATCHES}", "--patches")
    return rows, columns


def _check(options: OrderOptions) -> None:
    """Refuse before a search what is wrong with the options."""
    if (options.file is None) == (options.model is None):
        both = "both a file and --model" if options.file else "neither a file nor --model"
        raise InputError(both, "GRAPH.yaml or --model NAME", "GRAPH.yaml")
    if options.file is not None:
        defaults = OrderOptions()
        for part in ("resolution", "patches", "image", "residual", "in_place"):
            if getattr(options, part) != getattr(defaults, part):
                name = "--no-in-place" if part == "in_place" else f"--{part}"
                raise InputError("a graph is taken as it is", "--model with it", name)
    if not 0 < options.time_limit_s < math.inf:
        raise InputError(f"{options.time_limit_s:g} seconds", "more than 0 seconds", "--time-limit")
    for name, valid in _COUNTING.items():
        if getattr(options, name) not in valid:
            raise unknown_name(f"--{name}", getattr(options, name), valid, field=f"--{name}")
    if options.figure is not None:
        check_figure(options.figure)


def _draw(graph: OrderGraph, plan: PlannedMemory, file: Path) -> None:
    from dse.reports.figures.order import order_figure

    figure = order_figure(graph, plan)
    write_figure(figure, file)


def _notes(net: ConvNet | None, chosen: PatchPlan | None, counting: Counting) -> list[dict[str, Any]]:
    """Published figures of the network, when it is asked for as published."""
    if net is None or chosen is None or not counting.in_place or " at " in net.name:
        return []
    rows = compare(net.name)
    return [
        {
            "what": row.what,
            "published": row.published,
            "ours": row.ours,
            "unit": row.unit,
            "error": row.error,
            "note": row.note,
        }
        for row in rows
    ]


def _document(
    graph: OrderGraph, plan: PlannedMemory, chosen: PatchPlan | None, notes: list[dict[str, Any]]
) -> dict[str, Any]:
    offsets = plan.allocation.offsets or ()
    document: dict[str, Any] = {"graph": graph.name, "operations": len(graph.ops), **plan.to_json()}
    if chosen is not None:
        patches = chosen.patches
        document["patches"] = patches and {
            "blocks": patches.blocks,
            "rows": patches.rows,
            "columns": patches.columns,
            "patch_bytes": chosen.patch_bytes,
            "rest_bytes": chosen.rest_bytes,
        }
        document["macs"] = chosen.macs
        document["macs_added"] = chosen.overhead
        document["published"] = notes
    document["buffers"] = [
        {"id": buffer.id, "from": buffer.lower, "until": buffer.upper, "bytes": buffer.size, "offset": offset}
        for buffer, offset in zip(plan.problem.buffers, offsets, strict=False)
    ]
    return document


_SAYS = {
    "proved_optimal": "proved optimal: no order of these operations has a lower peak",
    "feasible": "feasible: a lower peak may exist",
    "infeasible": "infeasible: it is proved that no order of these operations fits",
    "unknown": "unknown: neither an order that fits nor a proof that there is none",
}


def _print(
    graph: OrderGraph, plan: PlannedMemory, chosen: PatchPlan | None, notes: list[dict[str, Any]], *, tried: bool
) -> None:
    """The report, a line for each thing known."""
    order = plan.order
    stopped = f" (stopped: {order.stopped})" if order.stopped else ""
    lines = [f"{graph.name}: {len(graph.ops)} operations", f"  status       {_SAYS[plan.status]}{stopped}"]
    if chosen is not None:
        lines += _patch_lines(chosen)
    gap = "" if not plan.gap else f", {100 * plan.gap:.2f} % above the bound"
    lines.append(f"  peak         {plan.peak_bytes:,} bytes{gap}")
    if plan.peak_bytes != order.peak_bytes:
        lines.append(f"  held at most {order.peak_bytes:,} bytes; the rest is lost between buffers")
    lines.append(f"  lower bound  {plan.lower_bound_bytes:,} bytes")
    if order.capacity_bytes is not None:
        lines.append(f"  capacity     {order.capacity_bytes:,} bytes")
    if not plan.fits:
        least, enough = plan.extra_bytes
        more = "" if least == enough else f"; {enough:,} more are enough"
        lines.append(f"  missing      {'exactly' if least == enough else 'at least'} {least:,} bytes{more}")
        if tried:
            lines.append(f"  tried        any number of blocks, grids up to {MOST_PARTS}x{MOST_PARTS}")
    lines.append(f"  why          {order.certificate}")
    lines.append(f"  by           {order.backend}, {order.nodes:,} sets, {order.seconds:.2f} s")
    if chosen is None:
        lines.append(f"  order        {', '.join(order.order)}")
    for row in notes:
        note = f" ({row['note']})" if row["note"] else ""
        figures = f"{row['published']:,.4g} {row['unit']}, ours {row['ours']:,.4g} {row['unit']}"
        lines.append(f"  published    {row['what']}: {figures}{note}")
    print("\n".join(lines))  # noqa: T201


def _patch_lines(chosen: PatchPlan) -> list[str]:
    patches = chosen.patches
    if patches is None:
        return ["  patches      none: map by map"]
    return [
        f"  patches      {patches.rows}x{patches.columns} over the first {patches.blocks} blocks; "
        f"a patch holds {chosen.patch_bytes:,} bytes, the rest of the network {chosen.rest_bytes:,}",
        f"  work         {chosen.macs:,} multiply-accumulates, {100 * chosen.overhead:.1f} % more than map by map",
    ]
