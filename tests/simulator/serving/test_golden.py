"""The engine against its slow twin, and what holds of every run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.closed_loop import serve_closed_loop
from simulator.serving.engine import serve
from simulator.serving.golden import golden_serve
from simulator.serving.scheduler import BATCHINGS, POLICIES, PREEMPTIONS, Scheduler
from simulator.serving.step import StepBatch
from tests.simulator.serving.simple import BlockMemory, LinearCost
from workloads.traces.requests import RequestTrace

COST = LinearCost()


@st.composite
def traces(draw: st.DrawFn, most: int = 24) -> RequestTrace:
    """Requests that crowd together, or do not; times are multiples of 2**-8 s."""
    count = draw(st.integers(1, most))

    def column(low: int, high: int) -> Sequence[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    gaps = column(0, draw(st.sampled_from([0, 8, 400])))
    arrival = np.cumsum(gaps) / 256.0
    priority = draw(st.one_of(st.none(), st.just(column(0, 3))))
    ranks = None if priority is None else np.array(priority, np.int64)
    prompts, outputs = column(1, 200), column(1, 60)
    return RequestTrace("drawn", arrival, np.array(prompts, np.int64), np.array(outputs, np.int64), ranks)


@st.composite
def schedulers(draw: st.DrawFn) -> Scheduler:
    most = draw(st.integers(1, 9))
    return Scheduler(
        draw(st.sampled_from(BATCHINGS)),
        most,
        draw(st.integers(most, 300)),
        draw(st.sampled_from(POLICIES)),
        draw(st.sampled_from(PREEMPTIONS)),
    )


MEMORIES = st.fixed_dictionaries(
    {
        "blocks": st.sampled_from([20, 34, 60, 1 << 20]),
        "block_tokens": st.sampled_from([1, 7, 16]),
        "park_s": st.sampled_from([None, 0.0, 2.0**-5]),
        "shared": st.sampled_from([0, 50]),
        "extend_s": st.sampled_from([0.0, 2.0**-8]),
    }
)


def check_equal(trace: RequestTrace, memory: dict[str, Any], scheduler: Scheduler) -> None:
    if (int((trace.prompt_tokens + trace.output_tokens).min())) - 1 > memory["blocks"] * memory["block_tokens"]:
        return  # every request would be refused
    fast = serve(trace, COST, BlockMemory(**memory), scheduler)
    slow = golden_serve(trace, COST, BlockMemory(**memory), scheduler)
    for column in ("start_s", "first_s", "last_s"):
        expected = [getattr(request, column) for request in slow.requests]
        found = [None if value != value else value for value in getattr(fast, column).tolist()]
        assert found == expected, column
    assert fast.rejected.tolist() == [request.rejected for request in slow.requests]
    assert fast.preempted.tolist() == [request.preempted for request in slow.requests]
    assert fast.produced.tolist() == [request.generated for request in slow.requests]
    assert (fast.steps, fast.computed_tokens) == (slow.steps, slow.computed_tokens)
    assert fast.energy_j == slow.energy_j
    assert {part: seconds for part, seconds in fast.parts_s.items() if seconds} == {
        part: seconds for part, seconds in slow.parts_s.items() if seconds
    }


@settings(max_examples=150, deadline=None)
@given(traces(), MEMORIES, schedulers())
def test_equal_to_the_twin(trace: RequestTrace, memory: dict[str, Any], scheduler: Scheduler) -> None:
    check_equal(trace, memory, scheduler)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@given(traces(most=80), MEMORIES, schedulers())
def test_equal_to_the_twin_at_length(trace: RequestTrace, memory: dict[str, Any], scheduler: Scheduler) -> None:
    check_equal(trace, memory, scheduler)


@settings(max_examples=100, deadline=None)
@given(traces(), MEMORIES, schedulers())
def test_what_holds_of_every_run(trace: RequestTrace, memory: dict[str, Any], scheduler: Scheduler) -> None:
    longest = (trace.prompt_tokens + trace.output_tokens - 1).max()
    room = BlockMemory(**{**memory, "blocks": max(memory["blocks"], int(longest))})  # all fit alone
    found = serve(trace, COST, room, scheduler)
    # No request is lost, and every token comes.
    assert found.completed.all()
    assert (found.produced == trace.output_tokens).all()
    # Memory is empty again, and was never more than full (checked at every call, and in the timeline).
    assert room.used_bytes == 0
    timeline = found.timelines[0]
    assert (timeline.used_bytes <= timeline.capacity_bytes).all()
    assert (timeline.held_bytes <= timeline.used_bytes).all()
    assert (timeline.running <= scheduler.max_batch).all()
    # Time does not run backwards, for the engine and for each request.
    assert (np.diff(timeline.time_s) >= 0).all()
    assert (found.arrival_s <= found.start_s).all()
    assert (found.start_s < found.first_s).all()
    assert (found.first_s <= found.last_s).all()
    # Every token but the first came some time after the one before it.
    assert found.gap_tokens.sum() == (found.output_tokens - 1).sum()
    assert (found.gap_s > 0).all()
    assert (found.gap_s * found.gap_tokens).sum() == pytest.approx((found.last_s - found.first_s).sum())
    # All the time of the engine is accounted for.
    assert sum(found.parts_s.values()) == found.makespan_s
    # Who came first begins first.
    if scheduler.policy == "fcfs":
        assert (np.diff(found.start_s) >= 0).all()
    # The first token is never there sooner than the prompt alone takes, in pieces as large as may be.
    for first_s, arrival_s, prompt in zip(found.first_s, found.arrival_s, trace.prompt_tokens, strict=True):
        reused = min(room.shared, int(prompt) - 1)
        assert first_s - arrival_s >= COST.step(StepBatch(((int(prompt) - reused, reused),), 1)).seconds


@settings(max_examples=50, deadline=None)
@given(traces(), MEMORIES, schedulers())
def test_the_same_again(trace: RequestTrace, memory: dict[str, Any], scheduler: Scheduler) -> None:
    room = {**memory, "blocks": 1 << 20}
    one, two = (serve(trace, COST, BlockMemory(**room), scheduler) for _ in range(2))
    for column in ("first_s", "last_s", "produced", "preempted"):
        assert np.array_equal(getattr(one, column), getattr(two, column))
    assert (one.parts_s, one.energy_j, one.events) == (two.parts_s, two.energy_j, two.events)


@settings(max_examples=100, deadline=None)
@given(traces(), st.integers(1, 9))
def test_a_faster_machine_is_done_no_later(trace: RequestTrace, most: int) -> None:
    """One at a time, in order. Named exception: batches may fall otherwise on a faster machine and take more steps."""
    scheduler = Scheduler("static", max_batch=1)
    slow = serve(trace, LinearCost(2.0**-5 * most), BlockMemory(), scheduler)
    fast = serve(trace, LinearCost(2.0**-6), BlockMemory(), scheduler)
    assert (fast.last_s <= slow.last_s).all()


@settings(max_examples=50, deadline=None)
@given(traces(), MEMORIES, schedulers())
def test_where_all_are_there_from_the_start_half_the_costs_take_half_the_time(
    trace: RequestTrace, memory: dict[str, Any], scheduler: Scheduler
) -> None:
    room = {**memory, "blocks": 1 << 10, "extend_s": 0.0}
    at_once = RequestTrace("at once", np.zeros(len(trace)), trace.prompt_tokens, trace.output_tokens, trace.priority)
    slow = serve(at_once, COST, BlockMemory(**room), scheduler)
    halved = LinearCost(COST.step_s / 2, COST.token_s / 2, COST.context_s / 2)
    # Moving out and back is a cost too: short blocks leave so little room that it happens.
    moved_s = None if memory["park_s"] is None else memory["park_s"] / 2
    fast = serve(at_once, halved, BlockMemory(**{**room, "park_s": moved_s}), scheduler)
    assert (2 * fast.last_s).tolist() == slow.last_s.tolist()


def test_throughput_grows_with_clients_until_memory_is_full() -> None:
    # A step costs 2**-6 s however many it serves, a token 2**-12: more clients share the former. From 16 on, 16
    # sequences of 7 blocks are all that fits.
    rates = []
    for clients in (1, 2, 4, 8, 16, 32):
        memory = BlockMemory(blocks=16 * 7)
        found = serve_closed_loop(64, 40, clients, 128, COST, memory, Scheduler(max_batch=64))
        rates.append(float(found.produced.sum()) / found.makespan_s)
    assert all(fewer < more for fewer, more in pairwise(rates[:5]))
    assert rates[5] == pytest.approx(rates[4], rel=0.05)
