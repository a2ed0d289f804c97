"""The time of attention over prompts, whole or in pieces behind a cached past.

- Tiles of queries walk their blocks of keys (`mappers.kernels.attention_tiles`). A block takes its products at
  ``compute_efficiency`` of a unit's rate and, where the kernel does not hide them, its exponentials at 16 per clock and
  unit (CUDA C++ Programming Guide, arithmetic instructions, compute capability 8.0 and 9.0).
- The kernel ends with its longest tile. Tiles started short first leave it to the end: mean load and longest tile add
  up. Started long first they overlap, as the root of the sum of squares.
- The engine's call first writes the new tokens' K and V to the paged cache: one read and one write of them
  (vllm-project/vllm ``reshape_and_cache_flash``, timed with it by ai-dynamo/aiconfigurator
  collector/vllm/collect_attn.py @15cb360).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mappers.kernels.attention_shapes import AttentionConstants, AttentionShapes
from mappers.kernels.attention_tiles import Numbers, block_keys, kernel_on, padded_dim, tile_work
from mappers.kernels.machine import KernelMachine
from mappers.kernels.time import KernelTime

__all__ = ["EXPONENTIALS_PER_CLOCK", "block_seconds", "prefill_time"]

EXPONENTIALS_PER_CLOCK = 16
"""Exponentials that a unit computes in a clock: CUDA C++ Programming Guide, compute capability 8.0 and 9.0."""


def block_seconds(
    machine: KernelMachine, constants: AttentionConstants, shapes: AttentionShapes, tile_rows: int
) -> Numbers:
    """Seconds of a unit for one block of keys of a tile of ``tile_rows`` rows."""
    kernel = kernel_on(machine, constants.generation)
    elements = tile_rows * block_keys(kernel, shapes.head_dim)
    products = 4 * elements * padded_dim(shapes.head_dim)
    unit_rate = constants.compute_efficiency * shapes.peak_ops_per_s / machine.units
    softmax = 0.0 if kernel.hides_softmax else elements / EXPONENTIALS_PER_CLOCK / machine.clock_hz
    return products / unit_rate + softmax


def prefill_time(
    machine: KernelMachine,
    constants: AttentionConstants,
    shapes: AttentionShapes,
    call: NDArray[np.intp] | None = None,
) -> KernelTime:
    """Seconds of every call. With ``call`` the entries of equal number (0, 1, ... without gaps) run as one call."""
    kernel = kernel_on(machine, constants.generation)
    count = len(shapes) if call is None else int(call.max(initial=-1)) + 1
    call = np.arange(len(shapes)) if call is None else call
    rows = shapes.group if kernel.packs_groups else np.ones(len(shapes))
    lanes = shapes.batch * (shapes.kv_heads if kernel.packs_groups else shapes.heads)
    size = block_keys(kernel, shapes.head_dim)
    work = tile_work(shapes.q_len, shapes.kv_len, lanes, rows, shapes.causal, shapes.window, size, kernel.prompt_rows)
    block_s = block_seconds(machine, constants, shapes, kernel.prompt_rows)
    prologue_s = constants.prologue_clocks_per_row * kernel.prompt_rows / machine.clock_hz
    load_s = _by_call(call, (work.blocks * block_s + work.tiles * prologue_s) / machine.units, count)
    longest_s = np.zeros(count)
    np.maximum.at(longest_s, call, constants.tail_share * (work.longest * block_s + prologue_s))
    compute_s = np.hypot(load_s, longest_s) if kernel.longest_first else load_s + longest_s
    read_rate, write_rate = (
        constants.prompt_memory_efficiency * rate for rate in (machine.read_bytes_per_s, machine.write_bytes_per_s)
    )
    memory_s = _by_call(call, (shapes.cache_bytes + shapes.query_bytes) / read_rate, count)
    append_s = _by_call(call, shapes.new_bytes * (1 / read_rate + 1 / write_rate), count)
    overhead_s = constants.prompt_overhead_clocks / machine.clock_hz + append_s
    return KernelTime(compute_s, memory_s, overhead_s)


def _by_call(call: NDArray[np.intp], values: Numbers, count: int) -> Numbers:
    """The sum of each call's entries."""
    total = np.zeros(count)
    np.add.at(total, call, values)
    return total
