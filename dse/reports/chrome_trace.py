"""An execution as a Chrome trace (JSON) that opens in Perfetto or chrome://tracing.

One track per resource. An engine's track shows the tasks that hold it and, inside each, the reservation that keeps it
busy; the other tracks show reservations. Steady repetitions that were not simulated are one slice per track. Each
tier's occupied bytes are a counter. Times are whole nanoseconds: both ends of a slice are rounded, and never its
length, so that slices which touch go on touching and none overlaps another in part.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.engine import Execution, SteadySpan, TaskRun, occupancy

__all__ = ["chrome_trace", "trace_text", "validate_trace", "write_trace"]

_PROCESS = 1


@dataclass(frozen=True, slots=True)
class _Slice:
    track: str
    name: str
    category: str
    begin_s: float
    end_s: float
    args: dict[str, Any]


def chrome_trace(execution: Execution, *, title: str) -> dict[str, Any]:
    """The trace document of ``execution``, its process named ``title``; times in microseconds, as the format asks."""
    resources = [resource.name for resource in execution.graph.resources]
    tracks = {name: number for number, name in enumerate(resources, start=1)}
    slices = [piece for run in execution.runs for piece in _run_slices(run)]
    slices += [piece for span in execution.spans for piece in _span_slices(span, resources)]
    events = [_metadata("process_name", 0, name=title)]
    for resource in execution.graph.resources:
        track = tracks[resource.name]
        events.append(_metadata("thread_name", track, name=f"{resource.name} ({resource.kind})"))
        events.append(_metadata("thread_sort_index", track, sort_index=track))
    placed = []
    for piece in slices:
        begin, end = _nanoseconds(piece.begin_s), _nanoseconds(piece.end_s)
        event = {
            "ph": "X",
            "name": piece.name,
            "cat": piece.category,
            "pid": _PROCESS,
            "tid": tracks[piece.track],
            "ts": begin / 1000,
            "dur": (end - begin) / 1000,
            "args": piece.args,
        }
        placed.append(((tracks[piece.track], begin, begin - end), event))
    # By track and time, a task before the reservation inside it; the sort keeps program order among equals.
    events += [event for _, event in sorted(placed, key=lambda pair: pair[0])]
    for tier, steps in occupancy(execution).items():
        if any(bytes for _, bytes in steps):
            events += [_counter(f"{tier} occupied", time, bytes) for time, bytes in steps]
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def trace_text(document: Mapping[str, Any]) -> str:
    """The trace as JSON text, one line; equal executions give equal texts."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"


def write_trace(document: Mapping[str, Any], path: Path) -> None:
    """Write the trace to ``path``, compressed where the name ends in ``.gz``; equal executions give equal bytes."""
    data = trace_text(document).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _run_slices(run: TaskRun) -> Iterable[_Slice]:
    common: dict[str, Any] = {"layer": f"{run.segment}[{run.repetition}]", "bound": run.bound}
    if run.waited_for is not None:
        common |= {"waited_for": run.waited_for, "stall_us": _nanoseconds(run.stall_s) / 1000}
    for engine in run.task.held:
        yield _Slice(engine, run.name, run.task.kind, run.start_s, run.finish_s, common)
    for demand, (begin, end) in zip(run.task.demands, run.served, strict=True):
        inside = demand.resource in run.task.held
        amount = {"amount": demand.amount, "unit": demand.unit}
        args = amount if inside else common | amount
        yield _Slice(demand.resource, f"{run.name} busy" if inside else run.name, run.task.kind, begin, end, args)


def _span_slices(span: SteadySpan, resources: Iterable[str]) -> Iterable[_Slice]:
    """One slice on each track the span uses, from its first use there to its last."""
    uses: dict[str, list[float]] = defaultdict(list)
    for run in span.ends():
        for engine in run.task.held:
            uses[engine] += (run.start_s, run.finish_s)
        for interval in run.intervals:
            uses[interval.resource] += (interval.begin_s, interval.end_s)
    name = f"{span.count} x {span.segment} (steady state, period {_duration(span.period_s)})"
    args = {"layer": f"{span.segment}[{span.first}..{span.first + span.count - 1}]", "repetitions": span.count}
    for resource in resources:
        if resource in uses:
            yield _Slice(resource, name, "steady", min(uses[resource]), max(uses[resource]), args)


