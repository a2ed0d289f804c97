"""The compiled kernel against its plain twin: the same commands at the same times, the same counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.flash.drive import Drive, Suspension
from simulator.memory.flash.kernel import FINISHED, prepare, run_kernel
from simulator.memory.flash.state import new_memory
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
}


def compare(drive: Drive, workload: DriveWorkload) -> dict[str, int]:
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
