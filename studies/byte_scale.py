"""ByteScale: data and context parallelism in one, so that each sequence takes as many ranks as it needs.

Batches drawn from the paper's two corpora are dealt to ranks by the plans of
`simulator.training.sequences.length_balance`, with costs of a token, a pair and a hop off the lowered model at kernel
fidelity. The paper hides its cluster; the GPU is taken as an A100 because figure 18a's layers run at half that one's
peak, and the rate between ranks is the one that figure 18a measures. Metrics called ``_profile`` take that figure's
times of a layer instead. Gradients are exchanged once a step in every plan alike and left out.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from simulator.training.sequences.length_balance import (
    LengthCosts,
    Plan,
    Unit,
    balanced,
    hybrid_units,
    in_order,
    mean_s,
    static_units,
)
from simulator.training.sequences.length_costs import length_costs
from simulator.training.step.setup import CONTENTION
from studies.frame.constants import derived, fitted, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Miss, Published, Study, Value
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.traces.length_mixes import LENGTH_MIXES, draw_lengths

__all__ = ["STUDY"]

MACHINE, K = "a100-80gb-sxm", 1024
M = K * K
MODELS = {
    "llama-7b": (32, 32, 4096, 11008, 2),
    "llama-13b": (40, 40, 5120, 13824, 4),
    "llama-30b": (60, 56, 6656, 17920, 8),
}
"""Layers, heads and width of table 1 (8 groups of keys and values), LLaMA's feed-forward, GPUs of a rank."""

CONSTANTS = {
    "models": stated(None, "", "table 1; feed-forwards of LLaMA, arXiv 2302.13971"),
    "batch": stated(32 * M, "", "section 8.1: 32M tokens a step"),
    "capacity": derived(8 * K, "", "section 8.3: 256 ranks for 2M tokens"),
    "rank": derived(2, "", "section 8.3: 1024 GPUs, 8 micro-batches of 2M tokens in 32M, so 2 x 256 ranks of 2 GPUs"),
    "other_ranks": synthetic(None, "", "13B on 2K and 30B on 4K GPUs taken as 512 ranks too: 4 and 8 GPUs"),
    "hop": derived(11.2e9, "B/s", "figure 18a: 8K tokens' keys and values of 4 groups, 16.8 MB, in 1.5 ms a hop"),
    "mix": derived(None, "", "figure 4's labels, dealt to lengths so that the sums of sections 3.1 and 8.2 come out"),
    "tail": synthetic((2.4, 1.7, 1.2), "", "GitHub's 5.3 % of tokens from 512K on: how they divide is not stated"),
    "seeds": synthetic(4, "", "batches drawn; times are means over them"),
    "gpu": synthetic(MACHINE, "", "the paper hides it; figure 18a's layers of 8K tokens run at 161 TFLOP/s a GPU"),
    "layer": stated(9e-3, "s", "figure 18a: products of a layer for 8K tokens of a rank, forward"),
    "attention": stated(0.110, "s", "figure 18a: attention of a layer for 312K tokens on 39 ranks, forward"),
    "hop_time": stated(1.5e-3, "s", "figure 18a: keys and values of 8K tokens to the next rank, forward"),
    "host_link": of_machine(MACHINE, "links.host-pcie.bandwidth"),
    "kernels": fitted("kernel", "", "constants of kernel fidelity: kernels measured alone, none of these runs"),
}
PLANS = ("static", "hybrid", "offload", "balanced")
_LENGTHS = ("batch", "capacity", "rank", "mix", "tail", "seeds")
_KERNELS = (*_LENGTHS, "models", "other_ranks", "hop", "gpu", "host_link", "kernels")
_PROFILE = (*_LENGTHS, "layer", "attention", "hop_time", "host_link")
BACKWARD = {"layer": 2, "attention": 2.5, "hop_time": 2}
"""Backward over forward: products twice; attention five products for two (FlashAttention-2); and of what passes keys
and values once more with their gradients."""


@cache
def _costs(name: str, costs: str = "kernels") -> LengthCosts:
    """From our kernels; or, for the 7B model, from the times of a layer that figure 18a gives ("profile")."""
    if costs == "profile":
        value = {key: CONSTANTS[key].value * (1 + more) for key, more in BACKWARD.items()}
        ours, tokens = _costs("llama-7b"), 312 * K
        return replace(
            ours,
            token_s=ours.layers * value["layer"] / CONSTANTS["capacity"].value,
            pair_s=ours.layers * value["attention"] * 39 / (tokens * (tokens + 1) / 2),
            passed_s=ours.layers * value["hop_time"] / CONSTANTS["capacity"].value,
        )
    layers, heads, width, wide, tensor = MODELS[name]
    block = Block(Attention(heads, 8, 128), FeedForward(wide, gated=True, activation="silu"), "rms")
    model = Model(name, "llama", width, 32000, (block,), (0,) * layers, tied_embeddings=False)
    return length_costs(model, CONSTANTS["capacity"].value, _system(), tensor=tensor)


