"""Predictions for measured phases of whole models, by the serving simulation.

Rows of a closed loop name the number of clients as their batch: the engine is simulated with so many clients, and the
first request of each, which all come at once, is left out. Rows of one static batch
read all prompts in one step, then decode them together. The prompt is ``q_len``, the answer ``kv_len`` less that.

Rows without a dtype are run in bf16: in fp8 the rows of Qwen3-32B under vLLM 0.12 and SGLang 0.5 would take 20 to 35 %
longer than predicted, in bf16 they take what is predicted within 5 %. Rows of 512 clients (vLLM 0.11.2 and without a
version) are faster than those of 64 clients of the same model and GPUs: so many sequences did not run, and what is
predicted is far too long.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

import numpy as np

from dse.validation.engines import Engine, engine_of
from dse.validation.machines import FORMATS, Skipped, measured_system, preset_of
from dse.validation.measurements import Measurement
from simulator.serving.closed_loop import serve_closed_loop
from simulator.serving.cost import ResidentStepCost, step_cost
from simulator.serving.host import NO_HOST, Host
from simulator.serving.kv.paged import PagedMemory
from simulator.serving.kv.sizes import kv_sizes
from simulator.serving.parallel import Parallel
from simulator.serving.scheduler import Scheduler
from simulator.serving.step import StepBatch, StepCost
from workloads.errors import InfeasibleError, InputError
from workloads.models.architecture import Model
from workloads.models.catalogue import model, model_names
from workloads.models.stored_formats import stored_formats

__all__ = ["PHASES", "predict_phase"]

PHASES = ("ttft", "tpot", "throughput")
"""Time to the first token, time per token after it, and time of a static batch over the tokens of one answer."""

MOST_REQUESTS = 256
"""Requests that are counted in a closed loop, at most three of each client."""

MOST_SEQUENCES = 1024
"""Sequences that may run at once: vLLM's max_num_seqs for large GPUs and trtllm-serve's max_batch_size."""

MEMORY_SHARE = 0.9
"""Part of a GPU's memory that engines take: vLLM's gpu_memory_utilization, TensorRT-LLM's free_gpu_memory_fraction."""


def predict_phase(
    row: Measurement, fidelity: str = "kernel", *, host: Host | None = None, queueing: bool = False
) -> float | Skipped:
    """Seconds of a row of `PHASES`, or why there is none; times to the first token only where nothing queues.

    ``host`` stands in for that measured with the row's engine. With ``queueing`` times to the first token are given
    under concurrency too: they hang on when clients begin, which rows do not say.
    """
    found, size = _catalogue_model(row.model), row.numbers
    engine, preset = engine_of(row.framework), preset_of(row.gpu)
    if found is None:
        return Skipped(f"model {row.model}")
    if isinstance(preset, Skipped):
        return preset
    if row.phase not in PHASES:
        return Skipped(f"phase {row.phase or 'not recorded'}")
    if engine is None:
        return Skipped(f"framework {row.framework or 'not recorded'}")
    if row.phase == "ttft" and size["batch"] > 1 and not queueing:
        return Skipped("time to first token under concurrency holds queueing")
    if host is None:
        host = engine.host(preset) if fidelity == "kernel" else NO_HOST
    return _predicted(row.phase, engine, preset, found.name, row.dtype, _shape(row), fidelity, host)


def _shape(row: Measurement) -> tuple[int, int, int, int]:
    """Devices, sequences, prompt and answer."""
    size = row.numbers
    return size.get("tp", 1), size["batch"], size["q_len"], size["kv_len"] - size["q_len"]


def _predicted(
    phase: str,
    engine: Engine,
    preset: str,
    name: str,
    dtype: str,
    shape: tuple[int, int, int, int],
    fidelity: str,
    host: Host,
) -> float | Skipped:
    devices, sequences, prompt, answer = shape
    try:
        unnamed = replace(engine, name="", batching="static")
        cost = _cost(unnamed, preset, name, dtype, devices, fidelity).with_host(host)
        if engine.batching == "static":
            return _static(cost, phase, sequences, prompt, answer)
        first_s, token_s = _closed_loop(cost, engine, sequences, prompt, answer)
    except (InfeasibleError, InputError) as error:
        return Skipped(str(error))
    return first_s if phase == "ttft" else token_s


@lru_cache(maxsize=256)
def _cost(engine: Engine, preset: str, name: str, dtype: str, devices: int, fidelity: str) -> ResidentStepCost:
    found = model(name)
    # Mixtures whose experts are stored in four bits are run so whatever the row calls them.
    formats = FORMATS[dtype] if found.expert_weight_format is None else stored_formats(found)
    if engine.kv_fp8 and dtype == "fp8":
        formats = replace(formats, kv_cache="fp8_e4m3")
    cost = step_cost(
        replace(found, max_positions=None),
        engine.on(measured_system(preset, 1)),
        parallel=Parallel(tensor=devices),
        formats=formats,
        fidelity=fidelity,
        software=engine.software if fidelity == "kernel" else None,
        host=NO_HOST,
    )
    assert isinstance(cost, ResidentStepCost)
    return cost


def _static(cost: StepCost, phase: str, sequences: int, prompt: int, answer: int) -> float:
    """One batch of prompts in one step, and its decode steps, in which contexts grow from the prompt's on."""
    first = cost.step(StepBatch(chunks=((prompt, 0),) * sequences, ends=sequences)).seconds
    if phase == "ttft":
        return first
    steps = max(1, answer - 1)
    decoding = cost.decode_run(StepBatch(decodes=sequences, decode_context=sequences * (prompt + 1)), steps).seconds
    return decoding / steps if phase == "tpot" else (first + decoding) / answer


def _closed_loop(cost: ResidentStepCost, engine: Engine, clients: int, prompt: int, answer: int) -> tuple[float, float]:
    """Mean times to the first token and per token after it, of all but the clients' first requests."""
    capacity = MEMORY_SHARE * cost.home_bytes - cost.weight_bytes
    parallel = cost.parallel
    memory = PagedMemory(
        kv_sizes(cost.ops.model, cost.ops.formats, parallel.tensor), parallel.replica_devices * capacity
    )
    scheduler = Scheduler(engine.batching, max_batch=MOST_SEQUENCES, token_budget=engine.token_budget)
    counted = min(3 * clients, MOST_REQUESTS)
    result = serve_closed_loop(prompt, answer, clients, clients + counted, cost, memory, scheduler)
    first_s, last_s = result.first_s[clients:], result.last_s[clients:]
    token_s = (last_s - first_s) / max(1, answer - 1)
    return float(np.mean(first_s - result.arrival_s[clients:])), float(np.mean(token_s))


ALIASES = {"llama-7b": "Llama-2-7B"}
"""Measured names of models whose shapes stand in the catalogue under another name."""


@lru_cache(maxsize=64)
def _catalogue_model(name: str) -> Model | None:
    plain = re.sub(r"-(instruct|fp8|chat|hf)$", "", name.split("/")[-1], flags=re.IGNORECASE).casefold()
    plain = ALIASES.get(plain, plain).casefold()
    match = next((known for known in model_names() if known.casefold() == plain), None)
    return None if match is None else model(match)
