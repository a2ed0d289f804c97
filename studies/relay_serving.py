"""RelayAttention end to end: requests that all begin with one system prompt, served on one device.

The serving engine is asked for the same requests three times: every request keeps and reads the whole prompt
(``vllm``), prompts share memory (``vllm+pc``), and what is shared is read once too (``vllm+``). Kernels and host are
those measured with a later vLLM: it replays graphs, as 0.2.6 does, and its kernels are of a device of the same
generation. ``software=none`` has the device's stated rates, no launches and no host: a bound.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from hw.spec.load import load_system, override_values
from simulator.serving.cost import ResidentStepCost, step_cost
from simulator.serving.engine import serve
from simulator.serving.kv.choice import kv_memory
from simulator.serving.kv.sizes import kv_sizes
from simulator.serving.parallel import Parallel
from simulator.serving.scheduler import Scheduler
from studies.frame.constants import derived, fitted, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Published, Study, Value
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.stored_formats import stored_formats
from workloads.traces.requests import RequestTrace

__all__ = ["STUDY"]

MODELS = ("llama-2-7b", "llama-2-13b", "mistral-7b", "phi-2")
MODES = ("vllm", "vllm+pc", "vllm+")
_REPOSITORY = "rayleizhu/vllm-ra at 46a1ce0"
CONSTANTS = {
    "bandwidth": of_machine("a40", "tiers.gddr.read_bandwidth"),
    "tensor_rate": of_machine("a40", "engines.tensor.throughput"),
    "capacity": of_machine("a40", "tiers.gddr.capacity"),
    "requests": stated(1000, "", "section 4.3: requests, all there from the beginning"),
    "lengths": derived((251, 232), "", f"means of ShareGPT as filtered, {_REPOSITORY}, stat/dataset: 250.9 and 231.5"),
    "sequences": stated(256, "", "vLLM 0.2.6, max_num_seqs"),
    "tokens": stated(
        2048, "", "vLLM 0.2.6: new tokens of a step, at least 2,048, or as many as the model has positions"
    ),
    "share": stated(0.9, "", "vLLM 0.2.6, gpu_memory_utilization"),
    "block": stated(16, "", "vLLM 0.2.6, block_size"),
    "kernels": fitted(
        "vllm-0.14", "", "kernels in graphs, to vLLM 0.14 on an A100; host, to vLLM 0.12 on an H100 (mappers/kernels)"
    ),
}


@cache
def _cost(name: str, device: str, software: str, keys_of_queries: bool = False) -> ResidentStepCost:
    """What steps cost; with ``keys_of_queries`` there are as many heads of keys as of queries."""
    made, system = model(name), load_system(device)
    if keys_of_queries:
        blocks = tuple(
            replace(block, attention=replace(block.attention, kv_heads=block.attention.heads))
            for block in made.blocks
            if block.attention is not None
        )
        made = replace(made, blocks=blocks)
    if software == "none":
        free = {f"engines.{engine}.launch_overhead": 0.0 for engine in ("tensor", "vector")}
        system = override_values(system, free)
    cost = step_cost(
        made, system, parallel=Parallel(tensor=1), formats=stored_formats(made),
        fidelity="roofline" if software == "none" else "kernel", software=None if software == "none" else software,
    )  # fmt: skip
    assert isinstance(cost, ResidentStepCost)
    return cost


@cache
def _rate(
    name: str, device: str, software: str, mode: str, prompt: int, own: int, output: int, keys_of_queries: bool = False
) -> float:
    """Requests a second, until the last of all has ended."""
    made, system, cost = model(name), load_system(device), _cost(name, device, software, keys_of_queries)
    block, count = CONSTANTS["block"].value, CONSTANTS["requests"].value
    longest = made.max_positions
    if longest is not None and prompt + own + output > longest:
        problem = f"{prompt + own + output} tokens in a sequence of {made.name}"
        raise InputError(problem, f"at most {longest}", "--config prompt")
    shared = prompt // block
    others = -(-(prompt + own) // block) - shared
    blocks = tuple(
        [*range(shared), *range(shared + number * others, shared + (number + 1) * others)] for number in range(count)
    )
    trace = RequestTrace(
        "one system prompt", np.zeros(count), np.full(count, prompt + own), np.full(count, output), blocks=blocks,
        block_tokens=block,
    )  # fmt: skip
    home = cost.ops.home
    room = CONSTANTS["share"].value * system.tiers[home].capacity_bytes - _cost(name, device, software).weight_bytes
    memory = kv_memory(
        f"paged:{block}" if mode == "vllm" else f"prefix:{block}",
        kv_sizes(made, stored_formats(made), 1), system, room, home=home, most_tokens=longest, prefix_tokens=block,
    )  # fmt: skip
    scheduler = Scheduler(
        "prefill-first", CONSTANTS["sequences"].value, max(CONSTANTS["tokens"].value, longest or 0),
        relay=mode == "vllm+",
    )  # fmt: skip
    last_s = float(np.max(serve(trace, cost, memory, scheduler).last_s))
    return float(count / last_s)


def _simulate(config: Config) -> dict[str, float]:
    name, device, mode = (str(config[key]) for key in ("model", "device", "mode"))
    lengths = (int(config["prompt"]), int(config["own"]), int(config["output"]))
    return {"rate": _rate(name, device, str(config["software"]), mode, *lengths)}


def _grouped_queries() -> str:
    """Mistral with keys and values read for each of its heads of queries."""
    lengths = (512, *CONSTANTS["lengths"].value)
    parts = []
    for mode, published in zip(MODES, _RATES[4][2], strict=True):
        once, each = (_rate("mistral-7b", "a40", "vllm-0.14", mode, *lengths, anew) for anew in (False, True))
        parts.append(f"{mode} {once:.2f} and {each:.2f}, published {published}")
    return (
        f"Mistral-7B, 512 shared tokens, requests a second with keys read once, and once for each of four heads of "
        f"queries: {'; '.join(parts)}. A cache on the chip lies between the two."
    )


_SHAREGPT = f"{_REPOSITORY}, stat/noninteractive_bench_sharegpt"
_SYNTHETIC = f"{_REPOSITORY}, stat/noninteractive_bench_synthetic"
# Model, tokens of the system prompt, requests a second of the three modes.
_RATES: tuple[tuple[str, int, tuple[float, ...]], ...] = (
    ("llama-2-7b", 64, (3.95, 4.06, 4.20)),
    ("llama-2-7b", 512, (2.27, 3.26, 4.15)),
    ("llama-2-7b", 1024, (1.49, 2.64, 4.07)),
    ("llama-2-7b", 2048, (0.912, 1.90, 3.97)),
    ("mistral-7b", 512, (3.68, 5.40, 5.91)),
    ("mistral-7b", 1024, (2.60, 4.92, 5.85)),
    ("phi-2", 512, (5.03, 6.29, 8.85)),
    ("phi-2", 1024, (3.54, 4.82, 8.76)),
)
# Tokens of the system prompt; 64 and 128 tokens of their own and answered; modes vllm and vllm+.
_EQUAL = ((64, 13.6, 17.8), (512, 4.87, 17.7), (2048, 1.50, 17.0))


def _rows() -> list[Published]:
    rows: list[Published] = []
    for name, prompt, rates in _RATES:
        for mode, rate in zip(MODES, rates, strict=True):
            at: dict[str, Value] = {"model": name, "prompt": prompt, "mode": mode}
            rows.append(Published("rate", at, rate, _SHAREGPT))
    for prompt, *pair in _EQUAL:
        for mode, rate in zip(("vllm", "vllm+"), pair, strict=True):
            at = {"prompt": prompt, "own": 64, "output": 128, "mode": mode}
            rows.append(Published("rate", at, rate, _SYNTHETIC))
    return rows


STUDY = Study(
    title="RelayAttention in serving",
    claim="A chatbot with a shared system prompt serves up to 2.2 times the requests of vLLM.",
    source="Zhu et al., ACL 2024, arXiv 2402.14808, with the measurements of rayleizhu/vllm-ra at 46a1ce0",
    machine="one A40",
    workload="1,000 requests at once behind one system prompt, of ShareGPT's mean lengths or of equal ones",
    policy="prompts' blocks shared in memory, and what all share read once for all that decode",
    baseline="paged memory without sharing (vllm), and with sharing alone (vllm+pc), on the same device",
    keys={
        "model": Key("llama-2-7b", "model", choices=MODELS),
        "device": Key("a40", "machine", choices=("a40", "a100-40gb-pcie", "a100-80gb-sxm")),
        "mode": Key("vllm+", "vllm: nothing shared, vllm+pc: memory shared, vllm+: read once too", choices=MODES),
        "prompt": Key(512, "tokens of the system prompt", low=16, high=16384),
        "own": Key(251, "tokens of a request's own", low=1, high=8192),
        "output": Key(232, "tokens of an answer", low=1, high=8192),
        "software": Key(
            "vllm-0.14",
            "whose kernels and host; none: stated rates",
            choices=("vllm-0.14", "vllm-0.24", "torch-2024", "none"),
        ),
    },
    constants=CONSTANTS,
    metrics={"rate": Metric("requests a second, until the last has ended", "", tuple(CONSTANTS))},
    published=_rows(),
    simulate=_simulate,
    misses=(
        Miss(
            ("rate",),
            "Mistral's four heads of queries for each of keys: vLLM 0.2.6 runs a block of threads for each head of "
            "queries, which reads its keys for itself; and what its host takes for a step is not known.",
            _grouped_queries,
        ),
    ),
)
