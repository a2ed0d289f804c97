"""MoE-Lens: experts streamed to one GPU, keys and values in the host's memory, attention on its processor.

A step takes prompts along with its decodes, in two half batches that take turns at processor and GPU. The number of
sequences is what the memory for keys and values holds, and everything else comes of one simulated step. The host's
memory is in two: what keys and values leave of its rate goes to the weights, as the paper divides it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.assign import Assignment, engines_with
from simulator.moves import Move
from simulator.policies import named_policy
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from studies.frame.constants import derived, fitted, stated
from studies.frame.study import Config, Key, Metric, Miss, Study, Value
from studies.published.moe_lens import MOE_GEN, PUBLISHED
from workloads.errors import InfeasibleError
from workloads.models.catalogue import model
from workloads.models.counts import kv_bytes_per_token
from workloads.phases import Decode, Phase, Prefill
from workloads.transforms.lanes import Lanes
from workloads.transforms.mixed_step import with_prompts
from workloads.workload import Op, Role

__all__ = ["STUDY"]

MACHINE, LINK = "a40-xeon", "host-pcie:ddr>gddr"
MODELS = ("Mixtral-8x7B", "Mixtral-8x22B", "DBRX", "DeepSeek-V2", "DeepSeek-V3", "Phi-3.5-MoE")
PASS_TOKENS = 16384

CONSTANTS = {
    "rate_a40": stated(149.7e12, "1/s", "NVIDIA A40 data sheet, 2021: bf16, dense (the paper: 150)"),
    "rate_l40": stated(181e12, "1/s", "the paper's table of GPUs: BF16 of the L40"),
    "rate_a100": stated(312e12, "1/s", "the paper's table of GPUs: BF16 of the A100"),
    "rate_a5000": derived(111.1e12, "1/s", "64 SMs of an RTX A5000 at 1.695 GHz, 1024 operations an SM and clock"),
    "link": stated(19.5e9, "B/s", "measured by the authors from the host's memory to the A40"),
    "host": stated(150e9, "B/s", "measured by the authors: one socket with eight DDR4-3200"),
    "kv_rate": derived(130.5e9, "B/s", "of the host's rate what the weights leave (their equation 5)"),
    "kv": stated(70e9, "B", "memory for keys and values: 70 or 210 GB"),
    "moe_gen_kernels": fitted(0.68, "", "share of the peak, to MoE-Gen's prompts of Mixtral-8x7B"),
    "moe_gen_kv": fitted(140e9, "B", "memory for keys and values, to MoE-Gen's answers of Mixtral-8x7B"),
    "pass": derived(PASS_TOKENS, "", "most tokens of a part of the prompts: with two streamed layers it fits in 16 GB"),
}
_RATES = ("rate_a40", "rate_l40", "rate_a100", "rate_a5000")


def _machine(config: Config) -> System:
    """The host's memory for keys and values apart, each with its own way to the GPU."""
    link, gpu = float(config["link"]) * 1e9, str(config["gpu"])
    found = override_values(
        load_system(MACHINE),
        {
            "links.host-pcie.bandwidth": link,
            "tiers.gddr.capacity": float(config["gpu_memory"]) * 1e9,
            "tiers.ddr.bandwidth": CONSTANTS["host"].value,
            "tiers.ddr.capacity": 1e13,
        },
    )
    engines, reached = dict(found.engines), float(config["kernels"])
    if gpu != "a40" or reached != 1:
        rates = dict.fromkeys(("bf16", "fp16"), reached * CONSTANTS[f"rate_{gpu}"].value)
        engines["tensor"] = engines["tensor"].model_copy(update={"throughput_ops_per_s": rates})
    engines["cpu"] = engines["cpu"].model_copy(update={"home": "kv"})
    left = CONSTANTS["host"].value - min(link, CONSTANTS["link"].value)
    apart = {
        "capacity_bytes": float(config["kv"]) * 1e9,
        "read_bandwidth_bytes_per_s": left,
        "write_bandwidth_bytes_per_s": left,
    }
    tiers = {**found.tiers, "kv": found.tiers["ddr"].model_copy(update=apart)}
    links = {**found.links, "kv-pcie": found.links["host-pcie"].model_copy(update={"between": ("kv", "gddr")})}
    return found.model_copy(update={"engines": engines, "tiers": tiers, "links": links})


