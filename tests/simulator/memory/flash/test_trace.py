"""Requests given one by one: closed forms of single requests, both loops, what is conserved, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.flash.drives import load_drive
from simulator.memory.flash.run import simulate_drive
from simulator.memory.flash.theory import random_read_latency_s
from simulator.memory.flash.trace import DriveTrace, simulate_trace
from simulator.memory.flash.twin_state import below
from simulator.memory.flash.workload import PATTERNS, DriveWorkload, Pattern, units
from tests.simulator.memory.flash.small_drives import small_drive
from workloads.errors import InputError


def trace_of(
    first: list[int], size: int | list[int], writes: bool | list[bool] = False, **others: object
) -> DriveTrace:
    sizes = np.broadcast_to(np.array(size), len(first))
    return DriveTrace(np.array(first), sizes, np.broadcast_to(np.array(writes), len(first)), **others)  # type: ignore[arg-type]


def test_one_read_from_outside_and_from_inside() -> None:
    """An LSB page of the small drive: 20 + 6 x 25 + 100 + 20 ns of command, 50 us and 20 ns in the cells, 4096 bytes at
    400 MB/s; from outside also messages of 2, 4, 64, 4096 and 16 bytes in packets of 128 + 28 over 4 GB/s."""
    inside_s = (290 + 50_020 + 10_240) * 1e-9
    packets = [2 + 28, 4 + 28, 64 + 28, 4096 + 32 * 28, 16 + 28]
    link_s = sum(int(size / 4 + 0.5) for size in packets) * 1e-9
    for inside, expected_s in ((True, inside_s), (False, inside_s + link_s)):
        result = simulate_trace(small_drive(), trace_of([0], 4096), ideal_mapping=True, inside=inside)
        assert result.seconds == pytest.approx(expected_s, abs=1e-12)
        assert result.mean_latency_s == result.median_latency_s == result.p99_latency_s == result.seconds
        assert (result.requests, result.size_bytes) == (1, 4096)


def test_a_lone_read_of_the_default_drive_takes_its_closed_form() -> None:
    drive = load_drive("ssd-mqsim-default")
    for ideal in (False, True):
        result = simulate_trace(drive, trace_of([2**20], 4096), ideal_mapping=ideal)
        form = random_read_latency_s(drive, 4096, ideal_mapping=ideal)
        assert result.seconds == pytest.approx(form, rel=1e-4)


def test_arrivals_far_apart_do_not_wait_and_arrivals_at_once_do() -> None:
    drive, page = small_drive(bits=1), 4096
    alone = simulate_trace(drive, trace_of([0], page), ideal_mapping=True).seconds
    first = [0] * 5
    apart = trace_of(first, page, arrival_s=np.arange(5) * 1e-3, queue_depth=4)
    result = simulate_trace(drive, apart, ideal_mapping=True)
    assert result.latencies_s == pytest.approx([alone] * 5)
    assert result.seconds == pytest.approx(4e-3 + alone)
    # All at once on one page of one chip, one outstanding: each waits for those before it.
    queue = simulate_trace(drive, trace_of(first, page, arrival_s=np.zeros(5), queue_depth=1), ideal_mapping=True)
    assert queue.latencies_s is not None
    assert queue.latencies_s == pytest.approx(alone * np.arange(1, 6), rel=0.02)
    assert queue.mean_latency_s == pytest.approx(queue.latencies_s.mean())


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("inside", [False, True])
def test_the_requests_of_a_pattern_given_one_by_one_are_the_pattern(pattern: Pattern, inside: bool) -> None:
    drive = small_drive(mapping_bytes=65536)
    workload = DriveWorkload(pattern, 8192, 4, requests=200, inside=inside, working_set=1.0, seed=7)
    pages = units(drive, workload)
    rng, _ = below(7, 1)
    next_rng, unit = below(rng, pages)
    asked = []
    for _ in range(200):
        asked.append(unit * 8192)
        if workload.random:
            next_rng, unit = below(next_rng, pages)
        else:
            unit = (unit + 1) % pages
    expected = simulate_drive(drive, workload)
    result = simulate_trace(drive, trace_of(asked, 8192, workload.writes, queue_depth=4), inside=inside, seed=7)
    assert (result.seconds, result.flash) == (expected.seconds, expected.flash)
    assert result.mean_latency_s == expected.mean_latency_s
    # Percentiles of a pattern are counted in bins, 64 to each doubling: the middle is off by less than 1 / 128.
    assert expected.median_latency_s == pytest.approx(result.median_latency_s, rel=1 / 64)
    assert expected.p99_latency_s == pytest.approx(result.p99_latency_s, rel=1 / 64)


def test_reads_find_in_the_cache_what_was_written() -> None:
    """The write is in the cache's memory, 26 ns and 4096 bytes at 3.2 GB/s, while its program is under way, 300 us."""
    drive = small_drive()
    trace = trace_of([0, 0, 4096 * 8], 4096, [True, False, False], queue_depth=1)
    result = simulate_trace(drive, trace, inside=True, ideal_mapping=True)
    assert result.latencies_s is not None
    memory_ns = 13 + 13 + 1280
    assert result.latencies_s[:2] == pytest.approx([memory_ns * 1e-9] * 2, abs=2e-9)
    assert result.latencies_s[2] > 50e-6
    assert result.flash.pages_read == 1


