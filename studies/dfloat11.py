"""DFloat11 and NeuZip: weights whose exponents are entropy-coded, without loss, multiplied out before each product.

How small weights become is counted by real Huffman codes, one for each transformer block as published, for weights
spread normally, as wide as initialisation makes them. What that is worth is asked of the simulator: room for the cache
where weights are smaller, products that wait for an operation that writes them out in BF16, and weights of BF16 that
spill to the host's memory instead.
"""

from __future__ import annotations

import math
from functools import cache

from hw.spec.load import load_system
from hw.spec.memory_only import memory_only
from hw.spec.system import System
from simulator.moves import layers_ahead
from simulator.policies import named_policy
from simulator.policy import Policy
from simulator.road import simulate
from studies.frame.constants import derived, of_machine, stated
from studies.frame.limits import largest
from studies.frame.study import Config, Key, Metric, Published, Study
from workloads.errors import InfeasibleError
from workloads.formats import FormatChoice
from workloads.formats.golden.huffman import huffman_lengths
from workloads.models import model
from workloads.models.architecture import FeedForward, Model
from workloads.phases import Decode

__all__ = ["STUDY"]

MODELS = ("Llama-3.1-8B", "Llama-3.1-70B", "Llama-3.1-405B", "Qwen3-14B", "Qwen3-8B", "Llama-3-8B")
SPREAD = derived(1.0, "", "standard deviation times the root of a matrix's inputs: initialisation keeps variances")
_POSTER = "table of sizes, authors' poster of 2 December 2025 (table 1 of the paper's later versions)"


def _matrices(of: Model) -> list[list[tuple[int, int]]]:
    """(outputs, inputs) of every matrix, block by block; embedding and head last, each by itself."""
    blocks = []
    for index in of.order:
        at, feed = of.blocks[index].attention, of.blocks[index].feed_forward
        if not isinstance(feed, FeedForward):
            raise TypeError(f"{of.name} has experts")
        queries, keys = at.heads * at.head_dim, at.kv_heads * at.head_dim
        shapes = [(queries, of.hidden), (keys, of.hidden), (keys, of.hidden), (of.hidden, queries)]
        shapes += [(feed.intermediate, of.hidden)] * (2 if feed.gated else 1) + [(of.hidden, feed.intermediate)]
        blocks.append(shapes)
    ends = [[(of.vocabulary, of.hidden)]] * (1 if of.tied_embeddings else 2)
    return [*blocks, *ends]


@cache
def _code_bits(shapes: tuple[tuple[int, int], ...], kept: int) -> float:
    """Mean bits of a weight under one code for these matrices, with ``kept`` bits of the mantissa.

    Exponents are those of normal variates: between two powers of two lies what the error function says.
    """
    counts: dict[int, int] = {}
    for outputs, inputs in shapes:
        scale = SPREAD.value / math.sqrt(inputs) * math.sqrt(2)
        for exponent in range(-40, 4):
            share = math.erf(2.0 ** (exponent + 1) / scale) - math.erf(2.0**exponent / scale)
            count = round(share * outputs * inputs)
            if count:
                counts[exponent] = counts.get(exponent, 0) + count
    lengths = huffman_lengths(counts)
    return 1 + kept + sum(lengths[symbol] * count for symbol, count in counts.items()) / sum(counts.values())


def _size_bytes(of: Model, kept: int) -> float:
    """All matrices under the codes of their blocks; equal blocks have equal codes."""
    parts = [(tuple(shapes), sum(outputs * inputs for outputs, inputs in shapes)) for shapes in _matrices(of)]
    return sum(count * _code_bits(shapes, kept) / 8 for shapes, count in parts)


def _formats(weights: str) -> FormatChoice:
    return FormatChoice(weights=weights, kv_cache="bf16", activations="bf16", compute="bf16")


def _latency_s(name: str, system: System, batch: int, context: int, weights: str) -> float | None:
    """Of a decode step; None where it does not fit. Weights of DFloat11 are written out in BF16 before each product."""
    policy = Policy(move=layers_ahead(1))
    if weights == "dfloat11":
        policy = named_policy(policy, system, "dequantise:dfloat11")
    try:
        return simulate(model(name), Decode(batch, context), system, formats=_formats(weights), policy=policy).latency_s
    except InfeasibleError:
        return None


def _longest(name: str, system: System, weights: str) -> int:
    """Tokens of one sequence that fit."""
    return largest(lambda tokens: _latency_s(name, system, 1, tokens, weights), 1 << 24, within=1e-3)


