"""vAttention: keys and values contiguous in virtual addresses, memory mapped under them page by page.

Page sizes in tokens, lost ends and mapping come from the memory of the serving simulator; requests are served with it
and with blocks of 16 tokens (vLLM) on the same kernels, so that memory alone tells them apart.
"""

from __future__ import annotations

from functools import cache

from hw.spec.load import load_system
from hw.spec.system import System
from simulator.serving.closed_loop import serve_closed_loop
from simulator.serving.cost import step_cost
from simulator.serving.kv.choice import kv_capacity_bytes
from simulator.serving.kv.memory import KvMemory
from simulator.serving.kv.paged import PagedMemory
from simulator.serving.kv.pages import PageTable, VirtualMemory
from simulator.serving.kv.sizes import kv_sizes
from simulator.serving.parallel import Parallel
from simulator.serving.result import ServingResult
from simulator.serving.scheduler import Scheduler
from simulator.serving.step import StepBatch, StepCost
from studies.frame.constants import derived, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Miss, Published, Study, Value
from workloads.models.catalogue import model

__all__ = ["STUDY"]

MACHINE = "a100-80gb-sxm"
MODELS = ("Yi-6B", "Llama-3-8B", "Yi-34B", "Llama-2-7B", "Llama-2-13B", "Llama-3-70B", "Mistral-7B", "Qwen2.5-14B")
KIB, AGES, SEQUENCES = 1024, 200, 1024

CONSTANTS = {
    "page": stated((64, 128, 256, 2048), "KiB", "section 6: pages of CUDA, 2 MB, and of the modified driver"),
    "kv": derived(131072, "B", "keys and values of a token of Llama-3-8B: 2 x 32 layers x 8 heads x 128 x 2 B"),
    "capacity": of_machine(MACHINE, "tiers.hbm.capacity"),
    "bandwidth": of_machine(MACHINE, "tiers.hbm.read_bandwidth"),
    "rate": stated(312e12, "1/s", "NVIDIA A100 Tensor Core GPU Architecture white paper, 2020: bf16, dense"),
    "launch": of_machine(MACHINE, "engines.tensor.launch_overhead"),
    "share": stated(0.9, "", "vLLM's gpu_memory_utilization"),
    "map": synthetic(40e-6, "s", "mapping a page: CUDA's calls to create, map and allow access take tens of us"),
}


def _system(config: Config) -> System:
    return load_system(MACHINE).model_copy(update={"devices": int(config["devices"])})


def _memory(config: Config, paged: bool, hidden_s: float = 0.0) -> KvMemory:
    found, system = model(str(config["model"])), _system(config)
    sizes, capacity = kv_sizes(found, devices=system.devices), kv_capacity_bytes(found, system)
    if paged:
        return PagedMemory(sizes, capacity, 16)
    page, seconds = int(config["page"]) * KIB, float(config["map_us"]) * 1e-6
    return VirtualMemory(sizes, capacity, page, map_s=seconds, hidden_s=hidden_s, joined=bool(config["joined"]))


def _cost(config: Config) -> StepCost:
    system = _system(config)
    return step_cost(model(str(config["model"])), system, parallel=Parallel(tensor=system.devices))


@cache
def _served(items: tuple[tuple[str, Value], ...], paged: bool, waiting: bool) -> ServingResult:
    config = dict(items)
    cost, layers = _cost(config), len(model(str(config["model"])).order)
    prompt, answer, requests = int(config["prompt"]), int(config["answer"]), int(config["requests"])
    # A layer's pages are mapped while the layer before computes: all but those of the first.
    hidden_s = 0.0 if waiting else cost.step(StepBatch(((prompt, 0),))).seconds * (layers - 1) / layers
    memory, batch = _memory(config, paged, hidden_s), int(config["batch"])
    scheduler = Scheduler("prefill-first", max_batch=batch)
    return serve_closed_loop(prompt, answer, min(batch, requests), requests, cost, memory, scheduler)


