"""The engine on traces small enough to follow with a pencil, and against closed forms of queueing theory."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.serving.closed_loop import serve_closed_loop
from simulator.serving.engine import serve
from simulator.serving.scheduler import Scheduler
from tests.simulator.serving.simple import BlockMemory, LinearCost
from workloads.errors import InfeasibleError, InputError
from workloads.traces.requests import RequestTrace

SECONDS = LinearCost(step_s=1.0, token_s=0.0, context_s=0.0)


def trace_of(*requests: tuple[float, int, int], priority: list[int] | None = None) -> RequestTrace:
    arrival, prompt, output = zip(*requests, strict=True)
    ranks = None if priority is None else np.array(priority)
    return RequestTrace("by hand", np.array(arrival, np.float64), np.array(prompt), np.array(output), ranks)


THREE = trace_of((0.0, 100, 3), (0.5, 300, 2), (1.25, 50, 1))
"""Every step takes a second in the timelines below, whatever it holds."""


def test_three_requests_prefill_first() -> None:
    # 0-1 prefill of a; 1-2 prefill of b (there since 0.5), a waits; 2-3 prefill of c: its only token, it ends;
    # 3-4 a and b decode: b has its second token and ends; 4-5 a decodes its third.
    found = serve(THREE, SECONDS, BlockMemory(), Scheduler("prefill-first"))
    assert found.first_s.tolist() == [1, 2, 3]
    assert found.last_s.tolist() == [5, 4, 3]
    assert found.start_s.tolist() == [0, 1, 2]
    assert found.steps == 5
    # a has its tokens at 1, 4 and 5, b at 2 and 4.
    assert sorted(np.repeat(found.gap_s, found.gap_tokens).tolist()) == [1, 2, 3]
    assert found.computed_tokens == 450 + 2 + 1


def test_three_requests_chunked() -> None:
    # A budget of 128 tokens. 0-1: 100 of a. 1-2: a decodes, 127 of b. 2-3: a decodes its third and ends, 127 of b
    # (254). 3-4: 46 of b, which ends its prompt; 50 of c fit beside it. 4-5: b decodes its second token.
    found = serve(THREE, SECONDS, BlockMemory(), Scheduler("chunked", max_batch=4, token_budget=128))
    assert found.first_s.tolist() == [1, 4, 4]
    assert found.last_s.tolist() == [3, 5, 4]
    assert found.start_s.tolist() == [0, 1, 3]


def test_three_requests_static() -> None:
    # a is alone in the first batch: prefill, then two decodes, to 3. b and c are the second: prefill together 3-4,
    # b decodes once more.
    found = serve(THREE, SECONDS, BlockMemory(), Scheduler("static"))
    assert found.first_s.tolist() == [1, 4, 4]
    assert found.last_s.tolist() == [3, 5, 4]


def test_a_request_gives_way_and_computes_again() -> None:
    # Four blocks of 16. a: 30 tokens in 2 blocks, b: 30 in 2. 0-1 both prompts. Decodes: the first needs room for 31
    # tokens, the second for 32; the third (33) a third block: b gives way, a goes on alone and ends with its
    # sixth token after 1 + 5 steps, at 6. b had 3 tokens: at 6 it is admitted again with 33 tokens, has its fourth
    # token at 7, and its fifth and sixth at 8 and 9.
    memory = BlockMemory(blocks=4)
    found = serve(trace_of((0, 30, 6), (0, 30, 6)), SECONDS, memory, Scheduler("prefill-first"))
    assert found.last_s.tolist() == [6, 9]
    assert found.first_s.tolist() == [1, 1]
    assert found.preempted.tolist() == [0, 1]
    # b has its tokens at 1, 2, 3, 7, 8 and 9.
    assert sorted(np.repeat(found.gap_s, found.gap_tokens).tolist()) == [1.0] * 9 + [4.0]
    assert found.computed_tokens == 60 + 5 + 2 + 33 + 2
    assert memory.used_bytes == 0


def test_a_request_gives_way_and_is_moved_out_and_back() -> None:
    # As above, but b is moved out in 2 s before the third decode, so that a ends at 3 + 2 + 3 = 8, and moved back in
    # 2 s: its fourth token is there at 11, its sixth at 13.
    memory = BlockMemory(blocks=4, park_s=2.0)
    found = serve(trace_of((0, 30, 6), (0, 30, 6)), SECONDS, memory, Scheduler("prefill-first", preemption="park"))
    assert found.last_s.tolist() == [8, 13]
    assert found.computed_tokens == 60 + 5 + 5
    assert found.parts_s["kv wait"] == 4


def test_priorities_and_short_answers_pass_others() -> None:
    one = Scheduler("prefill-first", max_batch=1)
    requests = ((0.0, 10, 2), (0.5, 10, 3), (0.75, 10, 1))
    assert serve(trace_of(*requests), SECONDS, BlockMemory(), one).last_s.tolist() == [2, 5, 6]
    shortest = Scheduler("prefill-first", max_batch=1, policy="shortest")
    assert serve(trace_of(*requests), SECONDS, BlockMemory(), shortest).last_s.tolist() == [2, 6, 3]
    urgent = Scheduler("prefill-first", max_batch=1, policy="priority")
    trace = trace_of(*requests, priority=[0, 5, 1])
    assert serve(trace, SECONDS, BlockMemory(), urgent).last_s.tolist() == [2, 6, 3]


def test_a_prefix_that_is_there_is_not_computed() -> None:
    found = serve(trace_of((0, 100, 1)), LinearCost(0, 1.0, 0), BlockMemory(shared=64), Scheduler())
    assert found.ttft_s.tolist() == [36]
    assert (found.computed_tokens, found.reused_tokens) == (36, 64)


def test_what_does_not_fit_alone_is_rejected() -> None:
    found = serve(trace_of((0, 10, 2), (0, 100, 2), (0, 10, 2)), SECONDS, BlockMemory(blocks=4), Scheduler())
    assert found.rejected.tolist() == [False, True, False]
    assert found.completed.tolist() == [True, False, True]
    with pytest.raises(InfeasibleError):
        serve(trace_of((0, 100, 2)), SECONDS, BlockMemory(blocks=4), Scheduler())


def test_a_queue_with_fixed_arrivals_and_service_never_waits_below_its_rate() -> None:
    # D/D/1: one request a second of 0.75 s each: nobody waits, the engine idles a quarter of the time.
    requests = [(float(at), 10, 3) for at in range(100)]
    found = serve(trace_of(*requests), LinearCost(0.25, 0, 0), BlockMemory(), Scheduler("static", max_batch=1))
    assert found.e2e_s.tolist() == [0.75] * 100
    assert found.parts_s["idle"] == 0.25 * 99


def test_a_queue_with_random_arrivals_waits_as_long_as_queueing_theory_says() -> None:
    # M/D/1, Pollaczek and Khinchine: mean wait rho / (2 mu (1 - rho)). 20,000 requests at rho = 0.5: the wait has a
    # standard deviation of about its mean and is correlated over a few requests, so that the mean is good to 4 %.
    arrivals = np.cumsum(np.random.default_rng(7).exponential(2.0, 20_000))
    trace = RequestTrace("poisson", arrivals, np.full(20_000, 10), np.full(20_000, 2))
    found = serve(trace, LinearCost(0.5, 0, 0), BlockMemory(), Scheduler("static", max_batch=1))
    assert float((found.start_s - found.arrival_s).mean()) == pytest.approx(0.5, rel=0.04)


def test_clients_of_a_closed_loop_keep_the_engine_as_full_as_they_are_many() -> None:
    # 4 clients, prompts of one step, 5 tokens: every batch of four takes 5 s; 20 requests take 25 s.
    found = serve_closed_loop(100, 5, 4, 20, SECONDS, BlockMemory(), Scheduler("prefill-first"))
    assert found.makespan_s == 25
    assert set(found.e2e_s.tolist()) == {5}
    assert found.tpot_s.tolist() == [1.0] * 20
    with pytest.raises(InputError, match="at least 1"):
        serve_closed_loop(100, 5, 0, 20, SECONDS, BlockMemory(), Scheduler())


def test_schedulers_say_what_they_do_not_know() -> None:
    with pytest.raises(InputError, match="did you mean 'chunked'"):
        Scheduler("chunk")
    with pytest.raises(InputError, match="token_budget: 64 tokens a step for up to 128 sequences"):
        Scheduler(token_budget=64)
