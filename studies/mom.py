"""MOM: the longest context of a GPU, with the feed-forward and the head in mini-sequences and the cache offloaded.

Peaks come from the planner: what lives at once in each layer, in program order, beside weights and cache. The longest
context is the longest that it places in the GPU's memory, in prefill and at the first decode step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.planner.placement import DEFAULT_ORDER, MemoryPlan, Place, plan_memory
from mappers.roofline import roofline_workload
from simulator.policy import Policy
from simulator.road import simulate
from studies.frame.constants import of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from workloads.errors import InfeasibleError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Phase, Prefill
from workloads.transforms.mini_sequences import logits_of_all, mini_sequences
from workloads.workload import Workload

__all__ = ["STUDY"]

MACHINE, LONGEST = "a100-80gb-sxm", 1 << 25
FAMILIES = {
    "Llama": ("3-8B", "3.1-8B", "3.2-1B", "3.2-3B", "2-7B", "2-13B"),
    "Mistral": ("7B", "7B-v0.3"),
    "Qwen2.5": ("0.5B", "1.5B", "3B", "7B", "14B"),
    "Qwen3": ("8B",),
}
MODELS = tuple(f"{family}-{size}" for family, sizes in FAMILIES.items() for size in sizes)

CONSTANTS = {
    "capacity": of_machine(MACHINE, "tiers.hbm.capacity"),
    "standard": stated(
        "whole prompt, scores of every token",
        "",
        "introduction: what the standard prefill holds; weights, keys and values in 16 bits",
    ),
    "bandwidth": of_machine(MACHINE, "tiers.hbm.read_bandwidth"),
    "rate": stated(312e12, "1/s", "NVIDIA A100 Tensor Core GPU Architecture white paper, 2020: bf16, dense"),
    "host_link": of_machine(MACHINE, "links.host-pcie.bandwidth"),
    "launch": of_machine(MACHINE, "engines.tensor.launch_overhead"),
}


def _transform(minis: int, chunked: bool) -> Callable[[Workload], Workload]:
    # Of a prompt in chunks libraries keep the scores of the last chunk at most.
    return lambda workload: mini_sequences(workload if chunked else logits_of_all(workload), minis)


def _place(offload: bool) -> Place:
    """All in the GPU's memory, or keys and values in the host's."""
    return Place(pinned={role: "ddr" if offload and role == "kv_cache" else "hbm" for role in DEFAULT_ORDER})


def _plan(name: str, phase: Phase, system: System, config: Config) -> MemoryPlan:
    workload = lower(model(name), phase)
    prefill = isinstance(phase, Prefill)
    if prefill:
        workload = _transform(int(config["minis"]), config["prefill"] == "chunked")(workload)
    # Decoding wants keys and values back.
    return plan_memory(
        roofline_workload(workload, system), system, _place(prefill and bool(config["offload"])), ahead=0
    )


def _machine(memory_gb: float) -> System:
    return override_values(load_system(MACHINE), {"tiers.hbm.capacity": memory_gb * 1e9, "tiers.ddr.capacity": 1e15})


def _prefill(context: int, config: Config) -> Prefill:
    past = max(0, context - int(config["chunk"])) if config["prefill"] == "chunked" else 0
    return Prefill(int(config["batch"]), context, past)


def _peak(phase: Phase, config: Config) -> float:
    """Bytes of the GPU's memory that a phase takes, however much there is."""
    plan = _plan(str(config["model"]), phase, _machine(1e6), config)
    return plan.resident_bytes["hbm"] + plan.buffer_bytes + plan.workspace_bytes


def _longest(phase: Callable[[int], Phase], config: Config) -> int:
    """The longest context with a plan: none has a shorter one without."""
    system = _machine(float(config["memory"]))

    def fits(context: int) -> bool:
        try:
            _plan(str(config["model"]), phase(context), system, config)
        except InfeasibleError:
            return False
        return True

    low = int(config["minis"]) - 1
    high = 2 * low + 2
    while high < LONGEST and fits(high):
        low, high = high, 2 * high
    while high - low > max(1, low >> 12):  # to one in four thousand
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@cache
def _limits(items: tuple[tuple[str, str | int | float | bool], ...]) -> tuple[int, int]:
    config = dict(items)
    batch = int(config["batch"])
    return _longest(lambda n: _prefill(n, config), config), _longest(lambda n: Decode(batch, n), config)


def _limit(config: Config) -> tuple[int, int]:
    """The longest contexts of prefill and of decode."""
    return _limits(tuple(sorted((name, value) for name, value in config.items() if name != "context")))