def _assign(op: Op, system: System) -> Assignment:
    """Attention over the cache on the processor, all else on the GPU."""
    decodes = op.kind == "attention" and dict(op.sizes)["p"] == 1
    return engines_with("cpu" if decodes else "tensor", system)


def _run(config: Config, phase: Phase, policy: Policy, lanes: Lanes) -> Result:
    system = _machine(config)
    policy = named_policy(policy, system, "stream-weights:ddr")
    place = policy.place.pin("kv_cache", "kv")
    policy = replace(policy, place=place, assign=_assign, lanes=lanes, move=Move(1, send_along=lanes.cut is not None))
    return simulate(model(str(config["model"])), phase, system, policy=policy)


def _held(config: Config, tokens: float) -> int:
    """How many sequences of so many tokens the memory holds, an even number."""
    size = kv_bytes_per_token(model(str(config["model"]))) * tokens
    found = int(float(config["kv"]) * 1e9 / size) // 2 * 2
    return max(2, found)


def _halves(tokens: float) -> int:
    """Parts that take turns: two, or as many more as it takes for the activations of one to fit."""
    parts = 2
    while tokens / parts > PASS_TOKENS:
        parts *= 2
    return parts


def _together(config: Config, prompt: int, answer: int) -> dict[str, float]:
    """A step of sequences of all ages: each leaves after ``answer`` tokens, and as many prompts come in as leave."""
    sequences = _held(config, prompt + answer / 2)
    lanes = _halves(sequences * (1 + prompt / answer))
    sequences = max(1, sequences // lanes) * lanes
    leaving = sequences / lanes / answer
    prompts = max(1, round(leaving))
    change = with_prompts(model(str(config["model"])), prompts, max(1, round(leaving * prompt / prompts)))
    phase = Decode(sequences, prompt + answer // 2)
    found = _run(config, phase, Policy(transform=change), Lanes(lanes, "attention"))
    return _rates(found.latency_s, sequences, sequences / answer * (prompt + answer)) | {
        "gpu_use": found.utilisation["tensor"],
        "link_use": found.utilisation[LINK],
        "step_tokens": sequences * (1 + prompt / answer),
    }


def _prompts(config: Config, sequences: int, prompt: int) -> Result:
    """As many prompts as the GPU's memory takes at once, in parts that pass each layer in turn."""
    each = max(1, min(sequences, PASS_TOKENS // prompt))
    parts = 1 << (max(1, sequences // each).bit_length() - 1)
    while True:
        try:
            return _run(config, Prefill(parts * each, prompt), Policy(), Lanes(parts))
        except InfeasibleError:
            if parts * each == 1:
                raise
            parts, each = max(1, parts // 2), each if parts > 1 else each // 2


def _in_turn(config: Config, prompt: int, answer: int) -> dict[str, float]:
    """All prompts, then all answers: the memory holds all of the longest state."""
    sequences = _held(config, prompt + answer)
    read = _prompts(config, sequences, prompt)
    lanes = _halves(sequences)
    step = Decode(max(1, sequences // lanes) * lanes, prompt + answer // 2)
    decode = _run(config, step, Policy(), Lanes(lanes, "attention"))
    prefill_s = read.latency_s * sequences / read.batch
    seconds = prefill_s + answer * decode.latency_s
    busy = read.utilisation["tensor"] * prefill_s + decode.utilisation["tensor"] * answer * decode.latency_s
    moved = read.utilisation[LINK] * prefill_s
    return _rates(seconds, sequences * answer, sequences * (prompt + answer)) | {
        "gpu_use": busy / seconds,
        "link_use": (moved + decode.utilisation[LINK] * answer * decode.latency_s) / seconds,
        "link_use_prefill": read.utilisation[LINK],
        "gpu_use_decode": decode.utilisation["tensor"],
        "prefill_rate": sequences * prompt / prefill_s,
        "decode_rate": sequences / decode.latency_s,
        "prefill_fitted": sequences * prompt / prefill_s,
        "decode_fitted": sequences / decode.latency_s,
        "step_tokens": float(sequences),
        "memory_use": _memory_use(config, prompt, answer, sequences, prefill_s, decode),
    }


def _memory_use(config: Config, prompt: int, answer: int, sequences: int, prefill_s: float, decode: Result) -> float:
    """Mean over time of what weights, keys and values take of the memory for all of them."""
    token = kv_bytes_per_token(model(str(config["model"]))) * sequences
    weights = decode.plan.resident_bytes["ddr"]
    decode_s = answer * decode.latency_s
    mean = (prefill_s * prompt / 2 + decode_s * (prompt + answer / 2)) / (prefill_s + decode_s)
    return (weights + mean * token) / (weights + float(config["kv"]) * 1e9)


def _rates(seconds: float, generated: float, tokens: float) -> dict[str, float]:
    return {"throughput": tokens / seconds, "generated": generated / seconds}


@cache
def _saturation(items: tuple[tuple[str, Value], ...], kind: str) -> float:
    """Tokens of a step at which the GPU is as long at the experts (or at all) as their weights are on the way."""
    config = dict(items) | {"kv": 1e6, "gpu_memory": 1e4, "kernels": 1.0}
    tokens = PASS_TOKENS
    for _ in range(4):  # the GPU's time grows with the tokens, the weights' hardly: settled after two
        found = _run(config, Decode(tokens, 1), Policy(), Lanes())
        every, own = (sum(o.operations * o.count for o in found.ops if k in ("", o.kind)) for k in ("", kind))
        roles: tuple[Role, ...] = ("experts",) if kind else ("attention", "feed_forward", "experts")
        streamed = sum(found.placement_bytes[role]["ddr"] for role in roles if role in found.placement_bytes)
        sent_s = found.utilisation[LINK] * streamed / found.moved_bytes[LINK]
        busy_s = found.utilisation["tensor"] * own / every
        tokens = max(1, round(tokens * sent_s / busy_s))
    return float(tokens)


def _simulate(config: Config) -> dict[str, float]:
    return dict(_found(tuple(sorted(config.items()))))


@cache
def _found(items: tuple[tuple[str, Value], ...]) -> dict[str, float]:
    config = dict(items)
    prompt, answer = int(config["prompt"]), int(config["answer"])
    found = (_together if config["policy"] == "together" else _in_turn)(config, prompt, answer)
    shape = tuple(sorted((name, config[name]) for name in ("model", "gpu", "link")))
    return found | {"saturation": _saturation(shape, "grouped_gemm"), "saturation_step": _saturation(shape, "")}


def _in_turn_memory() -> str:
    found = [_simulate(STUDY.config({"policy": "in-turn", "prompt": p, "answer": g, "kv": 171.0})) for p, g in
             ((98, 32), (98, 64), (926, 128))]  # fmt: skip
    text = ", ".join(f"{one['memory_use']:.0%}" for one in found)
    return (
        f"Filled as far as prompts and answers allow, all in turn, 265 GB are in use by {text} in the mean over time; "
        "published are 52, 56 and 35 %, the last less than the weights' 93.4 GB alone, so that something else is "
        "counted. How many sequences MoE-Lightning chose is not stated."
    )


def _busy_gpu() -> str:
    found = _simulate(STUDY.config({}))
    return (
        f"A step has {found['step_tokens']:,.0f} tokens and lasts as long as its weights are on the way; at the peak "
        f"rate they take {found['gpu_use']:.0%} of that. They take the 90 % published where kernels reach "
        f"{found['gpu_use'] / 0.9:.0%} of the peak."
    )


def _kernels_in_turn() -> str:
    found = _simulate(STUDY.config({"policy": "in-turn", "kv": 171.0}))
    return (
        f"At the peak rate prompts keep the link busy {found['link_use_prefill']:.1%} of the time, decodes the GPU's "
        f"matrix units {found['gpu_use_decode']:.1%}; published are 23.9 and 16.5 %. Both depend on the number of "
        f"sequences, here {found['step_tokens']:,.0f}, and on counting a GPU as used that waits for its own memory."
    )


def _module_batches() -> str:
    text, fit = [], {"kernels": CONSTANTS["moe_gen_kernels"].value, "kv": CONSTANTS["moe_gen_kv"].value / 1e9}
    deep = _simulate(STUDY.config({**MOE_GEN, **fit, "model": "DeepSeek-V2"}))
    for name, prefill, decode in (("Mixtral-8x7B", 2790, 469), ("Mixtral-8x22B", 907, 91), ("DeepSeek-V2", 787, 49)):
        found = _simulate(STUDY.config({**MOE_GEN, "model": name}))
        kv = float(STUDY.keys["kv"].default) * decode / found["decode_rate"]
        text.append(f"{name} {prefill / found['prefill_rate']:.0%} and {kv:,.0f} GB")
    return (
        "MoE-Gen's prompts reach a share of what the peak rate allows, and its answers as much as there would be with "
        "more or less memory for keys and values, of which nothing is stated (70 GB here): "
        + "; ".join(text)
        + ". Fitted to Mixtral-8x7B both hold for "
        f"Mixtral-8x22B, not for DeepSeek-V2 ({deep['prefill_fitted']:.0f} and {deep['decode_fitted']:.0f} a second)."
    )


STUDY = Study(
    title="MoE-Lens",
    claim="Mixtures of experts on one GPU 4.6 times (mean) faster than MoE-Lightning: prompts and decodes in one pass.",
    source="Yuan et al., arXiv 2504.09345, HPDC 2026",
    machine="a40-xeon: an A40 of 16 to 24 GB and one socket with DDR4; link and memory as measured by the authors",
    workload="Mixtral-8x7B in 16 bits; MTBench (98 tokens), RAG (926); answers of 32 to 256 tokens",
    policy="weights streamed a layer ahead, attention on the processor, two half batches, prompts beside decodes",
    baseline="in turn: all prompts, then all answers of the same sequences, as MoE-Lightning",
    keys={
        "model": Key("Mixtral-8x7B", "model", choices=MODELS),
        "gpu": Key("a40", "whose matrix rate", choices=("a40", "l40", "a100", "a5000")),
        "prompt": Key(98, "tokens of a prompt", low=1, high=32768),
        "answer": Key(32, "tokens of an answer", low=2, high=8192),
        "kv": Key(70.0, "memory for keys and values, GB", low=1.0, high=1e6),
        "link": Key(19.5, "rate from the host to the GPU, GB/s", low=1.0, high=140.0),
        "gpu_memory": Key(24.0, "the GPU's memory, GB", low=12.0, high=1e4),
        "kernels": Key(1.0, "share of its matrix rate that the GPU's kernels reach", low=0.05, high=1.0),
        "policy": Key("together", "prompts beside decodes or before", choices=("together", "in-turn")),
    },
    constants=CONSTANTS,
    metrics={
        "throughput": Metric("tokens of prompts and answers", "1/s", (*_RATES, "link", "host", "kv_rate", "kv")),
        "generated": Metric("tokens of answers", "1/s", (*_RATES, "link", "host", "kv_rate", "kv")),
        "saturation": Metric("tokens of a step that hide the experts' weights", "", _RATES),
        "saturation_step": Metric("tokens of a step that hide all streamed weights", "", _RATES),
        "step_tokens": Metric("new tokens of a step", "", ("kv",)),
        "gpu_use": Metric("share of the time that matrix units would take at their peak", "", (*_RATES, "link", "kv")),
        "link_use": Metric("share of the time that the link is busy", "", (*_RATES, "link", "kv")),
        "link_use_prefill": Metric("the same, of prompts in turn", "", (*_RATES, "link", "kv", "pass")),
        "gpu_use_decode": Metric("the same, of answers in turn", "", (*_RATES, "link", "kv")),
        "prefill_rate": Metric("tokens of prompts, in turn", "1/s", (*_RATES, "link", "kv", "pass")),
        "decode_rate": Metric("tokens of answers, in turn", "1/s", (*_RATES, "link", "host", "kv_rate", "kv")),
        "prefill_fitted": Metric(
            "tokens of prompts, in turn, where MoE-Gen's kernels and memory are fitted",
            "1/s",
            (*_RATES, "link", "pass", "moe_gen_kernels", "moe_gen_kv"),
        ),
        "decode_fitted": Metric(
            "tokens of answers, in turn, where MoE-Gen's kernels and memory are fitted",
            "1/s",
            (*_RATES, "link", "host", "kv_rate", "moe_gen_kernels", "moe_gen_kv"),
        ),
        "memory_use": Metric("mean share of the memory in use, in turn", "", (*_RATES, "link", "kv", "pass")),
    },
    published=PUBLISHED,
    simulate=_simulate,
    misses=(
        Miss(
            ("prefill_rate", "decode_rate", "prefill_fitted", "decode_fitted"),
            "MoE-Gen's kernels and memory are not described.",
            _module_batches,
        ),
        Miss(("gpu_use",), "The matrix units' time is told at their peak, which no kernel reaches.", _busy_gpu),
        Miss(("memory_use",), "What MoE-Lightning keeps in memory is not stated.", _in_turn_memory),
        Miss(("link_use_prefill", "gpu_use_decode"), "How many sequences it ran is not stated.", _kernels_in_turn),
    ),
)
