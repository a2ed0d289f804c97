"""The engine against its slow twin on the KV memories there are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.engine import serve
from simulator.serving.golden import golden_serve
from simulator.serving.kv.away import AwayTier
from simulator.serving.kv.contiguous import ContiguousMemory
from simulator.serving.kv.memory import KvMemory
from simulator.serving.kv.paged import PagedMemory
from simulator.serving.kv.pages import VirtualMemory
from simulator.serving.kv.prefix import PrefixMemory
from simulator.serving.kv.sizes import KvPart, KvSizes
from simulator.serving.kv.tiered import TieredMemory
from simulator.serving.scheduler import BATCHINGS, POLICIES, PREEMPTIONS, Scheduler
from tests.simulator.serving.simple import LinearCost
from workloads.errors import InfeasibleError
from workloads.traces.requests import RequestTrace

COST = LinearCost(away_s=2.0**-14)
SIZES = KvSizes((KvPart(layers=2, key_elements=4, value_elements=4, key_bits=8, value_bits=8),))
"""16 bytes a token, so that sums of times over bandwidths of powers of two are exact."""
HOST = AwayTier("ddr", float(1 << 14), 2.0**16, 2.0**15, 2.0**-10, 2.0**-10)

Make = Callable[[float], KvMemory]
MEMORIES: dict[str, Make] = {
    "paged": lambda room: PagedMemory(SIZES, room),
    "paged with a watermark": lambda room: PagedMemory(SIZES, room, 8, 0.03125),
    "contiguous": lambda room: ContiguousMemory(SIZES, room, "oracle", None),
    "contiguous, powers of two": lambda room: ContiguousMemory(SIZES, room, "pow2", None),
    "pages": lambda room: VirtualMemory(SIZES, room, 256, map_s=2.0**-8, hidden_s=2.0**-9),
    "prefix": lambda room: PrefixMemory(SIZES, room, 16, 16),
    "parked": lambda room: TieredMemory(SIZES, room, (HOST,), 16),
    "spilled": lambda room: TieredMemory(SIZES, room, (HOST,), 16, spill=True),
}


@st.composite
def traces(draw: st.DrawFn) -> RequestTrace:
    """Prompts that begin alike, as conversations do, and crowd together."""
    count = draw(st.integers(1, 16))
    gaps = draw(st.lists(st.integers(0, draw(st.sampled_from([0, 40]))), min_size=count, max_size=count))
    outputs = draw(st.lists(st.integers(1, 40), min_size=count, max_size=count))
    blocks: list[tuple[int, ...]] = []
    prompts, fresh = [], 0
    for number in range(count):
        earlier = draw(st.integers(0, number))
        shared = blocks[earlier - 1][: draw(st.integers(0, 6))] if earlier else ()
        new = draw(st.integers(0 if shared else 1, 6))
        blocks.append((*shared, *range(fresh, fresh + new)))
        fresh += new
        prompts.append(16 * len(blocks[-1]) - draw(st.integers(0, 15)))
    return RequestTrace("drawn", np.cumsum(gaps) / 256.0, np.array(prompts), np.array(outputs), None, tuple(blocks), 16)


@pytest.mark.parametrize("kind", MEMORIES)
@settings(max_examples=25, deadline=None)
@given(trace=traces(), blocks=st.sampled_from([16, 24, 40, 1 << 16]), data=st.data())
def test_equal_to_the_twin(kind: str, trace: RequestTrace, blocks: int, data: st.DataObject) -> None:
    most = data.draw(st.integers(1, 9))
    scheduler = Scheduler(
        data.draw(st.sampled_from(BATCHINGS)),
        most,
        data.draw(st.integers(most, 300)),
        data.draw(st.sampled_from(POLICIES)),
        data.draw(st.sampled_from(PREEMPTIONS)),
        data.draw(st.booleans()),
    )
    room = float(blocks * 16 * 16)
    memory = MEMORIES[kind](room)
    try:
        fast = serve(trace, COST, memory, scheduler)
    except InfeasibleError:
        slow = golden_serve(trace, COST, MEMORIES[kind](room), scheduler)
        assert all(request.rejected for request in slow.requests)
        return
    slow = golden_serve(trace, COST, MEMORIES[kind](room), scheduler)
    for column in ("start_s", "first_s", "last_s"):
        expected = [getattr(request, column) for request in slow.requests]
        assert [None if value != value else value for value in getattr(fast, column).tolist()] == expected
    assert fast.preempted.tolist() == [request.preempted for request in slow.requests]
    assert (fast.completed | fast.rejected).all()
    timeline = fast.timelines[0]
    assert (timeline.used_bytes <= room).all()
    assert (timeline.held_bytes <= timeline.used_bytes).all()
    assert memory.held_bytes == 0