def _simulate(config: Config) -> dict[str, float]:
    batch, context = int(config["batch"]), int(config["context"])
    standard: Config = {**config, "minis": 1, "offload": False, "prefill": "whole"}
    chunked: Config = {**config, "minis": 1, "offload": False, "prefill": "chunked"}
    prefill, decode = _limit(config)
    peaks = {name: _peak(_prefill(context, at), at) for name, at in (("ours", config), ("standard", standard))}
    decoding = _peak(Decode(batch, context), config)
    peak = max(peaks["ours"], decoding)
    found = {
        "max_context": float(min(prefill, decode)),
        "prefill_context": float(prefill),
        "decode_context": float(decode),
        "over_standard": min(prefill, decode) / min(_limit(standard)),
        "over_chunked": min(prefill, decode) / min(_limit(chunked)),
        "prefill_peak": peaks["ours"],
        "decode_peak": decoding,
        "peak": peak,
        "peak_saving": 1 - peak / max(peaks["standard"], decoding),
        "prefill_saving": 1 - peaks["ours"] / peaks["standard"],
    }
    if config["prefill"] == "whole" and context <= prefill:
        transform = _transform(int(config["minis"]), chunked=False)
        policy = Policy(transform=transform, place=_place(bool(config["offload"])))
        system = _machine(float(config["memory"]))
        found["prefill_s"] = simulate(
            model(str(config["model"])), _prefill(context, config), system, policy=policy
        ).latency_s
    return found


def _chunked_limit() -> str:
    config = STUDY.config({"prefill": "chunked", "minis": 1, "offload": False})
    prefill, decode = _limit(config)
    spare = 80e9 / (455e3 / 1.35) - 80e9 / prefill
    return (
        f"Planned, a prompt in chunks reaches {prefill:,} tokens with all keys and values in the GPU's memory, as many "
        f"as the {decode:,} at which decoding stops. To stop at 455,000 / 1.35 = 337,037 it must hold another "
        f"{spare:,.0f} B for each token, as copies of keys and values would be."
    )


_ABSTRACT = "abstract"
STUDY = Study(
    title="MOM: offloaded mini-sequences",
    claim="Context of an 8B model on one A100 80 GB from 155k to 455k tokens, half the peak; decoding limits.",
    source="Zhang et al., arXiv 2504.12526",
    machine="a100-80gb-sxm with its host's memory",
    workload="a prompt through Llama-3-8B, all in 16 bits, then its first decode step",
    policy="feed-forward and head in mini-sequences; keys and values in the host's memory until decoding",
    baseline="the prompt at once, every token scored by the head; or the prompt in chunks",
    keys={
        "model": Key("Llama-3-8B", "model", choices=MODELS),
        "context": Key(100_000, "tokens at which peaks and times are told", low=1024, high=4_000_000),
        "minis": Key(16, "parts of the feed-forward and the head", low=1, high=1024),
        "offload": Key(True, "keys and values in the host's memory during prefill", choices=(False, True)),
        "prefill": Key("whole", "the prompt at once or in chunks", choices=("whole", "chunked")),
        "chunk": Key(4096, "tokens of a chunk", low=64, high=65536),
        "memory": Key(80.0, "the GPU's memory, GB", low=16.0, high=1000.0),
        "batch": Key(1, "sequences", low=1, high=64),
    },
    constants=CONSTANTS,
    metrics={
        "max_context": Metric("longest context of both phases", "", ("capacity", "standard")),
        "prefill_context": Metric("longest context of prefill", "", ("capacity", "standard")),
        "decode_context": Metric("longest context of decode", "", ("capacity",)),
        "over_standard": Metric("longest context over that of the whole prompt", "", ("capacity", "standard")),
        "over_chunked": Metric("longest context over that of the prompt in chunks", "", ("capacity",)),
        "prefill_peak": Metric("most of the GPU's memory in use, prefill", "B", ("standard",)),
        "decode_peak": Metric("most of the GPU's memory in use, first decode step", "B", ("standard",)),
        "peak": Metric("the larger of the two", "B", ("standard",)),
        "peak_saving": Metric("share of the standard peak that is saved", "", ("standard",)),
        "prefill_saving": Metric("share of the standard peak of prefill that is saved", "", ("standard",)),
        "prefill_s": Metric("prefill, roofline", "s", ("bandwidth", "rate", "host_link", "launch")),
    },
    published=(
        Published("max_context", {"minis": 1, "offload": False}, 155e3, _ABSTRACT),
        Published("max_context", {}, 455e3, _ABSTRACT),
        Published("over_standard", {}, 455 / 155, _ABSTRACT),
        Published("peak_saving", {}, 0.5, "abstract: by over half on average over Llama, Qwen and Mistral models"),
        Published("over_chunked", {}, 1.35, _ABSTRACT),
    ),
    simulate=_simulate,
    misses=(
        Miss(
            ("over_chunked",),
            "Chunks alone should take a context as far as decoding can go; the measured baseline keeps more than that.",
            _chunked_limit,
        ),
    ),
)
