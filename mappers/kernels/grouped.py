"""The time of grouped products by a fused kernel: one product of few rows for each expert, all in one launch.

A block of rows belongs to one expert, so every expert's load is filled up to whole blocks: skewed routing costs less
memory time (fewer experts' weights are read) and more computing. Blocks and columns are cut into tiles that run in
waves, at the rates of `mappers.kernels.gemm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappers.kernels.gemm import FILL_K, tile_rate
from mappers.kernels.machine import KernelMachine
from mappers.kernels.time import KernelTime

__all__ = ["BLOCKS", "GroupedConstants", "GroupedShapes", "grouped_time", "padded_loads"]

Numbers = NDArray[np.float64]

BLOCKS = ((16, 64), (16, 128), (32, 64), (32, 128), (64, 64), (64, 128), (64, 256), (128, 64), (128, 128))
"""Rows and columns of tiles on offer: the fused kernels' configurations (vllm/model_executor/layers/fused_moe)."""

_CHUNK = 1024


@dataclass(frozen=True)
class GroupedConstants:
    """What was fitted: shares of the data sheet's rates, seconds per product, share of waves won back, see `gemm`."""

    compute_efficiency: float
    memory_efficiency: float
    launch_s: float
    wave_overlap: float
    exposed_share: float


@dataclass(frozen=True, eq=False)
class GroupedShapes:
    """Grouped products, an entry each, of rows x k by k x n.

    ``loads`` and ``experts`` have a row per product: a load in rows, and how many experts have it (0: none).
    ``moved_bytes`` are the weights of the touched experts and all activations, once.
    """

    loads: Numbers
    experts: Numbers
    n: Numbers
    k: Numbers
    moved_bytes: Numbers
    peak_ops_per_s: Numbers


def padded_loads(pairs: Sequence[tuple[tuple[float, float], ...]]) -> tuple[Numbers, Numbers]:
    """Loads and experts of `GroupedShapes` from pairs per product (`mappers.kernels.routing.expert_loads`)."""
    width = max(len(one) for one in pairs)
    filled = np.zeros((len(pairs), width, 2))
    for row, one in zip(filled, pairs, strict=True):
        row[: len(one)] = one
    return filled[:, :, 0], filled[:, :, 1]


def grouped_time(machine: KernelMachine, constants: GroupedConstants, shapes: GroupedShapes) -> KernelTime:
    """Seconds of every grouped product."""
    parts = [_part(machine, constants, shapes, slice(at, at + _CHUNK)) for at in range(0, len(shapes.n), _CHUNK)]
    compute, memory = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    return KernelTime(compute, memory, constants.launch_s + constants.exposed_share * np.minimum(compute, memory))


def _part(
    machine: KernelMachine, fitted: GroupedConstants, shapes: GroupedShapes, part: slice
) -> tuple[Numbers, Numbers]:
    """Computing and moving seconds with the best tile; axes are product and tile."""
    rows, columns = (np.array(edge, float) for edge in zip(*BLOCKS, strict=True))
    loads, experts = shapes.loads[part], shapes.experts[part]
    heights, index = np.unique(rows, return_inverse=True)
    blocks = np.stack([(np.ceil(loads / height) * experts).sum(axis=1) for height in heights], axis=1)[:, index]
    n, k, peak = (values[part][:, None] for values in (shapes.n, shapes.k, shapes.peak_ops_per_s))
    share = np.minimum(1.0, fitted.compute_efficiency * tile_rate(rows, columns))
    waves = blocks * np.ceil(n / columns) / machine.units
    whole = (1 - fitted.wave_overlap) * np.ceil(waves) + fitted.wave_overlap * np.maximum(1.0, waves)
    compute = whole * 2 * rows * columns * (k + FILL_K) / (peak / machine.units * share)
    memory = shapes.moved_bytes[part] / (machine.read_bytes_per_s * fitted.memory_efficiency)
    best: Numbers = compute.min(axis=1)
    return best, memory