@cache
def _system() -> System:
    return override_values(load_system(MACHINE), {"devices": 1024, "network.bandwidth": CONSTANTS["hop"].value})


@cache
def _batch(mix: str, context: int, seed: int, tokens: int) -> tuple[int, ...]:
    return tuple(draw_lengths(mix, tokens, context, seed))


@cache
def _plan(costs: LengthCosts, mix: str, context: int, how: str, ranks: int, tokens: int, seed: int) -> Plan:
    lengths, capacity = _batch(mix, context, seed, tokens), CONSTANTS["capacity"].value
    if how == "static":
        return in_order(static_units(lengths, capacity, min(ranks, -(-context // capacity))), ranks)
    units = hybrid_units(lengths, capacity)
    if how == "hybrid":
        return in_order(units, ranks)
    units = hybrid_units(lengths, capacity, costs, mean_s(units, ranks, costs))
    return in_order(units, ranks) if how == "offload" else balanced(units, ranks, costs)


def _ranks(config: Config) -> int:
    return max(1, int(config["gpus"]) // MODELS[str(config["model"])][-1])


def _finish(config: Config, how: str, context: int, costs: LengthCosts) -> list[NDArray[np.float64]]:
    ranks, tokens = _ranks(config), int(config["batch"])
    return [
        _plan(costs, str(config["mix"]), context, how, ranks, tokens, seed).finish_s(costs, ranks)
        for seed in range(CONSTANTS["seeds"].value)
    ]


def _step_s(config: Config, how: str, context: int, costs: LengthCosts) -> float:
    return float(np.mean([each.max() for each in _finish(config, how, context, costs)]))


def _simulate(config: Config) -> dict[str, float]:
    how, context, name = str(config["plan"]), int(config["context"]), str(config["model"])
    costs, mix, seeds = _costs(name), str(config["mix"]), range(CONSTANTS["seeds"].value)
    ours = _step_s(config, how, context, costs)
    tokens = np.mean([sum(_batch(mix, context, seed, int(config["batch"]))) for seed in seeds])
    found = {
        "tokens_per_s": float(tokens) / ours,
        "step": ours,
        "gain": _step_s(config, "static", context, costs) / ours,
        "idle": float(np.mean([1 - each.mean() / each.max() for each in _finish(config, how, context, costs)])),
    }
    if name == "llama-7b":
        profile = _costs(name, "profile")
        found["step_profile"] = _step_s(config, how, context, profile)
        found["gain_profile"] = _step_s(config, "static", context, profile) / found["step_profile"]
    if context >= 512 * K:
        doublings = np.log2(context / (256 * K))
        found["decline"] = (ours / _step_s(config, how, 256 * K, costs)) ** (1 / doublings)
    return found


def _same_factor() -> str:
    config = STUDY.config({"mix": "byted"})
    plans = {"static": 520, "hybrid": 272, "balanced": 157}
    shares = [f"{_step_s(config, how, 2 * M, _costs('llama-7b')) / wanted:.2f}" for how, wanted in plans.items()]
    layer, stated_layer = _costs("llama-7b").token_s * 8 * K / 32 / 3, CONSTANTS["layer"].value
    forward = 32 * (0.405 + stated_layer)
    return (
        f"Ours are {', '.join(shares)} of the published steps, nearly one factor, so plans compare: a layer's products "
        f"of 8K tokens take {layer * 1e3:.1f} ms forward here, {stated_layer * 1e3:.0f} ms in figure 18a. With figure "
        "18a's times (`step_profile`) it is the mesh alone that lacks time: they make a forward pass of "
        f"{forward:.0f} s, and figure 18b has 18 to 20 s."
    )


def _contended() -> str:
    """Offloading over not, dealt in order, with passing free beside attention and with its seconds lost to it."""
    config, said = STUDY.config({"mix": "byted"}), []
    for contention in (0.0, CONTENTION):
        costs = replace(_costs("llama-7b"), contention=contention)
        static, hybrid, offload = (_step_s(config, how, 2 * M, costs) for how in ("static", "hybrid", "offload"))
        said.append(f"{static / hybrid:.2f} without and {static / offload:.2f} with offloading")
    hops = [f"{_costs(name).passed_s / _costs(name).token_s:.2f}" for name in MODELS]
    return (
        "Fewer ranks pass on less in all, but each as long, beside attention. Where passing is free beside it the "
        f"naive plan gains {said[0]}; where attention loses as many seconds as pass (the step simulator's constant, "
        f"fitted to other systems), {said[1]}. A mesh is as slow as its hops: of larger models, whose ranks we take as "
        f"4 and 8 GPUs, a hop's time over a token's is {', '.join(hops)} (7B, 13B, 30B)."
    )


def _lighter_tail() -> str:
    config, costs = STUDY.config({"mix": "github"}), _costs("llama-7b")
    work = {context: mean_s(_units(config, context), 512, costs) for context in (256 * K, 2 * M)}
    share = sum(LENGTH_MIXES["github"][-3:])
    return (
        f"From 256K to 2M the work itself grows {work[2 * M] / work[256 * K]:.2f} times, "
        f"{(work[2 * M] / work[256 * K]) ** (1 / 3):.2f} a doubling, by {share:.1f} % of tokens beyond 512K whose "
        "lengths are not stated: no plan can decline by less, so the published 1.08 means shorter ones."
    )


def _units(config: Config, context: int) -> tuple[Unit, ...]:
    return _plan(_costs("llama-7b"), str(config["mix"]), context, "hybrid", 512, int(config["batch"]), 0).units


_CASE: dict[str, Value] = {"mix": "byted", "context": 2 * M}
_CODE: dict[str, Value] = {"mix": "github", "context": 2 * M}
STUDY = Study(
    title="ByteScale",
    claim="Sequences on as many ranks as they need, balanced by work, train up to 7.89 times faster than on a mesh.",
    source="Ge et al., 2025, arXiv 2502.21231v1",
    machine="a100-80gb-sxm taken for a hidden GPU, 1,024 of them, 11.2 GB/s between ranks as figure 18a measures",
    workload="LLaMA-7B, 13B and 30B, 32M tokens a step, lengths as in figure 4",
    policy="hybrid data parallelism: short sequences on one rank, long ones on many, offloaded and dealt out by work",
    baseline="a static mesh whose context parallelism holds the longest sequence, sequences packed to that length",
    keys={
        "model": Key("llama-7b", "the model", choices=tuple(MODELS)),
        "mix": Key("byted", "the corpus whose lengths are drawn", choices=tuple(LENGTH_MIXES)),
        "context": Key(2 * M, "tokens of the longest sequence", low=16 * K, high=2 * M),
        "plan": Key("balanced", "how sequences are dealt to ranks", choices=PLANS),
        "gpus": Key(1024, "GPUs", low=512, high=16384),
        "batch": Key(32 * M, "tokens of a step", low=4 * M, high=128 * M),
    },
    constants=CONSTANTS,
    metrics={
        "tokens_per_s": Metric("tokens per second, all GPUs together", "1/s", _KERNELS),
        "step": Metric("a step's passes", "s", _KERNELS),
        "gain": Metric("speed over the static mesh's", "", _KERNELS),
        "step_profile": Metric("a step's passes with the layer's times of figure 18a, 7B", "s", _PROFILE),
        "gain_profile": Metric("speed over the static mesh's with the layer's times of figure 18a, 7B", "", _PROFILE),
        "idle": Metric("share of the ranks' time in which they wait for the last", "", _KERNELS),
        "decline": Metric("times slower with each doubling of the context from 256K on", "", _KERNELS),
    },
    published=(
        Published("gain", _CODE, 7.89, "figure 17, section 8.2"),
        Published("gain", {"model": "llama-13b", "gpus": 2048, **_CODE}, 6.88, "figure 17: between 6.21 and 7.89"),
        Published("gain", {"model": "llama-30b", "gpus": 4096, **_CODE}, 6.21, "figure 17, section 8.2"),
        Published("gain", {"plan": "hybrid", **_CASE}, 1.59, "figure 20, dynamic communication"),
        Published("gain", {"plan": "offload", **_CASE}, 2.01, "figure 20, selective offloading"),
        Published("gain", {"plan": "balanced", **_CASE}, 3.69, "figure 20, balance strategy"),
        Published("step", {"plan": "static", **_CASE}, 520, "figure 18, 8 min 40 s"),
        Published("step", {"plan": "hybrid", **_CASE}, 272, "figure 18, 4 min 32 s"),
        Published("step", {"plan": "balanced", **_CASE}, 157, "figure 18, 2 min 37 s"),
        Published("step_profile", {"plan": "static", **_CASE}, 520, "figure 18, 8 min 40 s"),
        Published("step_profile", {"plan": "hybrid", **_CASE}, 272, "figure 18, 4 min 32 s"),
        Published("step_profile", {"plan": "balanced", **_CASE}, 157, "figure 18, 2 min 37 s"),
        Published("gain_profile", _CODE, 7.89, "figure 17, section 8.2"),
        Published("gain_profile", {"plan": "hybrid", **_CASE}, 1.59, "figure 20, dynamic communication"),
        Published("gain_profile", {"plan": "balanced", **_CASE}, 3.69, "figure 20, balance strategy"),
        Published("decline", {"plan": "static", **_CODE}, 2.0, "section 8.2: nearly 2"),
        Published("decline", {"plan": "hybrid", **_CODE}, 1.23, "section 8.2, all models"),
        Published("decline", {"plan": "balanced", **_CODE}, 1.08, "section 8.2, all models"),
    ),
    simulate=_simulate,
    misses=(
        Miss(
            ("step", "step_profile", "gain_profile"),
            "The GPUs are not known, and take longer than the ones assumed; the mesh takes longer than its profile.",
            _same_factor,
        ),
        Miss(("gain",), "Offloading alone slows the naive plan here, where it sped it up.", _contended),
        Miss(("decline",), "The longest sequences of GitHub are not known.", _lighter_tail),
    ),
)