def _simulate(config: Config) -> dict[str, float]:
    name, batch, context = str(config["model"]), int(config["batch"]), int(config["context"])
    whole = load_system(str(config["system"])).model_copy(update={"devices": int(config["devices"])})
    alone = memory_only(whole)
    of, kept = model(name), int(config["mantissa_bits"])
    size = _size_bytes(of, kept)
    found = {"size": size, "ratio": size / sum(2 * o * i for shapes in _matrices(of) for o, i in shapes)}
    packed, plain = (_latency_s(name, alone, batch, context, form) for form in ("dfloat11", "bf16"))
    found |= {"fits": float(packed is not None), "fits_bf16": float(plain is not None)}
    if packed and plain:
        found["slowdown"] = packed / plain
        found["tokens_gain"] = _longest(name, alone, "dfloat11") / _longest(name, alone, "bf16")
    if packed and not plain:
        spilled = _latency_s(name, whole, batch, context, "bf16")
        if spilled:
            found["offload_gain"] = spilled / packed
    return found


_CLAIMS = "abstract, arXiv 2504.11651"
_SYSTEMS = (
    "a100-80gb-sxm",
    "a100-40gb-sxm",
    "h100-sxm",
    "h200-sxm",
    "a40",
    "rtx-a6000",
    "rtx-4090",
    "l40s",
    "h100-xeon",
)
_CODES, _RATES = ("spread",), ("bits", "bandwidth")
STUDY = Study(
    title="DFloat11 and NeuZip",
    claim="Weights 30 % smaller without loss; a 405-billion-parameter model on eight 80 GB devices; longer contexts.",
    source="Zhang et al., arXiv 2504.11651; Hao et al., NeuZip, arXiv 2410.20650",
    machine="GPUs of 24 to 141 GB, some with a host's memory behind a link",
    workload="decode steps of Llama-3 and Qwen3 in BF16",
    policy="weights stored under codes, one a block, and written out in BF16 before each product",
    baseline="BF16 weights in the device, or spilled to the host and streamed a layer ahead",
    keys={
        "model": Key("Llama-3.1-8B", "model", choices=MODELS),
        "mantissa_bits": Key(7, "bits of the mantissa kept; 7 is without loss, NeuZip's 3 is not", low=0, high=7),
        "system": Key("a100-80gb-sxm", "machine", choices=_SYSTEMS),
        "devices": Key(1, "devices", low=1, high=16),
        "batch": Key(1, "sequences of a decode step", low=1, high=1024),
        "context": Key(256, "tokens of each", low=1, high=1_000_000),
    },
    constants={
        "spread": SPREAD,
        "capacity": of_machine("a100-80gb-sxm", "tiers.hbm.capacity"),
        "bandwidth": of_machine("a100-80gb-sxm", "tiers.hbm.read_bandwidth"),
        "bits": stated(11, "", "title and section 3: about 11 bits a weight"),
    },
    metrics={
        "ratio": Metric("bytes of the weights over those in BF16", "", _CODES),
        "size": Metric("bytes of the weights", "B", _CODES),
        "fits": Metric("whether it runs within the devices' memory (1) or not", "", ("bits", "capacity")),
        "fits_bf16": Metric("whether it does in BF16", "", ("capacity",)),
        "slowdown": Metric("latency over that in BF16, both within the devices", "", _RATES),
        "tokens_gain": Metric("longest sequence over that in BF16", "", ("bits", "capacity")),
        "offload_gain": Metric(
            "latency in BF16 spilled to the host over that within the device", "", ("bits", "bandwidth")
        ),
    },
    published=(
        Published("ratio", {}, 0.678, _POSTER),
        Published("ratio", {"model": "Llama-3.1-70B"}, 0.676, _POSTER),
        Published("ratio", {"model": "Llama-3.1-405B", "devices": 8}, 0.679, _POSTER),
        Published("ratio", {"model": "Qwen3-14B"}, 0.682, _POSTER),
        Published("size", {}, 10.9e9, _POSTER),
        Published("size", {"model": "Llama-3.1-70B"}, 95.4e9, _POSTER),
        Published("size", {"model": "Llama-3.1-405B", "devices": 8}, 551e9, _POSTER),
        Published("size", {"model": "Qwen3-14B"}, 20.1e9, _POSTER),
        Published("fits", {"model": "Llama-3.1-405B", "devices": 8}, 1, _CLAIMS),
        Published("fits_bf16", {"model": "Llama-3.1-405B", "devices": 8}, 0, _CLAIMS),
        Published(
            "slowdown", {"model": "Qwen3-8B"}, 2.0, "README of LeanModels/DFloat11 at 4577338: about 2 at batch 1"
        ),
    ),
    simulate=_simulate,
)
