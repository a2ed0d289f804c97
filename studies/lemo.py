"""LeMo (Jenga): fine-tuning on long contexts in which layers leave out tokens and channels that say little.

A LoRA step of which upper layers' attention sees a share of the tokens, and feed-forwards keep a share of their
channels for the backward pass. What transformers and PEFT keep beside what gradients need is read from their source
and the artifact's: it has the same shape with and without tokens left out. Layers of both kinds are priced each on
its own and counted.
"""

from __future__ import annotations

from functools import cache

from hw.spec.load import load_system
from simulator.training.offload.layer_times import layer_times
from studies.frame.constants import derived, fitted, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from studies.published.lemo import CHECKPOINTED_MS, PEAK_MIB, STEP_MS
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.models.stored_formats import stored_formats
from workloads.phases import Train
from workloads.transforms.training.sparsity import keeping_also, kept_tokens, low_rank_adapters, top_k_channels
from workloads.transforms.training.unfused import unfused
from workloads.workload import Workload

__all__ = ["STUDY"]

_MIB = 2**20
_CODE = "Pairshoe/Jenga-AE at 8c6a236"
METHODS = ("lora", "lemo")
CONSTANTS = {
    "rank": stated(8, "", f"{_CODE}, experiment/end2end: LoRA on queries, keys, values and output"),
    "share": stated(0.4, "", f"{_CODE}, scripts/end2end-memory: share of the 64-token blocks that is kept"),
    "block": stated(64, "", f"{_CODE}, scripts/end2end-memory: tokens of a block"),
    "layers": stated(0.5, "", f"{_CODE}, models/modeling_llama.py: layers 15 to 30 of 32 leave out tokens"),
    "channels": stated(0.2, "", f"{_CODE}, models/modeling_llama.py: channels kept, gates, inputs and activated gates"),
    "places": derived(None, "", "activated gates are kept where ours keeps places of channels: 16 bits each"),
    "adapters": derived(
        4, "B", "PEFT casts the input of each adapter to fp32: three of a norm's result, one of output"
    ),
    "norms": derived(4, "B", "transformers' RMSNorm keeps its input in fp32; the second one is recomputed in LeMo"),
    "cache": derived(4, "B", "keys and values also go to a cache in fp32, held until the forward pass is over"),
    "loss": derived((4, 4, 8), "B", "log-softmax; logits in fp32 beside it; both gradients, for each token and class"),
    "segment": stated((2048, 10), "", f"{_CODE}: LeMo's loss in parts of 2,048 tokens; bf16 logits, two fp32 tensors"),
    "predictor": stated(65.7 * _MIB, "B", f"{_CODE}, logs: what LeMo holds before a step beside LoRA"),
    "eager": derived(
        None, "", "workloads/transforms/training/unfused.py: kernels of transformers' norms, rotary, activation"
    ),
    "learnt": derived(12, "B", "adapters and both moments in fp32"),
    "peak": of_machine("a100-80gb-sxm", "engines.tensor.throughput"),
    "bandwidth": of_machine("a100-80gb-sxm", "tiers.hbm.read_bandwidth"),
    "kernels": fitted(None, "", "kernels' constants, to measured GEMMs and attention of others: reports/accuracy.md"),
}
_MODELS = (
    "Llama-2-7B", "Llama-3-8B", "Llama-2-13B", "Llama-2-70B", "Llama-3-70B", "Llama-3.2-1B", "Llama-3.2-3B",
    "TinyLlama-1.1B", "Mistral-7B-v0.3",
)  # fmt: skip


