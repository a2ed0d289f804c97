"""Metrics of a run small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.serving.engine import serve
from simulator.serving.metrics import Objectives, distribution, summary
from simulator.serving.scheduler import Scheduler
from tests.simulator.serving.simple import BlockMemory, LinearCost
from workloads.traces.requests import RequestTrace

SECONDS = LinearCost(step_s=1.0, token_s=0.0, context_s=0.0)


def trace_of(*requests: tuple[float, int, int]) -> RequestTrace:
    arrival, prompt, output = zip(*requests, strict=True)
    return RequestTrace("by hand", np.array(arrival, np.float64), np.array(prompt), np.array(output))


def test_quantiles_of_a_hundred_values() -> None:
    # 1 to 101: the p-th percentile lies p hundredths of the way from the first to the last.
    found = distribution(np.arange(1.0, 102.0))
    assert found == {"mean": 51.0, "p50": 51.0, "p90": 91.0, "p95": 96.0, "p99": 100.0, "max": 101.0}
    assert set(distribution(np.array([])).values()) == {None}


def test_two_requests() -> None:
    # a: prefill 0-1, waits while b (there at 0.5) is prefilled 1-2, decodes 2-3 and 3-4. b decodes 2-3. Energy: 8 W of
    # four busy seconds. 28 tokens in 2 blocks of 16; the first decode needs 1 token more, still in the blocks.
    found = summary(
        serve(trace_of((0, 14, 3), (0.5, 14, 2)), SECONDS, BlockMemory(blocks=4), Scheduler("prefill-first")),
        Objectives(ttft_s=1.0, tpot_s=1.0, price_per_device_hour=1800.0, devices=2, idle_power_w=5.0),
    )
    assert (found["requests"], found["completed"], found["rejected"]) == (2, 2, 0)
    assert (found["tokens_in"], found["tokens_out"], found["steps"]) == (28, 5, 4)
    assert found["simulated_s"] == 4
    assert found["ttft_s"]["mean"] == (1 + 1.5) / 2
    assert found["tpot_s"]["mean"] == (1.5 + 1.0) / 2  # a: (4 - 1) / 2, b: 3 - 2
    assert found["e2e_s"]["max"] == 4
    assert found["normalised_s"]["max"] == 4 / 3
    assert found["throughput_tokens_per_s"] == 5 / 4
    assert found["throughput_requests_per_s"] == 2 / 4
    # a's first token is in time but the others are not, b the other way round.
    assert found["goodput"] == {"requests_per_s": 0.0, "share": 0.0, "ttft_s": 1.0, "tpot_s": 1.0}
    assert (found["energy_j"], found["energy_j_per_token"]) == (32, 32 / 5)
    assert found["price"] == pytest.approx(2 * 1800 * 4 / 3600)
    assert found["price_per_million_tokens_out"] == pytest.approx(4e6 / 5)
    # One block until 1, two until 3, then one (a's 16th token): in all 6 of 16 block seconds.
    assert found["kv"]["occupancy"] == 6 / 16
    # Held: 14 tokens 0-1, 28 1-2, 30 2-3, 16 3-4, of 16 tokens a block.
    assert found["kv"]["waste"] == pytest.approx(1 - (14 + 28 + 30 + 16) / (6 * 16))
    assert found["kv"]["peak_used_bytes"] == 32
    assert found["batch"] == {"mean": (1 + 2 + 2 + 1) / 4, "peak": 2}
    assert found["parts_s"]["step"] == 4


def test_idle_power_and_goodput_of_one_objective() -> None:
    # Idle from 1 to 10: 9 s at 5 W beside 2 s of steps at 8 W.
    found = summary(
        serve(trace_of((0, 14, 1), (10, 14, 1)), SECONDS, BlockMemory(), Scheduler()),
        Objectives(ttft_s=1.0, idle_power_w=5.0),
    )
    assert found["energy_j"] == 16 + 45
    assert found["goodput"]["share"] == 1
    assert found["goodput"]["requests_per_s"] == 2 / 11
    assert "price" not in found


def test_nothing_done_yet_is_told_without_numbers() -> None:
    result = serve(trace_of((0, 14, 1)), SECONDS, BlockMemory(), Scheduler(), stop=lambda: True)
    found = summary(result)
    assert found["interrupted"] is True
    assert (found["completed"], found["throughput_tokens_per_s"], found["goodput"]) == (0, None, None)
    assert found["ttft_s"]["p50"] is None
