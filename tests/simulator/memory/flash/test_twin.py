"""The compiled kernel against its plain twin: the same commands at the same times, the same counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.memory.flash.drive import Drive, Suspension
from simulator.memory.flash.kernel import FINISHED, prepare, run_kernel
from simulator.memory.flash.plan import Plan
from simulator.memory.flash.state import new_memory
from simulator.memory.flash.trace import DriveTrace, trace_plan
from simulator.memory.flash.twin import run_twin
from simulator.memory.flash.workload import DriveWorkload
from tests.simulator.memory.flash.small_drives import check_memory, small_drive

COUNTS = {
    "read_commands": "read_commands",
    "multi_reads": "multi_reads",
    "program_commands": "program_commands",
    "multi_programs": "multi_programs",
    "erases": "erases",
    "suspensions": "suspensions",
    "absorbed": "absorbed",
    "mapping_reads": "mapping_reads",
    "mapping_programs": "mapping_programs",
    "merge_reads": "merge_reads",
    "host": "host_programs",
    "moved": "moved",
    "gc": "collections",
    "levellings": "levellings",
    "levelled": "levelled",
}


def compare(drive: Drive, workload: DriveWorkload | Plan) -> dict[str, int]:
    """Run both, compare everything they report, and give the counts."""
    memory = new_memory(drive, workload, log=True)
    assert prepare(memory) == FINISHED
    status = run_kernel(memory)
    assert status == FINISHED
    twin = run_twin(drive, workload)
    s = memory.state[0]
    kernel_log = [tuple(int(x) for x in line) for line in s["log"][: int(s["logged"])]]
    assert kernel_log == twin.log[: len(kernel_log)]
    assert len(kernel_log) == min(len(twin.log), len(s["log"]))
    assert {name: int(s[field]) for name, field in COUNTS.items()} == twin.counts
    assert (int(s["now"]), int(s["done"]), int(s["latency_ns"])) == (twin.now_ns, twin.done, twin.latency_ns)
    assert int(s["done_sectors"]) == twin.done_sectors
    if s["traced"]:
        assert memory.requests["latency_ns"].tolist() == twin.latencies_ns
    check_memory(drive, memory)
    return twin.counts


WORKLOADS = st.fixed_dictionaries(
    {
        "pattern": st.sampled_from(["rand-read", "seq-read", "rand-write", "seq-write"]),
        "size_bytes": st.sampled_from([512, 2048, 4096, 12288, 16384]),
        "queue_depth": st.integers(1, 9),
        "ideal_mapping": st.booleans(),
        "requests": st.integers(1, 120),
        "seed": st.integers(0, 2**63 - 1),
        "occupancy": st.sampled_from([0.0, 0.4, 0.8]),
        "working_set": st.sampled_from([0.3, 0.8]),
        "overwrites": st.sampled_from([0.0, 0.7]),
        "cached": st.booleans(),
        "inside": st.booleans(),
    }
)
DRIVES = st.fixed_dictionaries(
    {
        "channels": st.integers(1, 2),
        "chips": st.integers(1, 2),
        "dies": st.integers(1, 2),
        "planes": st.sampled_from([1, 2, 4]),
        "blocks": st.sampled_from([12, 16]),
        "pages": st.sampled_from([4, 8]),
        "bits": st.integers(1, 3),
        "spare": st.sampled_from([0.45, 0.55]),
        "mapping_bytes": st.sampled_from([700, 4096]),
        "policy": st.sampled_from(["greedy", "random-greedy"]),
        "at_once": st.sampled_from([1, 2]),
        "cache_bytes": st.sampled_from([16384, 262144]),
        "fetched": st.sampled_from([3, 512]),
        "commands_first": st.booleans(),
        "static_threshold": st.sampled_from([None, 1, 3]),
        "cache_channels": st.integers(1, 3),
    }
)


@settings(max_examples=40, deadline=None)
@given(drive=DRIVES, workload=WORKLOADS, suspend=st.booleans())
def test_kernel_is_the_twin(drive: dict[str, Any], workload: dict[str, Any], suspend: bool) -> None:
    may = Suspension(erase=suspend, program=suspend, erase_us=100, program_us=20, least_left_erase_us=100)
    built = small_drive(**drive, suspension=may)
    asked = DriveWorkload(**workload)
    if not asked.ideal_mapping and built.mapping_entries < 10 * asked.queue_depth + 2:
        asked = DriveWorkload(**{**workload, "queue_depth": 1, "size_bytes": 4096})
    compare(built, asked)


@settings(max_examples=25, deadline=None)
@given(drive=DRIVES, workload=WORKLOADS, data=st.data())
def test_kernel_is_the_twin_from_a_stated_state(
    drive: dict[str, Any], workload: dict[str, Any], data: st.DataObject
) -> None:
    built = small_drive(**drive)
    pages = built.geometry.pages_per_block
    room = built.logical_pages // built.geometry.planes // pages  # blocks, were all their pages valid
    plane = st.lists(st.integers(0, pages), max_size=room).map(tuple)
    state = data.draw(st.lists(plane, min_size=1, max_size=3).map(tuple))
    asked = {**workload, "occupancy": 0.0, "valid_pages": state}
    if not asked["ideal_mapping"] and built.mapping_entries < 10 * asked["queue_depth"] + 2:
        asked.update(queue_depth=1, size_bytes=4096)
    compare(built, DriveWorkload(**asked))


REQUESTS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(1, 40), st.booleans(), st.sampled_from([0, 0, 1, 30, 900])), min_size=1
)


@settings(max_examples=40, deadline=None)
@given(drive=DRIVES, requests=REQUESTS, suspend=st.booleans(), data=st.data())
def test_kernel_is_the_twin_on_traces(
    drive: dict[str, Any], requests: list[tuple[float, int, bool, int]], suspend: bool, data: st.DataObject
) -> None:
    """Requests anywhere, of any size, read and written in turn; arrivals in microseconds, or a closed loop."""
    may = Suspension(erase=suspend, program=suspend, erase_us=100, program_us=20, least_left_erase_us=100)
    built = small_drive(**drive, suspension=may)
    where, sectors, writes, gaps = (np.array(column) for column in zip(*requests, strict=True))
    span = data.draw(st.sampled_from([64, built.logical_pages * 8])) - 40
    depth = data.draw(st.integers(1, 9))
    ideal = data.draw(st.booleans())
    if not ideal and built.mapping_entries < 2 * 6 * depth + 2:
        depth, sectors = 1, np.minimum(sectors, 8)
    arrival_s = np.asarray(np.cumsum(gaps) * 1e-6, dtype=np.float64) if data.draw(st.booleans()) else None
    trace = DriveTrace((where * span).astype(int) * 512, sectors * 512, writes, arrival_s, depth)
    plan = trace_plan(
        built,
        trace,
        occupancy=data.draw(st.sampled_from([0.0, 0.4, 0.9])),
        ideal_mapping=ideal,
        cached=data.draw(st.booleans()),
        inside=data.draw(st.booleans()),
    )
    compare(built, plan)


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("ideal", [False, True])
def test_wear_is_levelled_before_and_after_the_clock_starts(at_once: int, ideal: bool) -> None:
    drive = small_drive(spare=0.4, blocks=24, mapping_bytes=1400, at_once=at_once, static_threshold=2)
    workload = DriveWorkload(
        "rand-write", 4096, 4, ideal, requests=1500, occupancy=1.0, working_set=0.15, overwrites=9.0, cached=False
    )
    counts = compare(drive, workload)
    assert counts["levellings"] > 10
    assert 0 < counts["levelled"] < counts["moved"] + 1


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("open_loop", [False, True])
def test_a_long_trace_that_reads_and_writes_collects(cached: bool, open_loop: bool) -> None:
    drive = small_drive(spare=0.5, blocks=24, mapping_bytes=1400, planes=2)
    rng = np.random.default_rng(5)
    first = rng.integers(0, drive.logical_pages * 8 - 24, 1200)
    arrival_s: NDArray[np.float64] | None = None
    if open_loop:
        arrival_s = (np.cumsum(rng.integers(0, 600, 1200)) * 1e-6).astype(np.float64)
    trace = DriveTrace(first * 512, rng.integers(1, 24, 1200) * 512, rng.random(1200) < 0.7, arrival_s, 4)
    counts = compare(drive, trace_plan(drive, trace, occupancy=1.0, cached=cached))
    for what in ("gc", "moved", "mapping_programs", "merge_reads", "erases", "multi_programs"):
        assert counts[what] > 0, what


@pytest.mark.parametrize("at_once", [1, 3])
def test_collection_mapping_writes_and_suspension_all_happen(at_once: int) -> None:
    may = Suspension(erase=True, program=True, erase_us=100, program_us=20, least_left_erase_us=100)
    drive = small_drive(spare=0.5, blocks=24, mapping_bytes=700, at_once=at_once, suspension=may, planes=2)
    workload = DriveWorkload("rand-write", 2048, 4, requests=900, occupancy=1.0, working_set=1.0, cached=False)
    counts = compare(drive, workload)
    for what in ("gc", "moved", "mapping_programs", "merge_reads", "suspensions", "erases", "multi_programs"):
        assert counts[what] > 0, what


def test_pages_written_again_stay_in_the_cache() -> None:
    # 51 pages in use, of which up to 8 are held: once the 8 are pages written again, 8 of 51 writes find theirs.
    drive = small_drive(spare=0.5, cache_bytes=32768)
    workload = DriveWorkload("rand-write", 4096, 8, requests=400, working_set=0.05, ideal_mapping=True)
    counts = compare(drive, workload)
    assert counts["absorbed"] > 400 * 8 / 51 / 2
    assert counts["host"] < 400
