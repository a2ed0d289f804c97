"""What is published of serving engines, where it follows from scheduling and memory alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hw.spec.load import load_system
from simulator.serving.closed_loop import serve_closed_loop
from simulator.serving.cost import step_cost
from simulator.serving.engine import first_requests, serve
from simulator.serving.kv.choice import kv_capacity_bytes, kv_memory
from simulator.serving.kv.memory import KvMemory
from simulator.serving.kv.sizes import kv_sizes
from simulator.serving.metrics import summary
from simulator.serving.parallel import Parallel
from simulator.serving.result import ServingResult
from simulator.serving.scheduler import Scheduler
from simulator.serving.step import StepCost
from tests.reference_data import reference_file
from workloads.models.catalogue import model
from workloads.traces.named import requests_of
from workloads.traces.readers import read_requests
from workloads.traces.requests import RequestTrace


@cache
def eight_billion() -> tuple[StepCost, KvMemory]:
    llama, system = model("llama-3-8b"), load_system("a100-80gb-sxm")
    return step_cost(llama, system), kv_memory("paged", kv_sizes(llama), system, kv_capacity_bytes(llama, system))


def served(scheduler: Scheduler, rate: float, count: int = 400) -> ServingResult:
    cost, memory = eight_billion()
    return serve(requests_of(f"azure-conversation-like:{count}@{rate}", 3), cost, memory, scheduler)


def test_reserving_the_longest_sequence_leaves_room_for_seven() -> None:
    # vLLM (SOSP 2023): 12 GB (of 2**30 bytes) for the cache of OPT-13B on a 40 GB A100 are 15.7 thousand slots
    # (table 1), of which Orca (Max) reserves the 2,048 of the longest sequence for each: 7.00 requests batched
    # (figure 13a).
    opt, system = model("opt-13b"), load_system("a100-40gb-sxm")
    sizes = kv_sizes(opt)
    assert 12 * 2**30 / sizes.token_bytes == pytest.approx(15.7e3, rel=0.01)
    memory = kv_memory("contiguous:max", sizes, system, 15.7e3 * sizes.token_bytes, most_tokens=2048)
    found = serve_closed_loop(161, 338, 64, 128, step_cost(opt, system), memory, Scheduler("prefill-first"))
    assert found.timelines[0].peak("running") == 7


def test_pieces_of_prompts_do_not_stall_those_who_read() -> None:
    # Sarathi-Serve (OSDI 2024, sections 1 and 5): whole prompts in between hold up running requests, pieces of a
    # bounded number of tokens do not; the tail of the time between tokens falls several times.
    whole = summary(served(Scheduler("prefill-first"), 8.0))
    pieces = summary(served(Scheduler("chunked", token_budget=512), 8.0))
    assert pieces["tbt_s"]["p99"] < whole["tbt_s"]["p99"] / 2


def test_batches_that_wait_for_their_longest_serve_fewer() -> None:
    # Orca (OSDI 2022): scheduling by iteration serves several times as much as by request, at the same latency.
    # Here: more at saturation.
    by_request = served(Scheduler("static", max_batch=32), 100.0)
    by_iteration = served(Scheduler("prefill-first", max_batch=32), 100.0)
    assert by_iteration.makespan_s < by_request.makespan_s / 1.5


def azure(count: int | None) -> tuple[RequestTrace, ServingResult]:
    trace = read_requests(reference_file("traces/AzureLLMInferenceTrace_conv.csv"))
    trace = trace if count is None else first_requests(trace, count)
    llama = model("llama-2-70b")
    system = load_system("a100-80gb-sxm").model_copy(update={"devices": 4})
    memory = kv_memory("paged:16", kv_sizes(llama, devices=4), system, kv_capacity_bytes(llama, system))
    cost = step_cost(llama, system, parallel=Parallel(tensor=4))
    return trace, serve(trace, cost, memory)


def check_azure(trace: RequestTrace, result: ServingResult) -> None:
    assert result.completed.all()
    assert (result.produced == trace.output_tokens).all()
    assert result.computed_tokens == trace.prompt_tokens.sum() + (trace.output_tokens - 1).sum()
    assert (np.diff(result.start_s) >= 0).all()
    timeline = result.timelines[0]
    assert (timeline.used_bytes <= timeline.capacity_bytes).all()
    assert sum(result.parts_s.values()) == pytest.approx(result.makespan_s)


def test_the_first_requests_of_the_azure_conversation_trace() -> None:
    trace, result = azure(1000)
    check_azure(trace, result)


@pytest.mark.slow
def test_the_whole_azure_conversation_trace() -> None:
    trace, result = azure(None)
    check_azure(trace, result)
    assert len(trace) == 19_366
