"""Experts computed on two engines at once: those with many tokens where arithmetic is fast, the others where memory is.

Duplex (arXiv 2409.01141, section 5): experts sorted by their tokens, and the heaviest moved to the GPU while the longer
of the two sides gets shorter. Both parts of a layer's products run side by side (`split_layer`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hw.spec.system import System
from simulator.collections.elsewhere import split_layer
from workloads.formats import storage_format
from workloads.transforms.edit import edit_layers
from workloads.workload import Layer, Workload

__all__ = ["ExpertLoads", "share_experts", "uniform_loads"]


@dataclass(frozen=True)
class ExpertLoads:
    """Of the device with most tokens: of each of its experts, that with most tokens first, the mean number of tokens
    and the odds that it has any. ``imbalance`` is that device's tokens over the mean of all devices."""

    tokens: tuple[float, ...]
    touched: tuple[float, ...]
    imbalance: float


@lru_cache(maxsize=256)
def uniform_loads(
    experts: int, top_k: int, tokens: int, *, ways: int = 1, draws: int = 256, seed: int = 1
) -> ExpertLoads:
    """Means over ``draws`` of ``tokens`` that each pick ``top_k`` different ones of ``experts``, all equally likely,
    which are divided over ``ways`` devices."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, experts), dtype=np.int64)
    for draw in range(draws):
        picks = rng.random((tokens, experts)).argpartition(top_k - 1, axis=1)[:, :top_k]
        counts[draw] = np.bincount(picks.ravel(), minlength=experts)
    by_device = counts.reshape(draws, ways, experts // ways)
    fullest = by_device[np.arange(draws), by_device.sum(axis=2).argmax(axis=1)]
    ordered = -np.sort(-fullest, axis=1)
    imbalance = float(ordered.sum(axis=1).mean()) * ways / (tokens * top_k)
    return ExpertLoads(tuple(ordered.mean(axis=0).tolist()), tuple((ordered > 0).mean(axis=0).tolist()), imbalance)


def share_experts(workload: Workload, system: System, loads: ExpertLoads, here: str, there: str) -> Workload:
    """``workload`` with the experts of fewest tokens on engine ``there``, as many as make the longer side shortest.

    Their operations are named as `assign_elsewhere` looks for; an expert takes the longer of its arithmetic and of
    reading it once.
    """

    def edit(layer: Layer) -> Layer:
        found = [tensor for tensor in layer.stored if tensor.role == "experts"]
        if not found:
            return layer
        (tensor,) = found
        elements = tensor.elements / len(loads.tokens)
        size = elements * storage_format(tensor.format).element_bits / 8
        up = next(op for op in layer.ops if op.name == "experts_up")
        sides = {name: _seconds(system, name, loads, elements, size, up.compute_format) for name in (here, there)}
        few = min(
            range(len(loads.tokens) + 1), key=lambda count: max(sum(sides[here][:count]), sum(sides[there][count:]))
        )
        rows = dict(up.sizes)["m"]
        moved = round(rows * sum(loads.tokens[few:]) / sum(loads.tokens))
        if not moved:
            return layer
        kept = 0.0 if moved == rows else sum(loads.touched[:few]) / sum(loads.touched)
        return split_layer(layer, tensor, kept, moved)

    return edit_layers(workload, edit)


def _seconds(
    system: System, name: str, loads: ExpertLoads, elements: float, size: float, compute_format: str
) -> list[float]:
    """Of each expert on engine ``name``."""
    engine = system.engines[name]
    rate = engine.home_bandwidth_bytes_per_s or system.tiers[engine.home].read_bandwidth_bytes_per_s
    throughput = engine.throughput(compute_format)
    return [
        max(2 * tokens * elements / throughput, touched * size / rate)
        for tokens, touched in zip(loads.tokens, loads.touched, strict=True)
    ]
