"""Hecate: experts fully sharded over all devices, hot ones brought to every device anew in each iteration.

The layers' other work, of which transfers hide behind, is that of the lowered training step on the machine; loads are
synthetic, as no gating trace is published; rules of all systems are those of `simulator.training.experts.systems`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.roofline import roofline_workload
from simulator.training.experts.balance import Cluster, Gather, LayerCosts, cluster_of, gather_of
from simulator.training.experts.systems import SYSTEMS, Rules, SystemTimes, run_system
from studies.frame.constants import derived, fitted, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Miss, Study
from studies.published.hecate import PUBLISHED
from workloads.formats import FormatChoice
from workloads.models.architecture import Attention, Block, FeedForward, MixtureOfExperts, Model
from workloads.models.lower import lower
from workloads.models.lower_feed_forward import ExpertShare
from workloads.phases import Train
from workloads.traces.expert_loads import synthetic_loads

__all__ = ["STUDY"]

MACHINE = "a100-40gb-sxm"
_P3 = "AWS p3dn.24xlarge: 8 V100 of 32 GB; NVIDIA V100 data sheet"
_P4 = "AWS p4d.24xlarge: 8 A100 of 40 GB, 4 adapters of 100 Gbit/s"
CONSTANTS = {
    "v100_rate": stated(39e12, "FLOP/s", "attained by a whole step on one V100 of 32 GB: arXiv 1909.08053, section 1"),
    "a100_rate": stated(137e12, "FLOP/s", "attained by a whole step, GPT of 1.7 billion: arXiv 2104.04473, table 1"),
    "v100_vector_rate": stated(15.7e12, "FLOP/s", f"{_P3}: fp32"),
    "v100_hbm_rate": stated(900e9, "B/s", f"{_P3}: HBM2"),
    "v100_nvlink": stated(150e9, "B/s", f"{_P3}: 300 GB/s in both directions together"),
    "p3dn_network": stated(12.5e9, "B/s", f"{_P3}, one adapter of 100 Gbit/s a node"),
    "p4d_network": stated(50e9, "B/s", f"{_P4} a node"),
    "a100_hbm_rate": of_machine(MACHINE, "tiers.hbm.read_bandwidth"),
    "a100_nvlink": of_machine(MACHINE, "fabric.bandwidth"),
    "launch": of_machine(MACHINE, "engines.tensor.launch_overhead"),
    "state_bytes": derived(
        16, "B", "a parameter in fp16 2, its gradient 2, master weight and Adam's moments in fp32 12"
    ),
    "models": stated("table", "", "arXiv 2502.02581: widths, layers, experts; top-2 gating; d_ffn twice d_model"),
    "heads": synthetic(64, "", "width of a head, as in GPT-2 and BERT"),
    "vocabulary": synthetic(50257, "", "GPT-2's; BERT's of 30,522 for the others: the source names none"),
    "reshard_every": stated(100, "iterations", "arXiv 2502.02581: shards are placed again every 100 iterations"),
    "batch": synthetic(16384, "tokens", "a device's, as many as fit 32 GB for each model (power of two): not stated"),
    "skew": fitted(
        0.6, "", "Zipf's exponent of the loads, to one digit: speeds over expert parallelism, cluster A, 16"
    ),
    "drift": synthetic(
        0.3, "", "the load's logarithm wanders, forgotten over 100 iterations: no gating trace published"
    ),
    "held": fitted(5.73, "", "Hecate's memory budget: its published parameters over those of expert parallelism"),
    "replicate_every": synthetic(50, "iterations", "FlexMoE's replicas follow the load; how often is not stated"),
    "replica_slots": fitted(3, "", "FlexMoE's slots over the experts: its published memory, to a whole number"),
}
_SHAPES = {"gpt-s": (768, 2048, 12, True), "gpt-l": (1536, 2048, 12, True),
           "bert": (1024, 512, 12, False), "bert-deep": (1024, 512, 24, False)}  # fmt: skip
"""Width, tokens of a sequence, layers, and whether causal."""

BASELINES = ("ep", "fastermoe", "smartmoe", "flexmoe")
HALVES = FormatChoice("fp16", "fp16", "fp16", "fp16")


def _model(name: str, experts: int, top_k: int) -> Model:
    width, _, layers, causal = _SHAPES[name]
    heads = width // CONSTANTS["heads"].value
    attention = Attention(heads, heads, CONSTANTS["heads"].value, causal=causal, rotary=False)
    mixture = MixtureOfExperts(experts, top_k, FeedForward(2 * width, False, "gelu"))
    vocabulary = CONSTANTS["vocabulary"].value if causal else 30522
    return Model(name, "gpt", width, vocabulary, (Block(attention, mixture, "layer"),), (0,) * layers, True)


@cache
def _system(cluster: str, devices: int) -> tuple[System, int]:
    """The devices with their network, and adapters of a node."""
    at = {name: constant.value for name, constant in CONSTANTS.items()}
    changes: dict[str, object] = {"devices": devices, "network.bandwidth": at["p4d_network"] / 8,
                                  "engines.tensor.throughput.fp16": at["a100_rate"]}  # fmt: skip
    if cluster == "A":
        changes |= {
            "engines.tensor.throughput.fp16": at["v100_rate"], "engines.vector.throughput.fp32": at["v100_vector_rate"],
            "tiers.hbm.bandwidth": at["v100_hbm_rate"], "tiers.hbm.capacity": 32e9,
            "fabric.bandwidth": at["v100_nvlink"], "network.bandwidth": at["p3dn_network"] / 8,
        }  # fmt: skip
    return override_values(load_system(MACHINE), changes), 1 if cluster == "A" else 4


@dataclass(frozen=True)
class _Setting:
    """One model on one cluster: layer's costs, seconds of an iteration beside the layers, bytes of an expert."""

    layers: int
    tokens: int
    cluster: Cluster
    costs: LayerCosts
    gather: Gather
    outside_s: float
    update_s: float
    expert_bytes: float
    parameters: float