def _tokens(context: int, share: float) -> int:
    """Tokens kept of whole blocks, or all where none are left out."""
    block = int(CONSTANTS["block"].value)
    return context if share >= 1 else max(block, int(context // block * share) * block)


@cache
def _layers(name: str, context: int, share: float, channels: float, rank: int) -> Workload:
    """A step whose layers all keep ``share`` of the tokens in attention, and the given share of channels."""
    found = model(name)
    step = low_rank_adapters(lower(found, Train(1, context), stored_formats(found)), rank)
    kept = _tokens(context, share)
    made = kept_tokens(step, (kept - 0.5) / context, ("attention",)) if kept < context else step
    return top_k_channels(made, channels) if channels < 1 else made


def _kept(name: str, context: int, share: float, channels: float, rank: int) -> tuple[float, float]:
    """Bytes that a layer keeps for its backward pass, and that it puts in the cache."""
    sparse = channels < 1
    # The norm's result in bf16 is in no adapter's fp32 input: three of those stand for it.
    extras = [
        ("norm_fp32", "residual_of_attention_norm", 0.5, "fp32"),
        ("adapters_fp32", "attention_norm", 2.5, "fp32"),
        ("output_fp32", "attended", 1.0, "fp32"),
    ]
    if not sparse:
        extras += [("ffn_norm_fp32", "residual_of_ffn_norm", 0.5, "fp32"), ("gates_activated", "ffn_up", 0.5, "bf16")]
    step = keeping_also(_layers(name, context, share, channels, rank), extras)
    layer = next(layer for layer, _ in step.layers() if layer.name.startswith("layer"))
    held = {tensor.name: tensor for tensor in layer.stored if tensor.role == "activations"}
    small = sum(tensor.bytes for tensor in held.values() if tensor.name.endswith(("_ir", "_lse")))
    cache_bytes = float(CONSTANTS["cache"].value) * held["keys_values"].elements
    return sum(tensor.bytes for tensor in held.values()) - small, cache_bytes


def _memory(config: Config, method: str) -> dict[str, float]:
    name, context = str(config["model"]), int(config["context"])
    found, rank = model(name), int(config["rank"])
    sparse = method == "lemo"
    channels = float(config["channels"]) if sparse else 1.0
    depth = len(found.order)
    few = round(depth * float(CONSTANTS["layers"].value)) if sparse else 0
    parts = [(depth - few, 1.0), (few, float(config["share"]))]
    each = [(count, *_kept(name, context, share, channels, rank)) for count, share in parts if count]
    kept = sum(count * activations for count, activations, _ in each)
    cached = sum(count * held for count, _, held in each)
    step = _layers(name, context, 1.0, 1.0, rank)
    learnt = step.stored_bytes("gradients") / 2
    frozen = sum(step.stored_bytes(role) for role in ("embedding", "attention", "feed_forward", "norm", "head"))
    states = frozen - 2 * learnt + float(CONSTANTS["learnt"].value) * learnt
    saved, logits, gradients = (value * found.vocabulary * context for value in CONSTANTS["loss"].value)
    if sparse:
        tokens, each_token = CONSTANTS["segment"].value
        peak = kept + max(cached, each_token * found.vocabulary * min(tokens, context))
        states += float(CONSTANTS["predictor"].value)
    else:
        peak = kept + saved + max(cached + logits, gradients)
    return {"activations": kept, "peak": states + peak}


@cache
def _seconds(
    name: str, context: int, share: float, rank: int, device: str, fidelity: str, sparse: bool
) -> tuple[float, float, float]:
    """Forward and backward passes of all layers, and the head with its loss."""
    depth = len(model(name).order)
    few = round(depth * float(CONSTANTS["layers"].value)) if sparse else 0
    forward = backward = head = 0.0
    for count, part in ((depth - few, 1.0), (few, share)):
        step = unfused(_layers(name, context, part, 1.0, rank))
        times = layer_times(step, load_system(device), fidelity=fidelity)
        forward, backward = forward + count * times["layer"], backward + count * times["layer_backward"]
        head = times["head"]
    return forward, backward, head


def _simulate(config: Config) -> dict[str, float]:
    method, again = str(config["method"]), config["checkpoint"] == "full"
    found = {}
    steps = {}
    for one in METHODS:
        forward, backward, head = _seconds(
            str(config["model"]), int(config["context"]), float(config["share"]), int(config["rank"]),
            str(config["device"]), str(config["fidelity"]), one == "lemo",
        )  # fmt: skip
        steps[one] = forward * (2 if again else 1) + backward + head
    found["step"] = steps[method]
    found["speed_up"] = steps["lora"] / steps[method]
    if not again:
        own, plain = _memory(config, method), _memory(config, "lora")
        found |= own | {"memory_ratio": plain["peak"] / own["peak"]}
        found["fits"] = float(own["peak"] <= float(config["capacity"]) * 1e9)
    return found


def _lacking() -> str:
    """What lacks of the published steps, for each token."""
    parts = []
    for context, checkpoint, tables in ((8192, "none", STEP_MS), (65_536, "full", CHECKPOINTED_MS)):
        for index, method in enumerate(METHODS):
            published = sum(tables["Llama-2-7B", context][index]) * 1e-3
            at = {"context": context, "checkpoint": checkpoint, "method": method}
            lack = published - _simulate(STUDY.config(at))["step"]
            parts.append(
                f"{method} on {context:,} tokens {lack:.2f} s of {published:.2f} ({lack / context * 1e6:.0f} us)"
            )
    return (
        f"There lack, in all and a token: {'; '.join(parts)}. PEFT casts the input of every adapter to fp32, computes "
        "it there and adds it to the product; LeMo also picks tokens, predicts which and puts results back. None of "
        "that is in ours, which picks tokens where they lie."
    )


def _rows() -> list[Published]:
    rows = []
    for (name, context), values in PEAK_MIB.items():
        for method, value in zip(METHODS, values, strict=True):
            if value is not None:
                at: Config = {"model": name, "context": context, "method": method}
                rows.append(Published("peak", at, value * _MIB, f"{_CODE}, logs"))
        if values[0] is not None:
            at = {"model": name, "context": context}
            rows.append(Published("memory_ratio", at, values[0] / values[1], f"{_CODE}, logs"))
    for checkpoint, tables in (("none", STEP_MS), ("full", CHECKPOINTED_MS)):
        for (name, context), times in tables.items():
            at = {"model": name, "context": context, "checkpoint": checkpoint}
            for method, parts in zip(METHODS, times, strict=True):
                rows.append(Published("step", {**at, "method": method}, sum(parts) * 1e-3, f"{_CODE}, logs"))
            rows.append(Published("speed_up", at, sum(times[0]) / sum(times[1]), f"{_CODE}, logs"))
    rows.append(Published("memory_ratio", {"model": "Llama-3-8B", "context": 8192}, 1.93, "abstract: up to"))
    rows.append(Published("speed_up", {"context": 65_536, "checkpoint": "full"}, 1.36, "abstract: up to"))
    return rows


_MEMORY = (
    "rank", "share", "block", "layers", "channels", "places", "adapters", "norms", "cache", "loss", "segment",
    "predictor", "learnt",
)  # fmt: skip
_TIME = ("rank", "share", "block", "layers", "eager", "peak", "bandwidth", "kernels")
STUDY = Study(
    title="LeMo (Jenga)",
    claim="Tokens that say little are left out of fine-tuning: up to 1.93x less memory, up to 1.36x faster.",
    source="Wang et al., USENIX ATC 2025, as LeMo arXiv 2501.09767; Pairshoe/Jenga-AE",
    machine="a100-80gb-sxm, as an A800",
    workload="a LoRA step of Llama 2 7B or Llama 3 8B on one long sequence",
    policy="upper layers' attention on 40 % of the blocks of tokens, feed-forwards keep 20 % of their channels",
    baseline="the same step with all tokens and channels (LoRA, FlashAttention-2)",
    keys={
        "model": Key("Llama-2-7B", "model", choices=_MODELS),
        "method": Key("lemo", "all tokens, or few", choices=METHODS),
        "context": Key(8192, "tokens", low=128, high=1 << 20),
        "share": Key(0.4, "share of tokens that upper layers keep", low=0.01, high=1),
        "channels": Key(0.2, "share of channels that feed-forwards keep", low=0.01, high=1),
        "rank": Key(8, "rank of the adapters", low=1, high=1024),
        "checkpoint": Key("none", "whether layers are recomputed (then only times)", choices=("none", "full")),
        "device": Key("a100-80gb-sxm", "machine", choices=("a100-80gb-sxm", "a40", "h100-sxm", "h200-sxm")),
        "fidelity": Key("kernel", "kernels as libraries have them, or bounds", choices=("kernel", "roofline")),
        "capacity": Key(80.0, "GB of the device", low=1, high=10_000),
    },
    constants=CONSTANTS,
    metrics={
        "activations": Metric("what backward passes read, without the loss", "B", _MEMORY),
        "peak": Metric("what is allocated at most", "B", _MEMORY),
        "memory_ratio": Metric("peak with all tokens over this one", "", _MEMORY),
        "fits": Metric("1 where the peak is within the capacity, else 0", "", _MEMORY),
        "step": Metric("forward and backward pass", "s", _TIME),
        "speed_up": Metric("a step with all tokens over this one", "", _TIME),
    },
    published=tuple(_rows()),
    simulate=_simulate,
    misses=(Miss(("step",), "Adapters in fp32 and picking of tokens are kernels of their own.", _lacking),),
)
