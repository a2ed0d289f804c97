"""SmallThinker and EdgeMoE: experts in storage, fetched as early as somebody knows which.

Experts are pieces of a collection that lives in the flash, behind a cache as large as the memory allows. SmallThinker's
router reads a block's input, so that its experts travel while attention runs (`Fetch` ``as-routed``); EdgeMoE's
predictor names experts of the next block with experts, right with some accuracy, and what it forgot comes on demand
(``predicted``). Both are compared with fetching once the router behind attention has run. Which experts are picked is
drawn by the router fitted to another model, Qwen3-30B-A3B, with the model's own numbers of experts: no trace of these
models is public.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.assign import on_engine
from mappers.planner.placement import Place
from simulator.collections import CachedCollection, Fetch, run_cache
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from studies.frame.constants import derived, fitted, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Miss, Published, Study, Value
from studies.pre_gated_moe import switch
from workloads.errors import InputError
from workloads.formats import storage_format
from workloads.models.architecture import MixtureOfExperts, Model
from workloads.models.catalogue import model
from workloads.models.counts import parameters
from workloads.models.stored_formats import stored_formats
from workloads.phases import Decode
from workloads.traces import RoutingStream
from workloads.traces.routing_fitted import fitted_router, fitted_router_names
from workloads.traces.routing_sticky import StickyRouter, sticky_routing
from workloads.transforms.edit import edit_layers
from workloads.workload import Layer, Op, Workload

__all__ = ["STUDY"]

MACHINE, CONTEXT, WARMUP, TIMED = "phone-ufs4", 128, 24, 8

CONSTANTS = {
    "weights": stated("q4_0", "", "model cards: all models in Q4_0, 4.5 bits"),
    "memory": derived(
        (85.3e9 * 43.9 / 76.8, 89.6e9),
        "B/s",
        "phone: 64 bits at 10.67 Gbit/s, of which a processor had 43.9 of 76.8 GB/s on the generation before (arXiv "
        "2406.06282v3); desktop: 2 channels of DDR5-5600",
    ),
    "storage": stated(
        (3.5e9, 7.0e9),
        "B/s",
        "phone: random reads of 512 KB, arXiv 2406.06282v3; desktop: a PCIe 4.0 x4 drive's data sheet",
    ),
    "compute": of_machine(MACHINE, "engines.cpu.throughput"),
    "router": fitted(
        "qwen3-30b-a3b", "", "spread, drift and repeat of that model's router (rates of arXiv 2505.16056)"
    ),
    "seed": synthetic(3, "", "one draw of routes, 8 tokens after 24 that fill the caches"),
}
_MODELS = {
    "smallthinker-4b": "SmallThinker-4B-A0.6B",
    "smallthinker-21b": "SmallThinker-21B-A3B",
    "qwen3-30b-a3b": "Qwen3-30B-A3B",
    "olmoe-1b-7b": "OLMoE-1B-7B",
    "mixtral-8x7b": "Mixtral-8x7B",
}
_SWITCHES = (8, 16, 32, 64, 128)
_NAMES = (*_MODELS, *(f"switch-base-{experts}" for experts in _SWITCHES))
_FETCHES = {"on-demand": "on-demand", "router-first": "as-routed", "predicted": "predicted", "pre-gated": "pre-gated"}
_DEVICES = ("phone", "desktop")


@cache
def _model(name: str, weights: str) -> Model:
    found = switch("base", int(name.rpartition("-")[2])) if name.startswith("switch") else model(_MODELS[name])
    return replace(found, weight_format=weights)


def _router_behind_attention(chosen: Model) -> Model:
    """The same model with its routers where others have them."""
    blocks = tuple(
        replace(block, feed_forward=replace(block.feed_forward, early_router=False))
        if isinstance(block.feed_forward, MixtureOfExperts)
        else block
        for block in chosen.blocks
    )
    return replace(chosen, blocks=blocks)


def _experts(chosen: Model) -> tuple[int, MixtureOfExperts]:
    """How many layers that decode have experts, and what these are."""
    found = [chosen.blocks[at].feed_forward for at in chosen.order[chosen.encoder_layers :]]
    mixtures = [part for part in found if isinstance(part, MixtureOfExperts)]
    return len(mixtures), mixtures[0]


@cache
def _machine(device: str) -> System:
    at = _DEVICES.index(device)
    storage = CONSTANTS["storage"].value[at]
    changes = {
        "tiers.lpddr.read_bandwidth": CONSTANTS["memory"].value[at],
        "tiers.lpddr.capacity": 128e9,
        "tiers.ufs.read_bandwidth": storage,
        "links.ufs-link.bandwidth": storage,
        "links.ufs-link.message_cost": 0.0,
    }
    return override_values(load_system(MACHINE), changes)


@cache
def _stream(router: str, layers: int, experts: int, active: int) -> RoutingStream:
    plain = StickyRouter(layers, experts, active)
    drawn = plain if router == "uniform" else fitted_router(router, layers=layers)
    drawn = replace(drawn, experts=experts, top_k=active)
    return sticky_routing(drawn, steps=WARMUP + TIMED, seed=CONSTANTS["seed"].value)


def _expert_bytes(chosen: Model, weights: str) -> float:
    _, mixture = _experts(chosen)
    matrices = 3 if mixture.expert.gated else 2
    return storage_format(weights).storage_bytes(matrices * chosen.hidden * mixture.expert.intermediate)


def _with_quantised_head(workload: Workload) -> Workload:
    """Embeddings and head stored as the other weights are."""

    def edit(layer: Layer) -> Layer:
        names = {tensor.name for tensor in layer.stored if tensor.role in ("embedding", "head")}
        form = CONSTANTS["weights"].value
        stored = tuple(replace(t, format=form) if t.name in names else t for t in layer.stored)
        steps = tuple(
            replace(step, operands=tuple(replace(o, format=form) if o.stored in names else o for o in step.operands))
            if isinstance(step, Op)
            else step
            for step in layer.steps
        )
        return replace(layer, stored=stored, steps=steps)

    return edit_layers(workload, edit)


@cache
def _run(
    name: str, device: str, policy: str, slots: int, accuracy: float, weights: str, context: int, router: str
) -> Result:
    chosen = _model(name, weights)
    if policy == "on-demand":
        chosen = _router_behind_attention(chosen)
    formats = replace(stored_formats(chosen), activations="fp16", kv_cache="fp16", compute="fp16")
    cpu = on_engine("cpu")
    if policy == "in-memory":
        chosen_policy = Policy(_with_quantised_head, assign=cpu, place=Place().pin("experts", "lpddr"))
    else:
        collection = _collection(chosen, policy, slots, accuracy, router)
        chosen_policy = Policy(_with_quantised_head, assign=cpu, collections=(collection,))
    return simulate(chosen, Decode(1, context), _machine(device), formats=formats, policy=chosen_policy)


def _collection(chosen: Model, policy: str, slots: int, accuracy: float, router: str) -> CachedCollection:
    layers, mixture = _experts(chosen)
    recall = accuracy if policy == "predicted" else 1.0
    stream = _stream(router, layers, mixture.experts, mixture.top_k)
    # Without a cache experts pass through buffers, asked for as soon as the router has run.
    kind = "as-routed" if policy == "on-demand" and not slots else _FETCHES[policy]
    return CachedCollection(stream, "ufs", slots, WARMUP, fetch=Fetch(kind, recall=recall))


def _slots(chosen: Model, memory: float, weights: str, whole: Result) -> int:
    """Experts of a layer that fit in ``memory`` GiB beside all that is none; 0 where those of one token do not."""
    layers, mixture = _experts(chosen)
    others = whole.peak_bytes["lpddr"] - sum(whole.placement_bytes["experts"].values())
    free = memory * 2**30 - others if memory else float("inf")
    if free < 0:
        raise InputError(f"memory of {memory:g} GiB", f"at least {others / 2**30:.2f}", "--config memory")
    slots = int(min(mixture.experts, free / (layers * _expert_bytes(chosen, weights))))
    return slots if slots >= mixture.top_k else 0


def _simulate(config: Config) -> dict[str, float]:
    name, device, policy = str(config["model"]), str(config["device"]), str(config["policy"])
    weights, context, router = str(config["weights"]), int(config["context"]), str(config["router"])
    accuracy, memory = float(config["accuracy"]), float(config["memory"])
    chosen = _model(name, weights)
    whole = _run(name, device, "in-memory", 0, 1.0, weights, context, router)
    found = {
        "expert_bytes": _expert_bytes(chosen, weights),
        "model_bytes": storage_format(weights).storage_bytes(parameters(chosen).total),
        "tokens": whole.tokens_per_s,
    }
    if policy == "in-memory":
        return {**found, "memory": whole.peak_bytes["lpddr"]}
    slots = _slots(chosen, memory, weights, whole)
    at = (slots, accuracy, weights, context, router)
    result, late = (_run(name, device, kind, *at) for kind in (policy, "on-demand"))
    outcome = run_cache(_collection(chosen, policy, slots, accuracy, router))
    return {
        **found,
        "tokens_limited": result.tokens_per_s,
        "latency": result.latency_s,
        "io": result.utilisation["ufs"] * result.latency_s,
        "hit_rate": outcome.hit_rate,
        "speedup": late.latency_s / result.latency_s,
        "memory": result.peak_bytes["lpddr"],
    }


def _ask(**keys: Value) -> dict[str, float]:
    return _simulate(STUDY.config(keys))


def _published() -> tuple[Published, ...]:
    rows = []
    cards = (
        ("smallthinker-4b", 2.24, (78.99, 108.17), 1.0, (20.91, 29.99)),
        ("smallthinker-21b", 11.47, (23.03, 30.19), 8.0, (15.50, 20.30)),
        ("qwen3-30b-a3b", 16.20, (20.18, 33.52), 0.0, ()),
    )
    for name, size, whole, limit, limited in cards:
        rows.append(Published("model_bytes", {"model": name, "policy": "in-memory"}, size * 2**30, _CARD))
        for device, rate in zip(_DEVICES, whole, strict=True):
            rows.append(Published("tokens", {"model": name, "device": device, "policy": "in-memory"}, rate, _CARD))
        for device, rate in zip(_DEVICES, limited, strict=False):
            config: dict[str, Value] = {"model": name, "device": device, "memory": limit}
            rows.append(Published("tokens_limited", config, rate, _CARD))
    for name, size in (("smallthinker-4b", 1.99e6), ("smallthinker-21b", 3.32e6)):
        at: dict[str, Value] = {"model": name, "policy": "in-memory"}
        rows.append(Published("expert_bytes", at, size, "follows from the model cards' sizes"))
    return tuple(rows)


def _routes() -> str:
    found = []
    for device, published in (("phone", 20.91), ("desktop", 29.99)):
        drawn, uniform = (
            _ask(model="smallthinker-4b", memory=1.0, device=device, router=router)
            for router in ("qwen3-30b-a3b", "uniform")
        )
        found.append(
            f"{device}: {drawn['tokens_limited']:.1f} tokens/s with {drawn['hit_rate']:.0%} hits, "
            f"{uniform['tokens_limited']:.1f} with {uniform['hit_rate']:.0%} ({published} published)"
        )
    larger = [_ask(model="smallthinker-21b", memory=8.0, router=router) for router in ("qwen3-30b-a3b", "uniform")]
    found.append(
        f"21B on the phone: {larger[0]['tokens_limited']:.1f} with {larger[0]['hit_rate']:.0%}, "
        f"{larger[1]['tokens_limited']:.1f} with {larger[1]['hit_rate']:.0%} (15.5 published)"
    )
    return (
        "How many experts are still in memory decides, and no trace of these models is public. With the router fitted "
        f"to Qwen3-30B-A3B and with a router without preference: {'; '.join(found)}."
    )


def _rates() -> str:
    whole = _ask(model="smallthinker-21b", device="desktop", policy="in-memory")["tokens"]
    other = _ask(model="qwen3-30b-a3b", policy="in-memory")["tokens"]
    return (
        "Ours reads all that a token needs at the peak rate of two channels, 89.6 GB/s: "
        f"{whole:.1f} tokens/s, of which four threads are said to reach {30.19 / whole:.0%}; what of an expert's "
        "neurons is skipped as zero is not stated and not left out. On the phone Qwen3-30B-A3B, which skips none, "
        f"reaches {20.18 / other:.0%} of our {other:.1f} tokens/s."
    )


def _notes() -> tuple[str, ...]:
    rates = {
        accuracy: _ask(model="switch-base-128", policy="predicted", accuracy=accuracy, memory=0.15)["speedup"]
        for accuracy in (0.0, 0.5, 0.8, 1.0)
    }
    at = ", ".join(f"{rate:.2f} at {accuracy:.0%}" for accuracy, rate in rates.items())
    return (
        "EdgeMoE (arXiv 2308.14352) is said to be 1.11 to 2.78 times as fast as others, on devices and models whose "
        f"times are not known to us. Of prediction alone, Switch-Base-128 on this phone in 0.15 GiB gains: {at} right.",
        "The model card also has boards (RK3588 and others), whose memory and storage it does not describe.",
    )


_CARD = "model cards of PowerInfer/SmallThinker-4BA0.6B-Instruct and -21BA3B-Instruct (45e4585), speed"
_TIME = ("weights", "memory", "compute")
_DRAWN = (*_TIME, "storage", "router", "seed")
STUDY = Study(
    title="SmallThinker and EdgeMoE",
    claim="Mixtures of 4 and 21 billion parameters at more than 20 tokens/s with 1 and 8 GB of memory, experts being "
    "fetched from storage while attention runs; a predictor does the same where the router runs late.",
    source="SmallThinker, arXiv 2507.20984 and model cards; EdgeMoE, arXiv 2308.14352",
    machine="phone-ufs4 at the rates of the next generation, and the same with a desktop's memory and drive",
    workload="one decode step in Q4_0 after 128 tokens",
    policy="experts as a collection in storage behind an LRU cache, asked for before attention or by a predictor",
    baseline="all in memory; asked for by the router behind attention",
    keys={
        "model": Key("smallthinker-4b", "which model", choices=_NAMES),
        "device": Key("phone", "OnePlus 13, or a desktop with an i9-14900", choices=_DEVICES),
        "policy": Key("router-first", "who asks for experts, and when", choices=("in-memory", *_FETCHES)),
        "memory": Key(1.0, "GiB of memory; 0: as much as all experts need", low=0.0, high=128.0),
        "accuracy": Key(0.8, "share of experts that the predictor names (predicted)", low=0.0, high=1.0),
        "weights": Key("q4_0", "format of the weights", choices=("fp16", "int8", "q4_0", "int4", "int2_g64")),
        "context": Key(CONTEXT, "tokens before", low=1, high=16384),
        "router": Key(
            "qwen3-30b-a3b", "whose preferences experts are drawn by", choices=(*fitted_router_names(), "uniform")
        ),
    },
    constants=CONSTANTS,
    metrics={
        "tokens": Metric("tokens a second, all in memory", "1/s", _TIME),
        "tokens_limited": Metric("tokens a second, experts in storage", "1/s", _DRAWN),
        "latency": Metric("a token, experts in storage", "s", _DRAWN),
        "io": Metric("reading, a token", "s", ("weights", "storage", "router", "seed")),
        "hit_rate": Metric("share of experts found in memory", "", ("weights", "router", "seed")),
        "speedup": Metric("over asking behind attention", "", _DRAWN),
        "memory": Metric("most bytes of memory", "B", ("weights",)),
        "model_bytes": Metric("bytes of the model", "B", ("weights",)),
        "expert_bytes": Metric("bytes of an expert", "B", ("weights",)),
    },
    published=_published(),
    simulate=_simulate,
    misses=(
        Miss(("tokens_limited",), "Which experts are still there.", _routes),
        Miss(("tokens",), "What four threads reach of a memory's rate.", _rates),
    ),
    notes=_notes,
)
