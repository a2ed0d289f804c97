"""GaLore, AdaLomo and Mesa: what training keeps of each weight and of each token, in fewer bytes.

Tensors are those of the lowered training step: weights, gradients, the optimizer's states and every activation that a
backward pass reads (inputs of norms and products, queries, keys, values and attention's output, the feed-forward's
halves and their product), each with the format that a method keeps it in. Factored states take the shapes of the
weight matrices. A peak is all of it, with the logits and their gradient on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from studies.frame.constants import derived, stated, synthetic
from studies.frame.study import Config, Key, Metric, Published, Study
from workloads.formats import storage_format
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.models.stored_formats import stored_formats
from workloads.phases import Train
from workloads.workload import Workload

__all__ = ["STUDY", "matrices"]

CONSTANTS = {
    "adam": stated((2, 2, 12), "B", "Micikevicius et al., 1710.03740: weight, gradient; fp32 master copy and moments"),
    "adam_short": stated((2, 2, 4), "B", "GaLore, introduction: weights, gradients and both moments in bf16"),
    "rank": stated(1024, "", "GaLore, table of the 7B run (recalled)"),
    "projected": stated(None, "", "GaLore, section 4: moments r x n and a projector m x r of each m x n layer matrix"),
    "whole": derived(None, "", "embedding, head and norms are no layer matrices: their moments stay whole"),
    "layerwise": stated(None, "", "GaLore, AdaLomo: a layer's gradient is used up before the next one is made"),
    "block": stated(256, "", "Dettmers et al., 2110.02861: an fp32 scale for a block of 8-bit states (now of 256)"),
    "tokens": stated(256, "", "GaLore, figure 1: token batch of 256 (recalled)"),
    "factored": stated(None, "B", "AdaLomo: m + n numbers of an m x n matrix, in fp32"),
    "attention": derived(None, "", "Mesa keeps attention's scores, not their sums"),
    "eight": stated(8, "bit", "Mesa: activations in 8 bits, a scale for each head or group; the baseline's are of 16"),
    "vision": stated((12, 768, 12, 197), "", "DeiT-B: layers, width, heads, tokens of an image"),
    "images": synthetic(128, "", "a batch at which activations are nearly all; Mesa's was not read"),
}


@dataclass(frozen=True)
class _Method:
    """What is kept: ``moments`` names a rule of `_states`, ``activations`` one of `_kept`."""

    baseline: str
    moments: str
    master: bool = False
    layerwise: bool = False
    activations: str = "plain"


METHODS = {
    "adam": _Method("adam", "fp32", master=True),
    "adam-short": _Method("adam-short", "bf16"),
    "adam-8bit": _Method("adam-short", "8bit"),
    "galore": _Method("adam-short", "projected"),
    "galore-8bit": _Method("adam-short", "projected-8bit", layerwise=True),
    "adalomo": _Method("adam", "factored", layerwise=True),
    "mesa": _Method("adam", "fp32", master=True, activations="8bit"),
}
_MODELS = (
    "Llama-2-7B", "Llama-2-13B", "LLaMA-33B", "LLaMA-65B", "Llama-2-70B", "Llama-3-8B", "TinyLlama-1.1B", "OPT-1.3B",
    "OPT-6.7B", "Mistral-7B", "Qwen2.5-1.5B", "Qwen2.5-7B", "GPT-2", "GPT-2-XL", "DeiT-B",
)  # fmt: skip


@cache
def _model(name: str) -> Model:
    if name != "DeiT-B":
        return model(name)
    layers, hidden, heads, _ = CONSTANTS["vision"].value
    attention = Attention(heads, heads, hidden // heads, qkv_bias=True, output_bias=True, causal=False)
    block = Block(attention, FeedForward(4 * hidden, gated=False, activation="gelu", bias=True), "layer")
    return Model(name, "vit", hidden, 1000, (block,), (0,) * layers, tied_embeddings=False)


def matrices(found: Model) -> list[tuple[int, int, int]]:
    """Rows, columns and number of every layer matrix."""
    shapes = []
    for index, block in enumerate(found.blocks):
        attention, feed_forward = block.attention, block.feed_forward
        assert isinstance(feed_forward, FeedForward)
        count, hidden = found.order.count(index), found.hidden
        queries, keys = (heads * attention.head_dim for heads in (attention.heads, attention.kv_heads))
        shapes += [(hidden, queries, 2 * count), (hidden, keys, 2 * count)]
        shapes.append((hidden, feed_forward.intermediate, (3 if feed_forward.gated else 2) * count))
    return shapes


@cache
def _step(name: str, batch: int, tokens: int) -> Workload:
    found = _model(name)
    return lower(found, Train(batch, tokens), stored_formats(found), devices=1)


def _tensors(step: Workload) -> list[tuple[str, str, float, float]]:
    """Role, name, elements and number of all that is stored, each once."""
    return [
        (tensor.role, tensor.name, tensor.elements, float(count))
        for layer, count in step.layers()
        for tensor in layer.stored
        if tensor.shared_with is None
    ]


def _weights(step: Workload) -> tuple[float, float]:
    """Elements of all weights, and of the layer with the most."""
    layers: dict[str, float] = {}
    total = 0.0
    for layer, count in step.layers():
        held = sum(t.elements for t in layer.stored if t.shared_with is None and t.role == "gradients")
        total += count * held
        layers[layer.name] = held
    return total, max(layers.values())


def _states(found: Model, step: Workload, moments: str, rank: int) -> float:
    """Bytes of the moments."""
    total, _ = _weights(step)
    short, byte = 2 * 2.0, 2 * (1 + 4 / float(CONSTANTS["block"].value))
    if moments in ("fp32", "bf16", "8bit"):
        return total * {"fp32": 8.0, "bf16": short, "8bit": byte}[moments]
    rest, held = total, 0.0
    for rows, columns, count in matrices(found):
        small, large = sorted((rows, columns))
        rest -= count * rows * columns
        if moments == "factored":
            held += count * 4.0 * (rows + columns)
        elif rank < small:
            held += count * ((byte if moments == "projected-8bit" else short) * rank * large + 2.0 * small * rank)
        else:
            held += count * (byte if moments == "projected-8bit" else short) * rows * columns
    if moments == "factored":
        # Tables factor like matrices; vectors keep one number each.
        tables = found.vocabulary * (1 if found.tied_embeddings else 2) * found.hidden
        held += 4.0 * (found.vocabulary + found.hidden) * (1 if found.tied_embeddings else 2)
        return held + 4.0 * max(0.0, rest - tables)
    return held + rest * (byte if moments == "projected-8bit" else short)


def _bytes_of(form: str) -> float:
    """Bytes of an element of an activation."""
    return storage_format("int8_g128").bits_per_element / 8 if form == "8bit" else 2.0


def _activations(found: Model, step: Workload, form: str, scores: bool) -> float:
    """Bytes of what backward passes read; ``scores`` where attention keeps them instead of their sums."""
    held = 0.0
    for role, name, elements, count in _tensors(step):
        if role == "activations":
            held += count * elements * (4.0 if name.endswith(("_ir", "_lse", "_mean")) else _bytes_of(form))
    if scores:
        phase = step.phase
        heads = sum(found.blocks[index].attention.heads for index in found.order)
        held += heads * phase.batch * phase.context**2 * _bytes_of(form)
    return held


def _logits(step: Workload) -> float:
    head = next(layer for layer, _ in step.layers() if layer.name == "head")
    names = {"logits", "d_logits"}
    return sum(o.bytes for op in head.ops for o in op.operands if o.access == "write" and o.activation in names)


def _peak(config: Config, method: _Method) -> dict[str, float]:
    found = _model(str(config["model"]))
    step = _step(str(config["model"]), int(config["batch"]), int(config["tokens"]))
    total, largest = _weights(step)
    states = _states(found, step, method.moments, int(config["rank"]))
    parts = {
        "weights": 2.0 * total,
        "gradients": 2.0 * (largest if method.layerwise else total),
        "states": states,
        "master": 4.0 * total if method.master else 0.0,
        "activations": _activations(found, step, method.activations, bool(config["scores"])),
        "logits": _logits(step),
    }
    return parts | {"total": sum(parts.values())}


def _simulate(config: Config) -> dict[str, float]:
    method = METHODS[str(config["method"])]
    ours, baseline = _peak(config, method), _peak(config, METHODS[method.baseline])
    return {
        "states": ours["states"],
        "states_saved": 1 - ours["states"] / baseline["states"],
        "activations": ours["activations"],
        "total": ours["total"],
        "total_saved": 1 - ours["total"] / baseline["total"],
        "total_ratio": baseline["total"] / ours["total"],
        "fits": float(ours["total"] <= float(config["capacity"]) * 1e9),
    }


def _parts() -> Sequence[str]:
    names = ("weights", "gradients", "states", "master", "activations", "logits", "total")
    lines = [
        "Llama-2-7B, one sequence of 2,048 tokens, GB:",
        "",
        f"| method | {' | '.join(names)} |",
        f"| --- |{' ---: |' * len(names)}",
    ]
    config = STUDY.config({"tokens": 2048})
    for name, method in METHODS.items():
        parts = _peak(config, method)
        lines.append(f"| {name} | " + " | ".join(f"{parts[part] / 1e9:.2f}" for part in names) + " |")
    return lines


_GALORE = "GaLore, abstract"
_VISION: Config = {"method": "mesa", "model": "DeiT-B", "batch": 128, "tokens": 197, "scores": True}
_OPTIMIZER = ("adam", "adam_short", "rank", "projected", "whole", "block", "factored")
_TOTAL = (*_OPTIMIZER, "layerwise", "tokens", "attention", "eight", "vision", "images")
STUDY = Study(
    title="GaLore, AdaLomo, Mesa",
    claim="Optimizer states in 8 bits or few dimensions, activations in 8 bits: 2 to 2.7 times less memory.",
    source="Zhao et al., ICML 2024, 2403.03507; Lv et al., 2310.10195; 2111.11124",
    machine="none; an RTX 4090's 24 GB for what fits",
    workload="a training step of LLaMA-7B (or another model), one sequence; DeiT-B for Mesa",
    policy="moments projected, factored or in 8 bits; activations in 8 bits; gradients used up layer by layer",
    baseline="Adam in bf16 (GaLore) or with fp32 moments and master copy (the others), activations in 16 bits",
    keys={
        "method": Key("galore", "what is kept of what", choices=tuple(METHODS)),
        "model": Key("Llama-2-7B", "model", choices=_MODELS),
        "batch": Key(1, "sequences", low=1, high=4096),
        "tokens": Key(256, "tokens of a sequence", low=1, high=131_072),
        "rank": Key(1024, "dimensions that gradients are projected to", low=1, high=65_536),
        "scores": Key(False, "whether attention keeps its scores", choices=(False, True)),
        "capacity": Key(24.0, "GB of the device", low=1, high=10_000),
    },
    constants=CONSTANTS,
    metrics={
        "states": Metric("the optimizer's moments, projectors included", "B", _OPTIMIZER),
        "states_saved": Metric("share of the baseline's moments that is saved", "", _OPTIMIZER),
        "activations": Metric("what backward passes read", "B", ("attention", "eight")),
        "total": Metric("peak", "B", _TOTAL),
        "total_saved": Metric("share of the baseline's peak that is saved", "", _TOTAL),
        "total_ratio": Metric("the baseline's peak over this one", "", _TOTAL),
        "fits": Metric("1 where the peak is within the capacity, else 0", "", _TOTAL),
    },
    published=(
        Published("states_saved", {"method": "galore"}, 0.655, _GALORE),
        Published("states_saved", {"method": "galore-8bit"}, 0.825, _GALORE),
        Published("total_saved", {"method": "galore-8bit"}, 0.633, _GALORE),
        Published("fits", {"method": "galore-8bit"}, 1, f"{_GALORE}: 7B on 24 GB"),
        Published("total_saved", _VISION, 0.50, "Mesa, abstract: up to"),
    ),
    simulate=_simulate,
    notes=_parts,
)