def _filled(config: Config, paged: bool) -> tuple[float, int]:
    """Share of the room in use that is lost to sequences of all ages, and how many there is room for at their end."""
    prompt, answer = int(config["prompt"]), int(config["answer"])
    aged, full = _memory(config, paged), _memory(config, paged)
    number = 0
    while number < AGES and aged.admit(number, prompt + answer * number // AGES, prompt + answer):
        number += 1
    most = 0
    while most < SEQUENCES and full.admit(most, prompt + answer, prompt + answer):
        most += 1
    return 1 - aged.held_bytes / aged.used_bytes, most


def _simulate(config: Config) -> dict[str, float]:
    found, devices = model(str(config["model"])), int(config["devices"])
    page, joined = int(config["page"]) * KIB, bool(config["joined"])
    sizes = kv_sizes(found, devices=devices)
    table = PageTable(sizes, page, joined=joined)
    pages, tokens = table.level(1)
    key = tuple(sorted(config.items()))
    ours, paged = _served(key, paged=False, waiting=False), _served(key, paged=True, waiting=False)
    (waste, running), (waste_paged, _) = _filled(config, paged=False), _filled(config, paged=True)
    context = int(config["prompt"]) + int(config["answer"]) // 2
    step_s = _cost(config).step(StepBatch(decodes=running, decode_context=running * context)).seconds
    rates = [float(one.produced.sum()) / one.makespan_s for one in (ours, paged)]
    firsts = [float(one.ttft_s.mean()) for one in (ours, paged)]
    waiting = _served(key, paged=False, waiting=True)
    return {
        "tokens_per_page": float(tokens),
        "pages_at_once": float(pages),
        "waste": waste,
        "waste_paged": waste_paged,
        "running": float(running),
        "throughput": rates[0],
        "over_paged": rates[0] / rates[1],
        "prefill_over_paged": firsts[1] / firsts[0],
        "allocation": running * sizes.token_bytes / step_s,
        "mapping_share": waiting.parts_s.get("kv wait", 0.0) / waiting.makespan_s,
        "mapping_share_hidden": ours.parts_s.get("kv wait", 0.0) / ours.makespan_s,
    }


def _kernels() -> str:
    found = _simulate(STUDY.config({}))
    return (
        f"With the same kernels on both memories requests end {found['over_paged']:.2f} times as fast, prompts "
        f"{found['prefill_over_paged']:.2f} times: {found['waste']:.1%} of the pages and "
        f"{found['waste_paged']:.1%} of the blocks are lost. What is published is then of kernels, those that follow "
        "tables of blocks being slower."
    )


def _notes() -> list[str]:
    rows = []
    for page in (64, 128, 256, 2048):
        one = _simulate(STUDY.config({"page": page, "prompt": 1000, "answer": 400}))
        rows.append(f"{page} KiB: {one['waste']:.1%} lost, {one['allocation'] / 1e9:.2f} GB/s asked for")
    return ["Sequences of 1,000 to 1,400 tokens with pages of " + "; ".join(rows) + " (published: up to about 1 GB/s)."]


_ROOM = ("page", "kv")
_SERVING = ("page", "kv", "capacity", "bandwidth", "rate", "launch", "share", "map")
STUDY = Study(
    title="vAttention",
    claim="Keys and values stay contiguous for any kernel: 1.97 times the tokens of vLLM, hardly any memory lost.",
    source="Prabhu et al., ASPLOS 2025, arXiv 2405.04437",
    machine="a100-80gb-sxm, one or two",
    workload="requests of equal length that begin together (32K to 128K tokens in the paper)",
    policy="pages mapped as sequences grow, a step ahead, beside computing",
    baseline="blocks of 16 tokens, on the same kernels",
    keys={
        "model": Key("Llama-3-8B", "model", choices=MODELS),
        "devices": Key(1, "GPUs, tensor parallel", choices=(1, 2, 4, 8)),
        "page": Key(2048, "KiB of a page", low=4, high=65536),
        "joined": Key(False, "all layers in one tensor of keys and one of values", choices=(False, True)),
        "prompt": Key(32000, "tokens of a prompt", low=1, high=200_000),
        "answer": Key(64, "tokens of an answer", low=1, high=10_000),
        "requests": Key(10, "requests", low=1, high=1000),
        "batch": Key(10, "sequences at a time", low=1, high=512),
        "map_us": Key(40.0, "mapping a page, us", low=0.0, high=10_000.0),
    },
    constants=CONSTANTS,
    metrics={
        "tokens_per_page": Metric("tokens whose keys of a layer fit in a page", "", ("page", "kv")),
        "pages_at_once": Metric("pages a sequence takes at a time", "", ("page", "kv")),
        "waste": Metric("share of the mapped pages without keys or values, sequences of all ages", "", _ROOM),
        "waste_paged": Metric("the same of blocks", "", ("kv",)),
        "running": Metric("sequences that there is room for at their longest", "", (*_ROOM, "capacity", "share")),
        "throughput": Metric("tokens of answers", "1/s", _SERVING),
        "over_paged": Metric("the same over that with blocks", "", _SERVING),
        "prefill_over_paged": Metric("mean time to the first token with blocks over ours", "", _SERVING),
        "allocation": Metric("memory that decoding asks for", "B/s", _SERVING),
        "mapping_share": Metric("share of the time that waits for mapping where nothing hides it", "", _SERVING),
        "mapping_share_hidden": Metric("the same, mapped a step ahead", "", _SERVING),
    },
    published=(
        Published("tokens_per_page", {}, 1024.0, "2 MB over 8 heads x 128 x 2 B"),
        Published("tokens_per_page", {"page": 64}, 32.0, "64 KB over 8 heads x 128 x 2 B"),
        Published("over_paged", {}, 1.97, "abstract: up to, tokens against vLLM"),
        Published("prefill_over_paged", {}, 3.92, "abstract: up to, prompts against FlashAttention with blocks"),
        Published("prefill_over_paged", {}, 1.45, "abstract: up to, prompts against FlashInfer with blocks"),
    ),
    simulate=_simulate,
    misses=(Miss(("over_paged", "prefill_over_paged"), "The gain is of kernels, not of memory.", _kernels),),
    notes=_notes,
)