def test_inside_reads_of_the_computational_drive_are_bounded_by_channels_and_outside_ones_by_the_link() -> None:
    drive = load_drive("ssd-instinfer-csd")
    drive = drive.model_copy(update={"channel": drive.channel.model_copy(update={"commands_first": True})})
    first = (np.arange(3000) * 2**18).tolist()
    trace = trace_of(first, 2**18, queue_depth=64)
    inside, outside = (simulate_trace(drive, trace, inside=where) for where in (True, False))
    assert outside.bandwidth_bytes_per_s <= 7e9
    assert outside.bandwidth_bytes_per_s > 0.97 * 7e9
    assert inside.bandwidth_bytes_per_s <= drive.internal_bytes_per_s == 8 * 1.4e9
    # A command on four planes takes 20 + 150 + 120 + 3 x 650 ns, their pages 4 x 2926 ns: 84 % is left for data.
    share = 4 * 2926 / (4 * 2926 + 2240)
    assert inside.bandwidth_bytes_per_s == pytest.approx(share * 8 * 1.4e9, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), inside=st.booleans(), cached=st.booleans(), depth=st.integers(1, 16))
def test_every_request_is_done_and_counted(data: st.DataObject, inside: bool, cached: bool, depth: int) -> None:
    drive = small_drive(spare=0.5, mapping_bytes=16384)
    count = data.draw(st.integers(1, 60))
    sectors = drive.logical_pages * 8
    first = data.draw(st.lists(st.integers(0, sectors - 40), min_size=count, max_size=count))
    size = data.draw(st.lists(st.integers(1, 40), min_size=count, max_size=count))
    writes = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    gaps = data.draw(st.none() | st.lists(st.integers(0, 400), min_size=count, max_size=count))
    arrival_s = None if gaps is None else np.cumsum(gaps) * 1e-6
    trace = DriveTrace(np.array(first) * 512, np.array(size) * 512, np.array(writes), arrival_s, depth)
    result = simulate_trace(drive, trace, inside=inside, cached=cached, occupancy=0.5)
    assert result.requests == count
    assert result.size_bytes == 512 * sum(size)
    assert result.latencies_s is not None
    assert (result.latencies_s > 0).all()
    assert result.median_latency_s <= result.p99_latency_s <= result.latencies_s.max()
    if arrival_s is not None:
        assert result.seconds == pytest.approx(float((arrival_s + result.latencies_s).max()), abs=1e-9)
    else:  # Little's law: no more than `depth` are outstanding at any time.
        assert result.latencies_s.sum() <= depth * result.seconds * (1 + 1e-9)
        assert result.latencies_s.max() <= result.seconds * (1 + 1e-9)
    if inside:
        assert result.bandwidth_bytes_per_s <= drive.internal_bytes_per_s or any(writes)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"first_bytes": [100]}, "first_bytes"),
        ({"first_bytes": [-512]}, "first_bytes"),
        ({"first_bytes": [], "size_bytes": [], "writes": []}, "first_bytes"),
        ({"first_bytes": [0.5]}, "first_bytes"),
        ({"first_bytes": [2**40]}, "first_bytes"),
        ({"first_bytes": [2**63 - 512]}, "first_bytes"),
        ({"size_bytes": [0]}, "size_bytes"),
        ({"size_bytes": [700]}, "size_bytes"),
        ({"size_bytes": [2**30]}, "first_bytes"),
        ({"size_bytes": [512, 512]}, "size_bytes"),
        ({"writes": [2]}, "writes"),
        ({"arrival_s": [-1.0]}, "arrival_s"),
        ({"arrival_s": [float("nan")]}, "arrival_s"),
        ({"arrival_s": [1e300]}, "arrival_s"),
        ({"queue_depth": 0}, "queue_depth"),
        ({"queue_depth": 10**6}, "queue_depth"),
    ],
)
def test_traces_that_are_refused(changes: dict[str, object], field: str) -> None:
    parts: dict[str, object] = {"first_bytes": [0], "size_bytes": [512], "writes": [False]} | changes
    with pytest.raises(InputError) as caught:
        simulate_trace(small_drive(), DriveTrace(**parts))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_arrivals_that_go_back_are_named() -> None:
    with pytest.raises(InputError, match="request 2 has 1"):
        trace_of([0, 0, 0], 512, arrival_s=np.array([0.0, 2.0, 1.0]))
    with pytest.raises(InputError) as caught:
        simulate_trace(small_drive(), trace_of([0], 512), occupancy=2.0)
    assert caught.value.field == "occupancy"
