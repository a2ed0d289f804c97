"""Hit rates of prefixes: a recorded trace's measured rates, a slow twin, and the memory that an engine drives."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.kv.prefix import PrefixMemory
from simulator.serving.kv.prefix_hits import prefix_hits, prefix_hits_of
from tests.reference_data import reference_file
from tests.simulator.serving.kv.twins import BYTE
from workloads.errors import InputError
from workloads.traces.readers import read_requests
from workloads.traces.requests import RequestTrace

# Measured on Mooncake's conversation trace by the rule in simulator/serving/kv/prefix_hits.py.
MOONCAKE = {1000: 0.0445, 3000: 0.0650, 10_000: 0.2112, 30_000: 0.3257, 50_000: 0.3546, 100_000: 0.3637}
MOONCAKE_INFINITE = 0.3664


def trace_of(prompts: list[tuple[int, ...]], block_tokens: int = 4) -> RequestTrace:
    """One token in the last block of each prompt."""
    tokens = np.array([max(1, block_tokens * (len(prompt) - 1) + 1) for prompt in prompts])
    return RequestTrace(
        "made", np.zeros(len(prompts)), tokens, np.ones_like(tokens), None, tuple(prompts), block_tokens
    )


def slow_rate(prompts: list[tuple[int, ...]], capacity: float) -> float:
    """The rule, word by word."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = total = 0
    for prompt in prompts:
        before = set(cache)
        for block in prompt:
            if block not in before:
                break
            hits += 1
        for block in prompt:
            if block in cache:
                cache.move_to_end(block)
            else:
                cache[block] = None
                if len(cache) > capacity:
                    cache.popitem(last=False)
        total += len(prompt)
    return hits / total if total else 0.0


def test_by_hand() -> None:
    # The second prompt finds 1 and 2; the third, with room for three, finds neither 1 nor 2 behind 3, 4, 5.
    trace = trace_of([(1, 2), (1, 2, 3), (4, 5), (1, 2)])
    assert prefix_hits(trace, math.inf) == (2 + 2) / 9
    assert prefix_hits(trace, 4) == 2 / 9  # 1 is the fifth from last
    assert prefix_hits(trace, 5) == 4 / 9
    assert prefix_hits(trace, 1) == 0  # of 1 and 2, only 2 is left
    assert prefix_hits(trace, 0) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), max_size=6, unique=True).map(tuple), min_size=1, max_size=30))
def test_every_capacity_is_its_twin_and_more_room_never_hurts(prompts: list[tuple[int, ...]]) -> None:
    found = prefix_hits_of(trace_of(prompts))
    rates = [found.rate(capacity) for capacity in range(15)]
    assert rates == [slow_rate(prompts, capacity) for capacity in range(15)]
    assert rates == sorted(rates)
    assert rates[-1] == found.rate(math.inf) == slow_rate(prompts, math.inf)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True).map(tuple), min_size=1, max_size=30),
    st.integers(6, 14),
)
def test_requests_one_at_a_time_hit_as_the_rule_says(prompts: list[tuple[int, ...]], capacity: int) -> None:
    full = [tuple(prompt) for prompt in prompts]
    memory = PrefixMemory(BYTE, capacity * 4, 4)
    for request, prompt in enumerate(full):
        assert memory.admit(request, 4 * len(prompt), 4 * len(prompt), prompt) is not None
        memory.free(request)
    assert memory.hit_blocks / memory.prompt_blocks == prefix_hits(trace_of(full), capacity)


def test_the_recorded_conversations() -> None:
    trace = read_requests(reference_file("traces/mooncake_conversation_trace.jsonl.gz"))
    found = prefix_hits_of(trace)
    assert (len(trace), found.blocks, found.distinct) == (12_031, 288_500, 182_790)
    for capacity, rate in MOONCAKE.items():
        assert found.rate(capacity) == pytest.approx(rate, abs=1e-4)
    assert found.rate(math.inf) == pytest.approx(MOONCAKE_INFINITE, abs=1e-4)


def test_the_recorded_conversations_through_the_memory() -> None:
    """An engine that runs one request after another sees the same; leaves first changes it by less than 0.0005."""
    trace = read_requests(reference_file("traces/mooncake_conversation_trace.jsonl.gz"))
    assert trace.blocks is not None
    capacity, rates = 10_000, []
    for leaves_first in (False, True):
        memory = PrefixMemory(BYTE, capacity * 512, 512, leaves_first=leaves_first)
        for request, (tokens, blocks) in enumerate(zip(trace.prompt_tokens.tolist(), trace.blocks, strict=True)):
            assert memory.admit(request, tokens, tokens, blocks) is not None
            memory.free(request)
        rates.append(memory.hit_blocks / memory.prompt_blocks)
    assert rates[0] == prefix_hits(trace, capacity)
    assert abs(rates[1] - rates[0]) < 0.0005


def test_a_trace_that_knows_no_prefixes() -> None:
    trace = RequestTrace("plain", np.zeros(1), np.ones(1, np.int64), np.ones(1, np.int64))
    with pytest.raises(InputError, match=r"^blocks: plain does not know its prompts' prefixes; expected a trace with"):
        prefix_hits(trace, 10)
    with pytest.raises(InputError, match=r"^capacity_blocks: room for -1 blocks; expected 0 or more$"):
        prefix_hits(trace_of([(1,)]), -1)