def _duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.4g} {unit}"
    return f"{seconds * 1e9:.4g} ns"


def _metadata(kind: str, track: int, **args: str | int) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": _PROCESS, "tid": track, "args": args}


def _counter(name: str, seconds: float, bytes: int) -> dict[str, Any]:
    return {
        "ph": "C",
        "name": name,
        "pid": _PROCESS,
        "tid": 0,
        "ts": _nanoseconds(seconds) / 1000,
        "args": {"bytes": bytes},
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def validate_trace(document: Mapping[str, Any]) -> None:
    """Check what viewers rely on: keys and their types, no negative time or duration, whole nanoseconds, named tracks,
    slices of a track that nest, counters in order of time.

    Raises ValueError with the first event that breaks a rule.
    """
    if set(document) != {"traceEvents", "displayTimeUnit"} or document["displayTimeUnit"] not in ("ns", "ms"):
        raise ValueError("a trace has the keys traceEvents and displayTimeUnit ('ns' or 'ms')")
    named: dict[str, set[tuple[int, int]]] = {"process_name": set(), "thread_name": set(), "thread_sort_index": set()}
    slices: dict[tuple[int, int], list[tuple[int, int, str]]] = defaultdict(list)
    counted: dict[tuple[int, str], int] = {}
    for number, event in enumerate(document["traceEvents"]):
        where = f"event {number}"
        _require_keys(where, event, {"ph": str, "name": str, "pid": int, "tid": int, "args": dict})
        track = (event["pid"], event["tid"])
        if event["ph"] == "M":
            if event["name"] not in named:
                raise ValueError(f"{where}: unknown metadata {event['name']!r}")
            named[event["name"]].add(track)
        elif event["ph"] == "X":
            _require_keys(where, event, {"ts": float, "dur": float, "cat": str})
            begin, length = _whole(where, event, "ts"), _whole(where, event, "dur")
            slices[track].append((begin, -(begin + length), event["name"]))
        elif event["ph"] == "C":
            _require_keys(where, event, {"ts": float})
            time = _whole(where, event, "ts")
            counter = (event["pid"], event["name"])
            if time < counted.get(counter, 0):
                raise ValueError(f"{where}: counter {event['name']!r} goes back in time")
            if not all(isinstance(value, int | float) and value >= 0 for value in event["args"].values()):
                raise ValueError(f"{where}: counter {event['name']!r} must be 0 or more")
            counted[counter] = time
        else:
            raise ValueError(f"{where}: unknown phase {event['ph']!r}")
    for track, pieces in slices.items():
        if track not in named["thread_name"] or track[0] not in {process for process, _ in named["process_name"]}:
            raise ValueError(f"track {track} has slices but no name")
        _require_nesting(track, pieces)


def _require_keys(where: str, event: Mapping[str, Any], types: Mapping[str, type]) -> None:
    for key, kind in types.items():
        if key not in event:
            raise ValueError(f"{where}: {key!r} is missing")
        allowed = (int, float) if kind is float else (kind,)
        if not isinstance(event[key], allowed) or isinstance(event[key], bool):
            raise ValueError(f"{where}: {key!r} must be of type {kind.__name__}, not {event[key]!r}")


def _whole(where: str, event: Mapping[str, Any], key: str) -> int:
    value: float = event[key]
    if not value >= 0:
        raise ValueError(f"{where}: {key!r} must be 0 or more, not {value!r}")
    if round(value, 3) != value:
        raise ValueError(f"{where}: {key!r} must have at most 3 decimals, not {value!r}")
    return round(value * 1000)


def _require_nesting(track: tuple[int, int], pieces: list[tuple[int, int, str]]) -> None:
    around: list[tuple[int, str]] = []  # ends in ns and names of the slices that are open, the innermost last
    for begin, minus_end, name in sorted(pieces):
        while around and around[-1][0] <= begin:
            around.pop()
        if around and -minus_end > around[-1][0]:
            raise ValueError(f"track {track}: slice {name!r} at {begin} ns overlaps {around[-1][1]!r} in part")
        around.append((-minus_end, name))