@cache
def _setting(name: str, cluster: str, devices: int, experts: int, top_k: int, tokens: int) -> _Setting:
    machine, adapters = _system(cluster, devices)
    width, sequence, layers, _ = _SHAPES[name]
    model = _model(name, experts, top_k)
    phase = Train(tokens // min(tokens, sequence), min(tokens, sequence), gradient_format="fp16")
    step = lower(model, phase, HALVES, experts=ExpertShare(devices, groups=devices))
    mapped = roofline_workload(step, machine)
    seconds = {
        (layer.name, part): sum(
            each.time_s for each in mapped.layers[layer.name].ops.values() if _is_expert(each.op.name) == part
        )
        for layer, _ in step.layers()
        for part in (False, True)
    }
    rows = phase.tokens * top_k
    costs = LayerCosts(
        2.0 * width, seconds["layer", True] / rows, seconds["layer_backward", True] / rows,
        seconds["layer", False], seconds["layer_backward", False],
    )  # fmt: skip
    expert = 4 * width * width
    outside = sum(
        count * seconds[layer.name, False] for layer, count in step.layers() if not layer.name.startswith("layer")
    )
    updates = sum(count * seconds[layer.name, False] for layer, count in step.layers() if "layer_update" in layer.name)
    return _Setting(
        layers, phase.tokens, cluster_of(machine, adapters), costs, gather_of(machine, 2.0 * expert), outside, updates,
        2.0 * expert, layers * (experts * expert + 4 * width * width),
    )  # fmt: skip


def _is_expert(name: str) -> bool:
    return name.startswith(("experts_", "received"))


@cache
def _trace(layers: int, experts: int, tokens: int, top_k: int, skew: float, drift: float) -> NDArray[np.int64]:
    return synthetic_loads(
        iterations=300, layers=layers, experts=experts, tokens=tokens, top_k=top_k, skew=skew, drift=drift
    )


@dataclass(frozen=True)
class _Outcome:
    """Seconds of a step, and of its layers of experts, their exchanges and transfers of experts; the experts that a
    device holds as parameters and with all states, over those of expert parallelism."""

    step_s: float
    experts_s: float
    exchange_s: float
    transfers_s: float
    parameters: float
    memory: float


@cache
def _outcome(system: str, name: str, setting: tuple[tuple[str, str | int | float], ...]) -> _Outcome:
    at = dict(setting)
    experts, top_k, devices, tokens = (int(at[key]) for key in ("experts", "top_k", "devices", "tokens"))
    found = _setting(name, str(at["cluster"]), devices, experts, top_k, tokens)
    state_bytes = CONSTANTS["state_bytes"].value * found.expert_bytes / 2
    most = min(experts, round((float(at["held"]) - 1) * experts / devices))
    rules = Rules(
        place_every=CONSTANTS["reshard_every"].value, replicate_every=CONSTANTS["replicate_every"].value,
        replica_slots=int(at["replica_slots"]), most_everywhere=most,
    )  # fmt: skip
    trace = _trace(found.layers, experts, found.tokens * devices, top_k, float(at["skew"]), float(at["drift"]))
    times = run_system(system, trace, found.cluster, found.costs, found.gather, state_bytes, rules)
    layers_s, exchange_s, transfers_s = (
        float(each.sum(1).mean()) for each in (times.layer_s, times.exchange_s, times.transfers_s)
    )
    other = found.layers * (found.costs.other_forward_s + found.costs.other_backward_s)
    step = layers_s + other + found.outside_s + found.update_s * times.slots
    return _Outcome(
        step, layers_s, exchange_s, transfers_s,
        *_held(system, times, experts // devices, state_bytes, found.expert_bytes),
    )  # fmt: skip


def _held(system: str, times: SystemTimes, slots: int, state_bytes: float, expert_bytes: float) -> tuple[float, float]:
    """Experts held at once, as parameters and in bytes with all states, over expert parallelism's: what is brought
    stays from the forward pass to the backward pass, or with ``-rm`` for the layer in work and the next one."""
    layers = times.everywhere.shape[1]
    brought = float(times.everywhere.sum(1).max() if system == "hecate" else 2 * times.everywhere.max())
    if system not in ("hecate", "hecate-rm"):
        return times.slots, times.slots
    own = layers * slots
    return 1 + brought / own, 1 + brought * expert_bytes / (own * state_bytes)


def _simulate(config: Config) -> dict[str, float]:
    names = list(_SHAPES) if config["model"] == "all" else [str(config["model"])]
    system = str(config["system"])
    skipped = ("model", "system")
    setting = tuple((key, value) for key, value in config.items() if key not in skipped)
    of = {(who, name): _outcome(who, name, setting) for who in SYSTEMS for name in names}
    mine, even = ([of[who, name] for name in names] for who in (system, "ep"))
    best = [min(of[who, name].step_s for who in BASELINES) for name in names]
    speedup = [e.step_s / m.step_s for m, e in zip(mine, even, strict=True)]
    moe = [e.experts_s / m.experts_s for m, e in zip(mine, even, strict=True)]
    over_best = [b / m.step_s for b, m in zip(best, mine, strict=True)]
    hecate, sharding = ([of[who, name] for name in names] for who in ("hecate", "sharding"))
    found = {
        "speedup_least": min(speedup), "speedup_most": max(speedup), "speedup": _mean(speedup),
        "over_best": _mean(over_best), "over_best_most": max(over_best),
        "moe_least": min(moe), "moe_most": max(moe), "moe_mean": _mean(moe),
        "over_sharding": _mean([s.step_s / m.step_s for s, m in zip(sharding, mine, strict=True)]),
        "step": sum(each.step_s for each in mine) / len(mine),
        "memory": _mean([each.memory for each in mine]),
        "held_parameters": _mean([each.parameters for each in mine]),
        "memory_over_hecate": _mean([m.memory / h.memory for m, h in zip(mine, hecate, strict=True)]),
    }  # fmt: skip
    if all(each.exchange_s for each in mine):
        found["exchange"] = _mean([e.exchange_s / m.exchange_s for m, e in zip(mine, even, strict=True)])
    if system == "hecate-rm":
        price = [m.step_s / h.step_s - 1 for m, h in zip(mine, hecate, strict=True)]
        found |= {"price_least": min(price), "price_most": max(price)}
        found["transfers"] = _mean([m.transfers_s / h.transfers_s for m, h in zip(mine, hecate, strict=True)])
        found["given_back"] = _mean(
            [(h.memory - m.memory) / (h.memory - 1) for m, h in zip(mine, hecate, strict=True) if h.memory > m.memory]
        )
    if len(names) == 1:
        at = dict(setting)
        sizes = (int(at[key]) for key in ("devices", "experts", "top_k", "tokens"))
        found["parameters"] = _setting(names[0], str(at["cluster"]), *sizes).parameters
    return found


def _mean(values: list[float]) -> float:
    """The geometric one."""
    return math.exp(sum(map(math.log, values)) / len(values))


def _all(**some: str | int | float) -> dict[str, float]:
    return _simulate(STUDY.config({"model": "all", **some}))


def _shares() -> str:
    """How much of a step exchanges are, and what follows from the published numbers."""
    even = {cluster: _share(cluster, devices, 0.0) for cluster, devices in (("A", 16), ("A", 32), ("B", 32))}
    most = (1 - 1 / 1.78) / (1 - 1 / 11.87)
    return (
        "Layers of experts that are 11.87 times faster leave a step at most 1.78 times faster where they are at most "
        f"{most:.0%} of it. At the stated networks, with loads perfectly even, the exchanges of tokens alone are "
        f"{even['B']:.0%} to {even['A']:.0%} of a step of expert parallelism. The published numbers bound each other "
        "too: over the best baseline 1.645 at 16 devices, over one of the baselines at most 1.58; the ablation's 1.36 "
        f"times 3.32 is {1.36 * 3.32:.2f}. Exchanges shrink 12.3 times only where the experts on a device take "
        f"{1 - 1 / 12.3:.0%} of its tokens. With the skew that the first speeds give, {_zipf():.1f}, layers of experts "
        f"gain {_all()['moe_mean']:.2f} and exchanges {_all()['exchange']:.2f}; with 1.2 it is "
        f"{_all(skew=1.2)['moe_mean']:.2f} and {_all(skew=1.2)['exchange']:.2f}, and steps gain "
        f"{_all(skew=1.2)['speedup']:.2f}."
    )


def _zipf() -> float:
    return float(CONSTANTS["skew"].value)


def _share(cluster: str, devices: int, skew: float) -> float:
    config = STUDY.config({"cluster": cluster, "devices": devices, "skew": skew, "drift": 0.0})
    setting = tuple((key, value) for key, value in config.items() if key not in ("model", "system"))
    found = [_outcome("ep", name, setting) for name in _SHAPES]
    return _mean([each.exchange_s / each.step_s for each in found])


def _best_baseline() -> str:
    config = STUDY.config({})
    setting = tuple((key, value) for key, value in config.items() if key not in ("model", "system"))
    speeds = {
        who: _mean([_outcome("ep", name, setting).step_s / _outcome(who, name, setting).step_s for name in _SHAPES])
        for who in SYSTEMS
    }
    return (
        "Over expert parallelism ours gain: "
        + ", ".join(f"{who} {speed:.2f}" for who, speed in speeds.items())
        + ". Shadows are chosen here by the iteration's own loads, with their cost known and nothing beside it; "
        "without them the best baseline is "
        f"{max(speeds[who] for who in ('ep', 'smartmoe', 'flexmoe')):.2f}, and Hecate gains "
        f"{speeds['hecate'] / max(speeds[who] for who in ('ep', 'smartmoe', 'flexmoe')):.2f} over it."
    )


def _price() -> str:
    plain, again = (_all(system=who) for who in ("hecate", "hecate-rm"))
    return (
        "Where experts come twice, three transfers stand for two: 1.5 times the bytes for as many experts, not 3.6. "
        "Ours weighs the wait and brings fewer, so that transfers take "
        f"{again['transfers']:.2f} times as long and a step {again['step'] / plain['step'] - 1:.1%} longer. Of a layer "
        "released after its forward pass two are held at once, the one in work and the next: that gives back "
        f"{again['given_back']:.0%}, and holding one would give back {(1 + again['given_back']) / 2:.0%}."
    )


def _notes() -> list[str]:
    lines = []
    for key, values in (("skew", (0.0, 0.3, 0.6, 0.9, 1.2)), ("drift", (0.0, 0.3, 1.0)), ("tokens", (4096, 16384))):
        found = [f"{_all(**{key: value})['speedup']:.2f}" for value in values]
        lines.append(
            f"Speed over expert parallelism with {key} {', '.join(str(value) for value in values)}: {', '.join(found)}."
        )
    return ["Gating is synthetic, as no trace is published: loads follow Zipf's law and wander.", *lines]


_MACHINES = ("v100_rate", "v100_vector_rate", "v100_hbm_rate", "v100_nvlink", "p3dn_network",
             "a100_rate", "a100_hbm_rate", "a100_nvlink", "p4d_network", "launch")  # fmt: skip
_LOADS = ("models", "heads", "vocabulary", "batch", "skew", "drift", "held", "reshard_every")
_ALL = (*_MACHINES, *_LOADS)
_HELD = ("models", "state_bytes", "held", "skew", "drift")
STUDY = Study(
    title="Hecate",
    claim="Experts fully sharded over all devices, hot ones on every device anew each iteration: up to 3.54x faster.",
    source="Qing et al., arXiv 2502.02581",
    machine="A: nodes of 8 V100 of 32 GB, one adapter of 100 Gbit/s; B: nodes of 8 A100 of 40 GB, four adapters",
    workload="GPT and BERT with 64 experts in every layer, two for a token; synthetic, skewed and wandering loads",
    policy="shards placed by expected load every 100 iterations; the hottest experts brought to all behind other work",
    baseline="expert parallelism; FasterMoE's shadows, SmartMoE's placements and FlexMoE's replicas, rebuilt as rules",
    keys={
        "model": Key("all", "model, or a mean over all", choices=(*_SHAPES, "all")),
        "cluster": Key("A", "V100 (A) or A100 (B)", choices=("A", "B")),
        "devices": Key(32, "devices, eight of a node", choices=(8, 16, 32, 64)),
        "system": Key("hecate", "system", choices=tuple(SYSTEMS)),
        "tokens": Key(CONSTANTS["batch"].value, "tokens of a device", low=512, high=65536),
        "experts": Key(64, "experts of a layer", choices=(64, 128)),
        "top_k": Key(2, "experts of a token", low=1, high=8),
        "skew": Key(CONSTANTS["skew"].value, "Zipf's exponent of the loads", low=0, high=2),
        "drift": Key(CONSTANTS["drift"].value, "standard deviation of the load's logarithm", low=0, high=2),
        "held": Key(CONSTANTS["held"].value, "parameters held over expert parallelism's, at most", low=1, high=64),
        "replica_slots": Key(CONSTANTS["replica_slots"].value, "FlexMoE's slots over the experts", low=1, high=8),
    },
    constants=CONSTANTS,
    metrics={
        "speedup": Metric("speed over expert parallelism's, mean over models", "", _ALL),
        "speedup_least": Metric("that of the model that gains least", "", _ALL),
        "speedup_most": Metric("that of the model that gains most", "", _ALL),
        "over_best": Metric("speed over the best baseline's, mean over models", "", (*_ALL, "replica_slots")),
        "over_best_most": Metric("that of the model that gains most", "", (*_ALL, "replica_slots")),
        "moe_mean": Metric("speed of the layers of experts alone, mean over models", "", _ALL),
        "moe_least": Metric("that of the model that gains least", "", _ALL),
        "moe_most": Metric("that of the model that gains most", "", _ALL),
        "exchange": Metric("expert parallelism's time in exchanges of tokens over the system's", "", _ALL),
        "over_sharding": Metric("speed over that of shards with no expert brought to all", "", _ALL),
        "price_least": Metric("time that bringing experts twice costs, least", "", _ALL),
        "price_most": Metric("time that bringing experts twice costs, most", "", _ALL),
        "transfers": Metric("time in transfers of experts over that of bringing them once", "", _ALL),
        "step": Metric("seconds of an iteration", "s", _ALL),
        "memory": Metric("bytes of experts' parameters and states over expert parallelism's", "", _HELD),
        "held_parameters": Metric("parameters of experts held over expert parallelism's", "", _HELD),
        "memory_over_hecate": Metric("bytes of experts over Hecate's", "", (*_HELD, "replica_slots")),
        "given_back": Metric("share of what is held more that bringing twice gives back", "", _HELD),
        "parameters": Metric("parameters of the layers", "", ("models",)),
    },
    published=PUBLISHED,
    simulate=_simulate,
    misses=(
        Miss(
            ("moe_least", "moe_most", "moe_mean", "exchange", "speedup_least", "over_sharding"),
            "The published numbers do not agree with each other, nor with the stated networks.",
            _shares,
        ),
        Miss(("over_best", "over_best_most"), "The baselines are rules here, without their overheads.", _best_baseline),
        Miss(("transfers", "price_least", "price_most"), "Our transfers are brought in bulk and hide well.", _price),
    ),
    notes=_notes,
)
