"""The time of matrix products by library kernels: tiles in waves, cuts of the sum, memory and launch.

A kernel cuts the output into tiles, one to a unit at a time, and long sums among several units (split-K, stream-K;
Osama et al., arXiv 2301.03598). The library picks tile and cut; so does this model, by the least time.

- A tile of a x b takes 2ab(k + ``FILL_K``) operations; small tiles fetch more for each of them, so a unit's rate falls
  with the harmonic mean of a and b, half way at ``HALF_RATE_EDGE``.
- Tiles run in waves over all units. A last wave that is not full costs a whole one, but for the ``wave_overlap`` share
  of the difference that libraries win back by uneven cuts.
- A unit walks its part of the sum step by step, each ``STEP_CLOCKS`` long at least; cuts shorten the walk and cost
  ``CUT_S`` to join. Partial sums travel once each way through the last cache, in fp32.
- Long kernels run at a lower clock (power): their time is longer by up to ``sustained_loss``, half of it at
  ``SUSTAINED_S``.
- ``exposed_share`` of the shorter of computing and moving is not hidden behind the longer: pipelines fill and drain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappers.kernels.machine import KernelMachine
from mappers.kernels.time import KernelTime

__all__ = [
    "CUTS",
    "FILL_K",
    "HALF_RATE_EDGE",
    "STEP_CLOCKS",
    "STEP_K",
    "SUSTAINED_S",
    "TILES",
    "GemmConstants",
    "GemmShapes",
    "gemm_time",
    "tile_rate",
]

Numbers = NDArray[np.float64]

TILES = (
    (256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64),
    (32, 128), (128, 32), (32, 64), (64, 32), (16, 64), (64, 16),
)  # fmt: skip
"""Rows and columns of the output tiles on offer: common ones of CUTLASS (docs/efficient_gemm.md, NVIDIA/cutlass)."""

CUTS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Into how many parts a sum may be cut."""

FILL_K = 64.0
"""Length of sum that a tile's pipeline takes to fill and its result to leave: fitted, all training rows together."""

HALF_RATE_EDGE = 16.0
"""Harmonic half-edge ab/(a+b) of a tile at which a unit reaches half its rate: fitted, all training rows together."""

STEP_CLOCKS = 45.0
"""Clocks that a step of ``STEP_K`` of the sum adds to a kernel: fitted, 351 products with sums from 32 to 65536 of
vLLM 0.24 on an H200 (aiconfigurator-core 0.12.0), none of them among the rows that accuracy is shown on."""

STEP_K = 64.0
"""Length of sum of one step: common in CUTLASS (docs/efficient_gemm.md, NVIDIA/cutlass)."""

CUT_S = 2e-6
"""Seconds to join the parts of a cut sum: fitted as ``STEP_CLOCKS``."""

SUSTAINED_S = 1e-3
"""Length of a kernel at which half of the sustained loss shows: fitted, H100 rows of more than 0.3 ms."""

_CHUNK = 4096
_SQUARE = 64.0
_PARTIAL_BYTES = 2 * 4.0


@dataclass(frozen=True)
class GemmConstants:
    """What was fitted for products: shares of the data sheet's rates, and seconds per call.

    ``narrow_`` values hold for formats of one byte: their share of ``compute_efficiency``, and the seconds that a call
    takes longer.
    """

    compute_efficiency: float
    memory_efficiency: float
    launch_s: float
    wave_overlap: float
    exposed_share: float
    sustained_loss: float
    narrow_compute_share: float
    narrow_launch_s: float


@dataclass(frozen=True, eq=False)
class GemmShapes:
    """Products of m x k by k x n, an entry each: bytes moved once, peak rate of the format, formats of one byte."""

    m: Numbers
    n: Numbers
    k: Numbers
    moved_bytes: Numbers
    peak_ops_per_s: Numbers
    narrow: NDArray[np.bool_]


def gemm_time(machine: KernelMachine, constants: GemmConstants, shapes: GemmShapes) -> KernelTime:
    """Seconds of every product."""
    count = len(shapes.m)
    parts = [_part(machine, constants, shapes, slice(at, at + _CHUNK)) for at in range(0, count, _CHUNK)]
    compute, memory, walk = (np.concatenate([part[index] for part in parts]) for index in (0, 1, 2))
    launch = constants.launch_s + np.where(shapes.narrow, constants.narrow_launch_s, 0.0)
    return KernelTime(compute, memory, launch + walk + constants.exposed_share * np.minimum(compute, memory))


def tile_rate(rows: Numbers, columns: Numbers) -> Numbers:
    """A unit's rate on a tile over that on one of 128 x 128: below 1 for smaller tiles, a little above for larger."""
    edge = rows * columns / (rows + columns)
    rate: Numbers = edge / (edge + HALF_RATE_EDGE) * (_SQUARE + HALF_RATE_EDGE) / _SQUARE
    return rate


def _part(machine: KernelMachine, fitted: GemmConstants, shapes: GemmShapes, part: slice) -> tuple[Numbers, ...]:
    """Computing, moving and walking seconds under the best tile and cut; axes are product, tile, cut."""
    m, n, k, peak = (values[part][:, None, None] for values in (shapes.m, shapes.n, shapes.k, shapes.peak_ops_per_s))
    rows, columns = (np.array(edge, float)[None, :, None] for edge in zip(*TILES, strict=True))
    cuts = np.array(CUTS, float)[None, None, :]
    efficiency = fitted.compute_efficiency * np.where(shapes.narrow[part], fitted.narrow_compute_share, 1.0)
    share = np.minimum(1.0, efficiency[:, None, None] * tile_rate(rows, columns))
    waves = np.ceil(m / rows) * np.ceil(n / columns) * cuts / machine.units
    whole = (1 - fitted.wave_overlap) * np.ceil(waves) + fitted.wave_overlap * np.maximum(1.0, waves)
    tile_s = 2 * rows * columns * (k / cuts + FILL_K) / (peak / machine.units * share)
    compute = whole * tile_s
    compute = compute * (1 + fitted.sustained_loss * compute / (compute + SUSTAINED_S))
    moved = shapes.moved_bytes[part][:, None, None] / (machine.read_bytes_per_s * fitted.memory_efficiency)
    partial_rate = machine.cache_bytes_per_s or machine.read_bytes_per_s
    memory = moved + np.where(cuts > 1, cuts * _PARTIAL_BYTES * m * n, 0.0) / partial_rate
    walk = k / cuts / STEP_K * STEP_CLOCKS / machine.clock_hz + np.where(cuts > 1, CUT_S, 0.0)
    parts = np.broadcast_arrays(compute, memory, walk)
    compute, memory, walk = (values.reshape(len(compute), -1) for values in parts)
    total = np.maximum(compute, memory) + fitted.exposed_share * np.minimum(compute, memory) + walk
    best = total.argmin(axis=1)
    which = np.arange(len(total))
    return tuple(values[which, best] for values in (compute, memory, walk))
