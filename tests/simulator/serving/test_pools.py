"""Replicas side by side, and prefill and decode apart, on traces small enough to follow with a pencil."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.disaggregated import KvLink, Pool, serve_disaggregated
from simulator.serving.engine import serve
from simulator.serving.replicas import ROUTINGS, Router, serve_replicas
from simulator.serving.scheduler import Scheduler
from tests.simulator.serving.simple import BlockMemory, LinearCost
from workloads.errors import InputError
from workloads.traces.requests import RequestTrace

SECONDS = LinearCost(step_s=1.0, token_s=0.0, context_s=0.0)
WHOLE = Scheduler("prefill-first")


def trace_of(*requests: tuple[float, int, int], blocks: Sequence[Sequence[int]] | None = None) -> RequestTrace:
    arrival, prompt, output = zip(*requests, strict=True)
    prefixes = None if blocks is None else tuple(blocks)
    size = None if blocks is None else 16
    return RequestTrace(
        "by hand", np.array(arrival, np.float64), np.array(prompt), np.array(output), None, prefixes, size
    )


FOUR = trace_of((0, 10, 3), (0.25, 10, 3), (0.5, 10, 1), (3.5, 10, 1))


def test_requests_go_round() -> None:
    # Replica 0: a 0-1, then c at 1-2 while a waits, a again 2-4. Replica 1: b 0.25-3.25, d 3.5-4.5.
    found = serve_replicas(FOUR, SECONDS, [BlockMemory(), BlockMemory()], WHOLE)
    assert found.replica.tolist() == [0, 1, 0, 1]
    assert found.last_s.tolist() == [4, 3.25, 2, 4.5]
    # Until 4.5: replica 0 idles 0.5; replica 1 idles 0.25 + 0.25.
    assert found.parts_s["idle"] == 1.0


def test_replicas_are_stopped_at_about_one_time() -> None:
    # A request a second, 2 s each, in turn on three replicas; the stop comes after 2,000 of 3,000 were handed in. A
    # replica that ran ahead would be done at 3,000, one that had not begun would be at 0.
    trace = trace_of(*((float(at), 10, 2) for at in range(3000)))
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2000 // 64

    found = serve_replicas(trace, SECONDS, [BlockMemory() for _ in range(3)], WHOLE, stop=stop)
    assert found.interrupted
    done = [int(found.completed[found.replica == where].sum()) for where in range(3)]
    assert min(done) > 500
    assert max(done) - min(done) <= 2
    assert 1600 <= found.makespan_s <= 2100


def test_requests_go_where_the_fewest_are() -> None:
    # At 3.5 replica 0 has a under way (until 4) and replica 1 has nothing since 3.25; at 0.5 both have one: the first.
    found = serve_replicas(FOUR, SECONDS, [BlockMemory(), BlockMemory()], WHOLE, routing="least-loaded")
    assert found.replica.tolist() == [0, 1, 0, 1]
    late = trace_of((0, 10, 1), (0.25, 10, 3), (1.5, 10, 1))
    found = serve_replicas(late, SECONDS, [BlockMemory(), BlockMemory()], WHOLE, routing="least-loaded")
    assert found.replica.tolist() == [0, 1, 0]


def test_requests_follow_their_prefix_unless_it_is_short_or_load_uneven() -> None:
    router = Router("prefix", 2)
    assert router.choose([0, 0], [1, 2, 3]) == 0
    assert router.choose([1, 0], [7, 8, 9]) == 1
    assert router.choose([9, 0], [1, 2, 4]) == 0  # two of three blocks were there
    assert router.choose([9, 0], [1, 5, 5, 5]) == 1  # one of four is too few
    assert router.choose([70, 0], [1, 2, 3]) == 1  # 70 more are too many
    with pytest.raises(InputError, match="did you mean 'prefix'"):
        Router("prefixes", 2)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 200), st.integers(1, 30)), min_size=1, max_size=30),
    st.integers(1, 4),
    st.sampled_from(ROUTINGS),
)
def test_every_request_is_served_once(requests: list[tuple[int, int, int]], count: int, routing: str) -> None:
    trace = trace_of(*sorted((at / 64, prompt, output) for at, prompt, output in requests))
    memories = [BlockMemory(blocks=40) for _ in range(count)]
    found = serve_replicas(trace, LinearCost(), memories, Scheduler(max_batch=8), routing=routing)
    assert found.completed.all()
    assert (found.produced == trace.output_tokens).all()
    assert all(memory.used_bytes == 0 for memory in memories)
    assert sum(found.parts_s.values()) == count * found.makespan_s
    if count == 1:
        alone = serve(trace, LinearCost(), BlockMemory(blocks=40), Scheduler(max_batch=8))
        assert found.last_s.tolist() == alone.last_s.tolist()


def test_prompts_and_answers_on_replicas_of_their_own() -> None:
    # A byte a token, 10 bytes a second, half a second of latency. a is prefilled 0-1, leaves until 2, is there at 2.5
    # and decodes two more tokens until 4.5. b is prefilled 1-2, leaves 2-3 and is there at 3.5: it joins a's steps from
    # 3.5 on (a's step began at 2.5) and ends at 5.5. c has one token and never travels.
    trace = trace_of((0, 10, 3), (0.5, 10, 3), (1.5, 10, 1))
    link = KvLink(10.0, 0.5, float)
    pools = Pool(SECONDS, [BlockMemory()]), Pool(SECONDS, [BlockMemory()])
    found = serve_disaggregated(trace, *pools, link, WHOLE)
    assert found.first_s.tolist() == [1, 2, 3]
    assert found.last_s.tolist() == [4.5, 5.5, 3]
    assert found.replica.tolist() == [1, 1, 0]
    assert found.completed.all()
    assert (found.produced == trace.output_tokens).all()
    assert found.computed_tokens == 30 + 4
    # a has its tokens at 1, 3.5 and 4.5, b at 2, 4.5 and 5.5.
    assert sorted(np.repeat(found.gap_s, found.gap_tokens).tolist()) == [1, 1, 2.5, 2.5]


def test_a_prompt_keeps_its_room_until_it_is_sent() -> None:
    # One block of room: b waits for it until a has left at 2.
    trace = trace_of((0, 10, 2), (0, 10, 2))
    memories = [BlockMemory(blocks=1)], [BlockMemory()]
    found = serve_disaggregated(
        trace, Pool(SECONDS, memories[0]), Pool(SECONDS, memories[1]), KvLink(10, 0, float), WHOLE
    )
    assert found.first_s.tolist() == [1, 3]
    assert found.last_s.tolist() == [3, 5]


def test_waiting_for_room_while_keys_and_values_are_sent_is_idle_time() -> None:
    # One block of room on the replica for prompts: a is prefilled 0-1 and sent 1-2, and meanwhile b and c wait. The
    # router asks for loads at 1.5, in the middle of that. b: 2-3, sent 3-4. c: 4-5, sent 5-6. Each decodes for 1 s as
    # soon as it is there: until 7. Prompts compute 3 s and idle 4, answers compute 3 s and idle 4.
    trace = trace_of((0, 10, 2), (0, 10, 2), (1.5, 10, 2))
    pools = Pool(SECONDS, [BlockMemory(blocks=1)]), Pool(SECONDS, [BlockMemory()])
    found = serve_disaggregated(trace, *pools, KvLink(10, 0, float), WHOLE, routing="least-loaded")
    assert found.last_s.tolist() == [3, 5, 7]
    assert (found.parts_s["step"], found.parts_s["idle"]) == (6, 8)


def test_layers_leave_as_they_are_computed() -> None:
    # A prefill from 0 to 4 s over 4 layers. Sent in 2 s: 3 layers have left by 4, the last takes half a second.
    # Sent in 8 s: begins at 1, when the first layer is there, and ends at 9. A link busy until 6 sends it until 8.
    assert KvLink(5.0, 0, float, layers=4).sent_s(10, 0.0, 4.0, 0.0) == 4.5
    assert KvLink(1.25, 0, float, layers=4).sent_s(10, 0.0, 4.0, 0.0) == 9
    assert KvLink(5.0, 0, float, layers=4).sent_s(10, 0.0, 4.0, 6.0) == 8
    assert KvLink(5.0, 0, float).sent_s(10, 0.0, 4.0, 0.0) == 6


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 200), st.integers(1, 30)), min_size=1, max_size=30))
def test_no_request_is_lost_between_pools(requests: list[tuple[int, int, int]]) -> None:
    trace = trace_of(*sorted((at / 64, prompt, output) for at, prompt, output in requests))
    memories = [[BlockMemory(blocks=20) for _ in range(2)] for _ in range(2)]
    prefill, decode = (Pool(LinearCost(), pool) for pool in memories)
    found = serve_disaggregated(trace, prefill, decode, KvLink(1024.0, 2.0**-6, float), Scheduler(max_batch=8))
    assert found.completed.all()
    assert (found.produced == trace.output_tokens).all()
    assert all(memory.used_bytes == 0 for pool in memories for memory in pool)
    assert (found.first_s <= found.last_s).all()
