"""Designs in depth as the page's script reads them: compact, with the colours that are those of figures for papers."""

from __future__ import annotations

import gzip
import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from dse.reports.chrome_trace import chrome_trace, trace_text
from dse.reports.exploration.depth import DesignInDepth
from dse.reports.exploration.figures import PALETTE
from dse.reports.figures.roofline import ceilings
from dse.reports.figures.style import KIND_COLOURS, ROLE_COLOURS
from dse.reports.names import case_text, charge_kind, short_charge_text
from dse.reports.summary import WORKSPACE, charges, operations, tier_uses
from dse.reports.units_text import seconds_text
from simulator.result import Result

__all__ = ["MOST_TRACE_BYTES", "depth_data", "trace_bytes", "trace_name"]

MOST_TRACE_BYTES = 600_000
"""Of all traces in a page together, as they stand in it; larger ones are left to files."""

_SAME = 1e-6
_STATIC = "static"


def depth_data(designs: Sequence[DesignInDepth], fidelity: str, picks: Sequence[int] = ()) -> dict[str, Any]:
    """The document: ``parts`` of machines, ``colours`` by name, and each design with its workloads and areas."""
    pieces = list(dict.fromkeys(piece.name for each in designs for stack in each.areas for piece in stack.pieces))
    traces = _fitting([(each.ordinal, name, trace_bytes(each, name)) for each in designs for name in each.results])
    return {
        "fidelity": fidelity,
        "picks": [each.ordinal for each in designs if each.ordinal in picks],
        "parts": _parts(designs),
        "colours": {
            "role": {role.replace("_", " "): colour for role, colour in ROLE_COLOURS.items()} | {WORKSPACE: "#D0D0D0"},
            "kind": {kind.replace("_", " "): colour for kind, colour in KIND_COLOURS.items()},
            "piece": {name: PALETTE[at % len(PALETTE)] for at, name in enumerate(pieces)},
        },
        "designs": [
            {
                "ordinal": each.ordinal,
                "areas": [
                    {
                        "title": stack.title,
                        "source": stack.source,
                        "pieces": [[piece.name, piece.area_mm2, piece.text] for piece in stack.pieces],
                    }
                    for stack in each.areas
                ],
                "works": [
                    {"name": name, **_work(each, name, result), "trace": traces[each.ordinal, name]}
                    for name, result in each.results.items()
                ],
            }
            for each in designs
        ],
    }


def trace_name(each: DesignInDepth, workload: str) -> str:
    """The file name of the timeline of one design's workload."""
    return f"design-{each.ordinal}-{workload}.trace.json.gz"


def trace_bytes(each: DesignInDepth, workload: str) -> bytes:
    """The timeline of one design's workload as a Chrome trace, compressed; equal designs give equal bytes."""
    title = f"design {each.ordinal}, {workload}"
    text = trace_text(chrome_trace(each.results[workload].execution, title=title))
    return gzip.compress(text.encode(), mtime=0)


def _parts(designs: Iterable[DesignInDepth]) -> list[dict[str, str]]:
    """Everything that time or energy is charged to, by its short name, with the name it has as a bottleneck."""
    kinds: dict[str, str] = {}
    for each in designs:
        for result in each.results.values():
            for name in sorted({*result.time_by_bound_s, *result.energy_j}):
                kinds.setdefault(name, "idle" if name == _STATIC else charge_kind(result, name))
    return [{"name": short_charge_text(name), "raw": name, "kind": kind} for name, kind in kinds.items()]


def _fitting(found: Sequence[tuple[int, str, bytes]]) -> dict[tuple[int, str], Any]:
    """Traces as text, the shortest first as long as there is room; of the others their length alone."""
    room = MOST_TRACE_BYTES
    fitting: dict[tuple[int, str], Any] = {}
    for ordinal, name, data in sorted(found, key=lambda each: len(each[2])):
        text = b64encode(data).decode()
        room -= len(text)
        fitting[ordinal, name] = text if room >= 0 else len(data)
    return fitting


def _work(each: DesignInDepth, name: str, result: Result) -> dict[str, Any]:
    work = operations(result)
    roofs = ceilings(result, each.design.system)
    bytes_moved = sum(op.bytes for op in work)
    operations_done = sum(op.operations for op in work)
    energy = sorted(result.energy_j.items(), key=lambda item: (-item[1], item[0]))
    return {
        "case": case_text(result),
        "devices": result.devices,
        "latency": result.latency_s,
        "bound": result.bounds.latency_s,
        "joules": result.total_energy_j,
        "time": [[short_charge_text(row.name), row.seconds] for row in charges(result)],
        "energy": [[short_charge_text(name), joules] for name, joules in energy],
        "memory": [
            [use.tier, use.capacity_bytes, [[role.replace("_", " "), size] for role, size in use.by_role]]
            for use in tier_uses(result)
        ],
        "peaks": [[name, rate] for name, rate in roofs.peaks.items()],
        "slopes": [[name, rate] for name, rate in roofs.bandwidths.items()],
        "ops": [
            [
                f"{op.layer}.{op.name}",
                op.kind.replace("_", " "),
                op.count,
                op.seconds,
                op.operations,
                op.bytes,
                op.bound,
            ]
            for op in work
        ],
        "step": [operations_done / bytes_moved if bytes_moved else 0.0, operations_done / result.latency_s],
        "notes": [*_changed(each.kept_s[name], result.latency_s), *result.notes],
    }


def _changed(kept_s: float, latency_s: float) -> list[str]:
    """What is said where the run has another latency than there is now."""
    if math.isnan(kept_s) or math.isclose(kept_s, latency_s, rel_tol=_SAME):
        return []
    return [f"The run says {seconds_text(kept_s)}: the simulator has changed since."]
