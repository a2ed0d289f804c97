"""The time of attention of single queries, and of queries that share a context: split-KV flash attention.

- The query heads of a K/V head, and queries that share its context, fill one tile: K and V are read once for all.
- Contexts are split among thread blocks until all units have one, at most into ``MOST_SPLITS`` parts and never below a
  block of keys (FlashAttention's ``num_splits_heuristic``, csrc/flash_attn/flash_api.cpp and hopper/heuristics.h,
  Dao-AILab/flash-attention @07602ad, without its rounding to whole parts, so that longer contexts and larger batches
  never take less). A second kernel joins the parts: it reads their partial results, a part after the other.
- From ``SPLIT_BELOW`` of the places on the units on, splitting evens out no more: of a last wave that is not full
  ``last_wave_share`` of the idle part is lost.
- Reading and computing the padded tiles overlap in part: the root of the sum of their squares.
- A loop that times the same call again finds contexts no larger than the last cache there (``warm``); a step of a
  model does not.
"""

from __future__ import annotations

import numpy as np

from mappers.kernels.attention_prefill import block_seconds
from mappers.kernels.attention_shapes import AttentionConstants, AttentionShapes
from mappers.kernels.attention_tiles import Generation, Numbers, block_keys, kernel_on
from mappers.kernels.machine import KernelMachine
from mappers.kernels.time import KernelTime

__all__ = ["MOST_SPLITS", "SPLIT_BELOW", "decode_time"]

MOST_SPLITS = 128
"""Parts of one context: stated, flash_api.cpp."""

SPLIT_BELOW = 0.8
"""Share of the places taken from which kernels do not split: stated, ``num_splits_heuristic``."""

_PARTIAL_BYTES = 2 * 4.0


def decode_time(
    machine: KernelMachine, constants: AttentionConstants, shapes: AttentionShapes, *, warm: bool = False
) -> KernelTime:
    """Seconds of every call; each sequence's ``q_len`` queries see all of its ``kv_len`` keys."""
    kernel = kernel_on(machine, constants.generation)
    lanes = _lanes(kernel, shapes)
    moving_s, computing_s, joining_s = _parts(machine, constants, shapes, lanes, warm)
    together_s = np.hypot(moving_s, computing_s)
    # From the smallest batch that fills the places on, parts get fewer and joining them shorter: a larger batch takes
    # no less than that one.
    places = kernel.blocks_per_unit * machine.units
    blocks = np.ceil(shapes.kv_len / block_keys(kernel, shapes.head_dim))
    fewest = np.minimum(lanes, np.maximum(1.0, places / np.minimum(blocks, MOST_SPLITS)))
    least_moving_s, least_computing_s, least_joining_s = _parts(machine, constants, shapes, fewest, warm)
    least_s = np.hypot(least_moving_s, least_computing_s) + least_joining_s
    beside_s = np.maximum(together_s + joining_s, least_s) - np.maximum(moving_s, computing_s)
    return KernelTime(computing_s, moving_s, constants.decode_overhead_clocks / machine.clock_hz + beside_s)


def _lanes(kernel: Generation, shapes: AttentionShapes) -> Numbers:
    """Tiles that walk a context of their own: for each sequence and K/V head as many as its rows of queries fill."""
    rows = np.ceil(shapes.q_len) * shapes.group
    return shapes.batch * shapes.kv_heads * np.ceil(rows / kernel.decode_rows)


def _parts(
    machine: KernelMachine, constants: AttentionConstants, shapes: AttentionShapes, lanes: Numbers, warm: bool
) -> tuple[Numbers, Numbers, Numbers]:
    """Seconds of moving, of computing and of joining parts, of ``lanes`` of the shapes' tiles."""
    kernel = kernel_on(machine, constants.generation)
    places = kernel.blocks_per_unit * machine.units
    share = lanes / _lanes(kernel, shapes)
    blocks = np.ceil(shapes.kv_len / block_keys(kernel, shapes.head_dim))
    parts = np.clip(places / lanes, 1.0, np.minimum(blocks, MOST_SPLITS))
    partial = (parts - 1) * _PARTIAL_BYTES * share * shapes.query_bytes / 4
    moved = share * (shapes.cache_bytes + shapes.query_bytes) + partial
    moving_s = moved / (constants.decode_memory_efficiency * machine.read_bytes_per_s)
    if warm and constants.cache_efficiency and machine.cache_bytes_per_s:
        held_s = moved / (constants.cache_efficiency * machine.cache_bytes_per_s)
        moving_s = np.where(moved <= machine.cache_bytes, np.minimum(held_s, moving_s), moving_s)
    prologue_s = constants.prologue_clocks_per_row * kernel.decode_rows / machine.clock_hz
    block_s = block_seconds(machine, constants, shapes, kernel.decode_rows)
    computing_s = lanes * (blocks * block_s + parts * prologue_s) / machine.units
    waves = lanes / places
    idle = np.where(waves >= SPLIT_BELOW, np.ceil(waves) / waves - 1, 0.0)
    stretch = 1 + constants.last_wave_share * idle
    joining_s = (parts - 1) * constants.split_clocks / machine.clock_hz
    return stretch * moving_s, stretch * computing_s, joining_s
