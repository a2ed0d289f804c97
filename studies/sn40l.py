"""SambaNova SN40L: a composition of experts, whole models in DDR of which some lie in HBM, beside DGX A100 and H100.

Experts are pieces of a collection of whole models. What an expert takes is simulated on each machine, prefill and
decode, with all devices as one; a switch is its weights on their way into the memory that computes.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.planner.placement import tier_capacity
from simulator.collections.whole_models import WholeModels, run_models
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from studies.frame.constants import derived, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Miss, Study, Value
from studies.published.sn40l import PUBLISHED
from workloads.models.catalogue import model
from workloads.phases import Decode, Phase, Prefill
from workloads.transforms.fusion import fused_layers

__all__ = ["STUDY"]

MACHINES = {"sn40l": "sn40l-node", "dgx-a100": "a100-80gb-sxm", "dgx-h100": "h100-sxm"}
MODELS = ("Llama-2-7B", "Llama-2-13B", "Llama-2-70B", "Llama-3.1-8B", "Llama-3.1-70B", "Llama-3.1-405B", "Mistral-7B")
BATCHES = 20

CONSTANTS = {
    "dma": stated(1e12, "B/s", "section VI: over 1 TB/s from DDR to HBM, eight sockets"),
    "link_a100": stated(32e9, "B/s", "section VI-C: from the host into a DGX A100"),
    "link_h100": stated(64e9, "B/s", "section VI-C: from the host into a DGX H100"),
    "hbm_use": stated(0.85, "", "section VI: about 85 % of the HBM's rate when decoding"),
    "ddr": of_machine("sn40l-node", "tiers.ddr.capacity"),
    "hbm_sn40l": of_machine("sn40l-node", "tiers.hbm.capacity"),
    "hbm_gpu": of_machine("h100-sxm", "tiers.hbm.capacity"),
    "host": of_machine("h100-sxm", "tiers.ddr.capacity"),
    "hbm_rate": of_machine("sn40l-node", "tiers.hbm.read_bandwidth"),
    "rate": stated(638e12, "1/s", "section IV: bf16, a socket"),
    "launch": of_machine("sn40l-node", "engines.rdu.launch_overhead"),
    "fabric": of_machine("sn40l-node", "fabric.latency"),
    "launch_gpu": of_machine("a100-80gb-sxm", "engines.tensor.launch_overhead"),
    "launch_host": synthetic(10e-6, "s", "three writes over PCIe and the driver's call: program, arguments, start"),
    "prompt": synthetic(256, "", "tokens of a prompt, which are not stated"),
    "model": derived(13.48e9, "B", "6.738 G parameters of Llama-2-7B in 16 bits, every expert and the router"),
}


def _machine(config: Config) -> System:
    platform, sockets = str(config["platform"]), int(config["sockets"])
    system = load_system(MACHINES[platform])
    if platform != "sn40l":
        link = CONSTANTS["link_a100" if platform == "dgx-a100" else "link_h100"].value
        changes = {"devices": 8, "links.host-pcie.bandwidth": link, "links.host-pcie.shared": True}
        return override_values(system, changes)
    rate = CONSTANTS["hbm_use"].value * system.tiers["hbm"].read_bandwidth_bytes_per_s
    dma = CONSTANTS["dma"].value / 8
    changes = {"devices": sockets, "tiers.hbm.bandwidth": rate, "links.ddr-dma.bandwidth": dma}
    if config["launch"] == "host":
        changes |= {f"engines.{name}.launch_overhead": CONSTANTS["launch_host"].value for name in system.engines}
    return override_values(system, changes)


def _run(config: Config, phase: Phase) -> Result:
    system, policy = _machine(config), Policy()
    if config["fused"] and config["platform"] == "sn40l":
        policy = Policy(transform=fused_layers(system.tiers["sram"].capacity_bytes))
    return simulate(model(str(config["model"])), phase, system, policy=policy)


@cache
def _measured(items: tuple[tuple[str, Value], ...]) -> dict[str, float]:
    """An expert and the router on a machine."""
    config = dict(items)
    prompt, tokens = int(config["prompt"]), int(config["tokens"])
    read, step = _run(config, Prefill(1, prompt)), _run(config, Decode(1, prompt + (tokens + 1) // 2))
    route = _run(config, Prefill(int(config["batch"]), prompt))
    capacity = read.capacity_bytes["hbm"]
    weights = sum(sum(tiers.values()) for role, tiers in step.placement_bytes.items() if role != "kv_cache")
    beside = max(found.peak_bytes["hbm"] for found in (read, step, route)) - weights
    devices = step.devices
    return {
        "prefill_s": read.latency_s,
        "token_s": step.latency_s,
        "router_s": route.latency_s,
        "weights": weights,
        # The router and what running takes lie there besides.
        "slots": (capacity - beside - weights) // weights,
        "home": tier_capacity(_machine(config), "ddr") * devices // (weights * devices),
        "devices": float(devices),
        "launches": float(_launches(step)),
    }


def _launches(found: Result) -> int:
    layers = ((placed.layer, count) for placed, count in found.plan.layers())
    return sum(count * sum(op.launched for op in layer.ops) for layer, count in layers)


def _picks(config: Config, warmup: int) -> list[int]:
    experts, batch = int(config["experts"]), int(config["batch"])
    count = warmup + BATCHES * batch
    if config["routing"] == "in-turn":
        return [at % experts for at in range(count)]
    random = np.random.default_rng(1)
    draws = -(-count // min(batch, experts))
    found = [int(pick) for _ in range(draws) for pick in random.choice(experts, min(batch, experts), replace=False)]
    return found[:count]


@cache
def _batches(items: tuple[tuple[str, Value], ...]) -> dict[str, float]:
    """The mean batch, with caches that have seen many."""
    config = dict(items)
    found, system = _measured(_shape(config)), _machine(config)
    execution_s = found["prefill_s"] + (int(config["tokens"]) - 1) * found["token_s"]
    slots = max(1 + bool(config["ahead"]), int(found["slots"]))
    held = WholeModels(found["weights"], "ddr", "hbm", slots, ahead=bool(config["ahead"]))
    batch, warmup = int(config["batch"]), 3 * int(config["experts"])
    picks = _picks(config, warmup)
    latency = switches = 0.0
    for number in range(BATCHES if config["routing"] == "random" else 1):
        seen = picks[: warmup + (number + 1) * batch]
        one = run_models(system, held, seen, execution_s, before_s=found["router_s"], warmup=len(seen) - batch)
        latency += one.latency_s
        switches += sum(one.switches)
    runs = BATCHES if config["routing"] == "random" else 1
    alone = run_models(system, held, [0], 0.0)
    return found | {
        "seconds": latency / runs,
        "misses": switches / runs / batch,
        "execution_s": execution_s,
        "switch_s": alone.latency_s,
    }


def _shape(config: Config) -> tuple[tuple[str, Value], ...]:
    """What an expert's own times hang on."""
    without = ("experts", "routing", "ahead")
    return tuple(sorted((name, value) for name, value in config.items() if name not in without))


