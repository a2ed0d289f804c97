"""The Chrome trace of an execution: valid for any graph, complete, and the same bytes each time."""

from __future__ import annotations

import copy
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from dse.reports.chrome_trace import chrome_trace, trace_text, validate_trace, write_trace
from simulator.engine import Buffer, Demand, Segment, Task, TaskGraph, execute
from tests.simulator.engine.graphs import RESOURCES, graphs, layers

Document = dict[str, Any]


def example() -> Document:
    return chrome_trace(execute(layers(126)), title="llama on gpu")


def slices(document: Document, track: str) -> list[dict[str, Any]]:
    tid = next(
        event["tid"]
        for event in document["traceEvents"]
        if event["name"] == "thread_name" and event["args"]["name"].startswith(track)
    )
    return [event for event in document["traceEvents"] if event["ph"] == "X" and event["tid"] == tid]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs())
def test_the_trace_of_any_execution_is_valid(graph: TaskGraph) -> None:
    for unroll in (False, True):
        validate_trace(json.loads(trace_text(chrome_trace(execute(graph, unroll=unroll), title="random"))))


def test_every_resource_is_a_named_and_sorted_track() -> None:
    metadata = [event for event in example()["traceEvents"] if event["ph"] == "M"]
    names = [event["args"]["name"] for event in metadata if event["name"] == "thread_name"]
    assert names == [f"{resource.name} ({resource.kind})" for resource in RESOURCES]
    assert [e["args"]["sort_index"] for e in metadata if e["name"] == "thread_sort_index"] == [1, 2, 3, 4, 5, 6]
    assert metadata[0]["args"] == {"name": "llama on gpu"}


def test_a_slice_says_what_it_moves_and_what_bounds_it() -> None:
    first = slices(example(), "pcie")[0]
    assert (first["name"], first["ts"], first["dur"], first["cat"]) == ("load", 0.0, 2000.0, "transfer")
    assert first["args"] == {"layer": "layers[0]", "bound": "dram", "amount": 1000, "unit": "B"}


def test_a_task_that_holds_an_engine_encloses_its_busy_time() -> None:
    task, busy = slices(example(), "gpu")[1:3]
    assert (task["name"], busy["name"]) == ("op0", "op0 busy")
    assert task["args"]["waited_for"] == "load"
    assert task["ts"] == busy["ts"]
    assert task["dur"] > busy["dur"]


def test_skipped_layers_are_one_slice_on_each_track_they_use() -> None:
    document = example()
    for track in ("gpu", "hbm", "dram", "pcie"):
        steady = [event for event in slices(document, track) if event["cat"] == "steady"]
        assert [event["name"] for event in steady] == ["119 x layers (steady state, period 3 ms)"]
    assert not slices(document, "nvlink")


def test_counters_show_the_bytes_of_skipped_layers_too() -> None:
    first = Task("first", "compute", (Demand("gpu", 1e-3, 1, "op"),), ("gpu",))
    second = Task("second", "compute", (Demand("gpu", 1e-3, 1, "op"),), ("gpu",), after=("first",))
    buffers = (Buffer("scores", "hbm", 30, "first", ("first",)),)
    execution = execute(TaskGraph(RESOURCES, (Segment("layers", (first, second), 100, buffers=buffers),)))
    assert execution.spans
    counters = [event for event in chrome_trace(execution, title="t")["traceEvents"] if event["ph"] == "C"]
    assert [(event["name"], event["args"]["bytes"]) for event in counters] == [
        ("hbm occupied", 30),
        ("hbm occupied", 0),
    ] * 100
    assert [event["ts"] for event in counters] == [1000.0 * step for step in range(200)]


def test_equal_executions_give_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json", "a.json.gz", "b.json.gz")]
    for path in paths:
        write_trace(chrome_trace(execute(layers(20)), title="t"), path)
    plain, again, packed, packed_again = (path.read_bytes() for path in paths)
    assert plain == again == gzip.decompress(packed)
    assert packed == packed_again
    validate_trace(json.loads(plain))


def _change(number: int, **fields: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["traceEvents"][number] |= fields

    return change


def _drop(number: int, key: str) -> Callable[[Document], None]:
    def drop(document: Document) -> None:
        del document["traceEvents"][number][key]

    return drop


# Events 0 to 12 of the example name its tracks, 13 to 15 are the gpu's first slices, the last is a counter.
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.pop("displayTimeUnit"), "a trace has the keys traceEvents and displayTimeUnit ('ns' or 'ms')"),
        (_drop(14, "ts"), "event 14: 'ts' is missing"),
        (_change(14, tid="gpu"), "event 14: 'tid' must be of type int, not 'gpu'"),
        (_change(14, dur=-1.0), "event 14: 'dur' must be 0 or more, not -1.0"),
        (_change(14, ts=0.00001), "event 14: 'ts' must have at most 3 decimals, not 1e-05"),
        (_change(14, ph="Q"), "event 14: unknown phase 'Q'"),
        (_change(1, name="thread"), "event 1: unknown metadata 'thread'"),
        (_change(14, tid=77), "track (1, 77) has slices but no name"),
        (_change(13, dur=3100.0), "track (1, 1): slice 'op0' at 3010000 ns overlaps 'embed' in part"),
        (_change(-1, ts=0.0), "event {last}: counter 'hbm occupied' goes back in time"),
        (_change(-1, args={"bytes": -1}), "event {last}: counter 'hbm occupied' must be 0 or more"),
    ],
)
def test_broken_traces_are_refused(spoil: Callable[[Document], object], message: str) -> None:
    document = copy.deepcopy(example())
    last = len(document["traceEvents"]) - 1
    spoil(document)
    with pytest.raises(ValueError, match=f"^{re.escape(message.replace('{last}', str(last)))}$"):
        validate_trace(document)
