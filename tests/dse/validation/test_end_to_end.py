"""Measured phases of whole models: rows that took no part in any fit, and what each column of a row changes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from dse.validation.calibration import held_out
from dse.validation.end_to_end import predict_phase
from dse.validation.engines import engine_of
from dse.validation.machines import Skipped
from dse.validation.measurements import Measurement, read_measurements
from tests.reference_data import reference_file


@lru_cache(maxsize=1)
def held_out_rows() -> tuple[Measurement, ...]:
    rows = read_measurements(reference_file("gpu_measurements.csv"))
    return tuple(row for row, out in zip(rows, held_out(rows), strict=True) if out and row.op == "e2e")


def errors(rows: list[Measurement]) -> np.ndarray:
    """Relative errors of those rows that have a prediction."""
    found = [(predict_phase(row), row.latency_s) for row in rows]
    return np.array([seconds / measured - 1 for seconds, measured in found if not isinstance(seconds, Skipped)])


def row(**given: object) -> Measurement:
    text = {"id": "1", "gpu": "H100-SXM-80GB", "framework": "vllm 0.12.0", "op": "e2e", "phase": "tpot", "dtype": ""}
    numbers = {"tp": 1, "batch": 8, "q_len": 256, "kv_len": 320}
    numbers |= {name: value for name, value in given.items() if isinstance(value, int)}
    text |= {name: value for name, value in given.items() if isinstance(value, str)}
    return Measurement(**{"model": "Llama-3.1-8B"} | text, numbers=numbers, latency_s=1.0)


def test_tokens_after_the_first_of_engines_of_2023() -> None:
    """Static batches of vLLM on A100 and H100, Llama-2-70B and BLOOM-176B: 50 rows within 12 % in the median."""
    found = errors([row for row in held_out_rows() if row.framework == "vLLM (2023)" and row.phase == "tpot"])
    assert len(found) == 50
    assert np.median(abs(found)) <= 0.12


@pytest.mark.parametrize("engine", ["sglang-0.5", "tensorrt-llm-1", "vllm-0.12", "vllm-0.18"])
def test_tokens_after_the_first_of_closed_loops(engine: str) -> None:
    """Every third held-out row of each engine with up to 32 clients: within 12 % in the median."""
    rows = [
        row
        for row in held_out_rows()
        if row.phase == "tpot"
        and row.numbers["batch"] <= 32
        and getattr(engine_of(row.framework), "name", "") == engine
    ]
    found = errors(rows[::3])
    assert len(found) >= 3
    assert np.median(abs(found)) <= 0.12


@pytest.mark.slow
def test_tokens_after_the_first_of_all_rows() -> None:
    """213 held-out rows of all engines: 12 % in the median."""
    found = errors([row for row in held_out_rows() if row.phase == "tpot"])
    assert len(found) >= 200
    assert np.median(abs(found)) <= 0.12


def test_first_tokens_of_requests_that_run_alone() -> None:
    """vLLM of 2023 and TensorRT-LLM 0.5 with one request: within 20 % in the median, so on either GPU."""
    rows = [row for row in held_out_rows() if row.phase == "ttft" and row.numbers["batch"] == 1]
    for gpu in ("A100", "H100"):
        found = errors([row for row in rows if row.gpu.startswith(gpu)])
        assert len(found) >= 15
        assert np.median(abs(found)) <= 0.20


def test_throughput_of_static_batches() -> None:
    """TensorRT-LLM 0.5 and 0.6.1, keys and values in fp8 where the weights are: within 20 % in the median."""
    found = errors([row for row in held_out_rows() if row.phase == "throughput"])
    assert len(found) == 6
    assert np.median(abs(found)) <= 0.20


def seconds(**given: object) -> float:
    found = predict_phase(row(**given))
    assert not isinstance(found, Skipped)
    return found


@pytest.mark.parametrize(
    "other",
    [
        {"tp": 2},
        {"batch": 16},
        {"q_len": 300, "kv_len": 364},
        {"kv_len": 400},
        {"dtype": "fp8"},
        {"gpu": "A100-SXM4-80GB"},
        {"framework": "sglang 0.5.1"},
        {"framework": "vllm 0.18.0"},
        {"model": "Llama-2-7B"},
        {"phase": "throughput", "framework": "TensorRT-LLM 0.5"},
    ],
    ids=str,
)
def test_every_column_matters(other: dict[str, object]) -> None:
    assert seconds(**other) != seconds()


def test_a_static_batch_by_its_steps() -> None:
    """One prompt of 256 and 64 tokens more: throughput is the time to the first token and 63 steps over 64 tokens."""
    static = {"framework": "vLLM (2023)", "batch": 1}
    first, token = seconds(phase="ttft", **static), seconds(**static)
    assert seconds(phase="throughput", **static) == pytest.approx((first + 63 * token) / 64)


def test_one_client_waits_for_its_steps_alone() -> None:
    """Then the time per token is that of a step; with more clients the others' prompts come between."""
    alone, eight = seconds(batch=1), seconds(batch=8)
    assert alone < eight
    assert seconds(batch=1, q_len=2560, kv_len=2624) < seconds(batch=8, q_len=2560, kv_len=2624)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"model": "no-such-model"}, "model"),
        ({"gpu": "no-such-gpu"}, "preset"),
        ({"framework": "no-such-engine"}, "framework"),
        ({"phase": "no-such-phase"}, "phase"),
        ({"phase": "ttft", "batch": 8}, "queueing"),
        ({"model": "Llama-2-70B", "tp": 1}, "cannot hold"),
        ({"tp": 3}, "split"),
    ],
    ids=str,
)
def test_rows_without_a_prediction_say_why(given: dict[str, object], why: str) -> None:
    found = predict_phase(row(**given))
    assert isinstance(found, Skipped)
    assert why in found.why