def _simulate(config: Config) -> dict[str, float]:
    ours = _batches(tuple(sorted(config.items())))
    rival = _batches(tuple(sorted({**config, "platform": "sn40l"}.items())))
    unfused = _measured(_shape({**config, "fused": False}))
    by_host = _measured(_shape({**config, "launch": "host"}))
    by_chip = _measured(_shape({**config, "launch": "chip"}))
    experts = int(config["experts"])
    return {
        "fits": float(experts <= ours["home"]),
        "seconds": ours["seconds"],
        "router_s": ours["router_s"],
        "execution_s": ours["execution_s"],
        "switch_s": ours["switch_s"],
        "misses": ours["misses"],
        "speed_up": ours["seconds"] / rival["seconds"],
        "execution_speed_up": ours["execution_s"] / rival["execution_s"],
        "switch_speed_up": ours["switch_s"] / rival["switch_s"],
        "hbm_experts": ours["slots"],
        "most_experts": ours["home"],
        "nodes": float(-(-experts // int(max(1, ours["slots" if config["platform"] != "sn40l" else "home"])))),
        "token_rate": 1 / ours["token_s"],
        "fused_prefill": unfused["prefill_s"] / ours["prefill_s"],
        "fused_decode": unfused["token_s"] / ours["token_s"],
        "chip_decode": by_host["token_s"] / by_chip["token_s"],
        "chip_prefill": by_host["prefill_s"] / by_chip["prefill_s"],
        "launches_saved": unfused["launches"] / ours["launches"],
    }


def _times() -> str:
    found = {name: _simulate(STUDY.config({"platform": name, "batch": 1})) for name in MACHINES}
    ours = found["sn40l"]
    # Two rows of a DGX, batches of 1 and 8, and its ratio of execution give what expert and router took on the SN40L.
    solved = []
    for name, ratio, one, eight in (("dgx-a100", 2.0, 4.8, 6.6), ("dgx-h100", 1.5, 2.8, 3.7)):
        switch, own = found[name]["switch_s"], ours["switch_s"]
        sums = np.array([[one - ratio, one - ratio], [eight - ratio, 8 * (eight - ratio)]])
        router, expert = np.linalg.solve(sums, [switch - one * own, 8 * (switch - eight * own)])
        solved.append(f"{expert * 1e3:.0f} and {router * 1e3:.0f} ms from the rows of {name}")
    return (
        f"Here an expert takes {ours['execution_s'] * 1e3:.0f} ms on the SN40L ({ours['token_rate']:.0f} tokens a "
        f"second), the router {ours['router_s'] * 1e3:.0f} ms. The table's own rows say, for expert and router, "
        + ", and ".join(solved)
        + ": an expert of some 300 tokens a second, and a router that takes as long. Neither is stated."
    )


def _gpu_launches() -> str:
    gpu = {name: _simulate(STUDY.config({"platform": name, "batch": 1})) for name in ("dgx-a100", "dgx-h100")}
    return "Kernels here are launched one by one: " + "; ".join(
        f"on a {name} a token takes {1e3 / one['token_rate']:.1f} ms, of which the weights' way from HBM is "
        f"{CONSTANTS['model'].value / 8 / rate * 1e3:.1f} ms"
        for (name, one), rate in zip(gpu.items(), (2.039e12, 3.35e12), strict=True)
    )


def _without_speculation() -> str:
    found = [_simulate(STUDY.config({"model": f"Llama-3.1-{n}B", "sockets": 16, "prompt": 1024})) for n in (70, 405)]
    rates = [one["token_rate"] for one in found]
    return (
        f"Without it a token takes a pass over all weights, {rates[0]:.0f} and {rates[1]:.0f} a second; the published "
        f"rates ask for {457 / rates[0]:.1f} and {129 / rates[1]:.1f} tokens a pass."
    )


def _fused_prefill() -> str:
    one = _simulate(STUDY.config({"prompt": 4096}))
    unfused = _measured(_shape(STUDY.config({"prompt": 4096, "fused": False})))
    before, after = unfused["prefill_s"], unfused["prefill_s"] / one["fused_prefill"]
    compute_s = 2 * 6.6e9 * 4096 / 8 / 638e12
    return (
        f"At the roofline {before * 1e3:.0f} ms are {after * 1e3:.0f} ms fused: the products alone take "
        f"{compute_s * 1e3:.0f} ms, and most of the rest is exchange between sockets, which fusing leaves as it is. "
        "What else single kernels lose, arrays filled and drained, is not in it."
    )


_EXPERT = ("hbm_rate", "hbm_use", "rate", "launch", "fabric", "prompt", "model")
_BOTH = (*_EXPERT, "launch_gpu")
_SWITCH = ("dma", "link_a100", "link_h100", "model")
STUDY = Study(
    title="SambaNova SN40L",
    claim="150 experts of 7B on one node 3.7 times faster than on a DGX H100, 6.6 than on a DGX A100.",
    source="Prabhakar et al., MICRO 2024, arXiv 2405.07518",
    machine="sn40l-node: eight sockets with HBM and DDR of their own; a DGX A100 or H100 with its host's link",
    workload="router, then for each prompt of a batch an expert Llama-2-7B, prefill and decode on all devices together",
    policy="experts in DDR, the latest used in HBM, brought in whole; decoder layers as one kernel each",
    baseline="a DGX whose experts lie in the host's memory, behind one link of 32 or 64 GB/s",
    keys={
        "platform": Key("sn40l", "machine, compared with the SN40L", choices=tuple(MACHINES)),
        "experts": Key(150, "expert models", low=1, high=5000),
        "batch": Key(8, "prompts, each for another expert", low=1, high=256),
        "tokens": Key(20, "tokens of an answer", low=1, high=4096),
        "prompt": Key(256, "tokens of a prompt", low=1, high=32768),
        "model": Key("Llama-2-7B", "experts and router", choices=MODELS),
        "sockets": Key(8, "sockets of the SN40L", choices=(8, 16)),
        "fused": Key(True, "a decoder layer as one kernel", choices=(False, True)),
        "launch": Key("chip", "who starts kernels on the SN40L", choices=("chip", "host")),
        "routing": Key("in-turn", "experts of a batch: the next ones, or drawn", choices=("in-turn", "random")),
        "ahead": Key(False, "the next expert comes while the one before runs", choices=(False, True)),
    },
    constants=CONSTANTS,
    metrics={
        "fits": Metric("1 where all experts have room", "", ("ddr", "host", "model")),
        "seconds": Metric("a batch", "s", (*_BOTH, *_SWITCH)),
        "router_s": Metric("the router, all prompts together", "s", _BOTH),
        "execution_s": Metric("an expert, one prompt and its answer", "s", _BOTH),
        "switch_s": Metric("bringing an expert in", "s", _SWITCH),
        "misses": Metric("share of prompts whose expert must be brought in", "", ("hbm_sn40l", "hbm_gpu", "model")),
        "speed_up": Metric("a batch, over the SN40L's", "", (*_BOTH, *_SWITCH)),
        "execution_speed_up": Metric("an expert, over the SN40L's", "", _BOTH),
        "switch_speed_up": Metric("a switch, over the SN40L's", "", _SWITCH),
        "hbm_experts": Metric("experts that HBM holds beside the router", "", ("hbm_sn40l", "hbm_gpu", "model")),
        "most_experts": Metric("experts that DDR or the host's memory holds", "", ("ddr", "host", "model")),
        "nodes": Metric("machines that hold all experts, a DGX in HBM", "", ("ddr", "hbm_gpu", "model")),
        "token_rate": Metric("tokens of an answer", "1/s", _BOTH),
        "fused_prefill": Metric("prefill in kernels of single operations, over ours", "", _EXPERT),
        "fused_decode": Metric("decode in kernels of single operations, over ours", "", _EXPERT),
        "chip_decode": Metric("decode started by the host, over by the chip", "", (*_EXPERT, "launch_host")),
        "chip_prefill": Metric("prefill started by the host, over by the chip", "", (*_EXPERT, "launch_host")),
        "launches_saved": Metric("kernels of single operations, over ours", "", ("model",)),
    },
    published=PUBLISHED,
    simulate=_simulate,
    misses=(
        Miss(("speed_up",), "Times of expert and router are not stated; ours are shorter.", _times),
        Miss(
            ("execution_speed_up",),
            "The GPUs' times, which the authors took from elsewhere, are not stated.",
            _gpu_launches,
        ),
        Miss(("token_rate",), "Two of the three rates are with speculation.", _without_speculation),
        Miss(("fused_prefill",), "The time that kernels need to fill and drain is not modelled.", _fused_prefill),
    ),
)
