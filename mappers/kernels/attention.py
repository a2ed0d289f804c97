"""The time of attention by flash kernels: prompts, single queries, and queries over a context that they share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mappers.kernels.attention_decode import decode_time
from mappers.kernels.attention_prefill import prefill_time
from mappers.kernels.attention_shapes import AttentionConstants, AttentionShapes, attention_shapes
from mappers.kernels.attention_tiles import kernel_on
from mappers.kernels.machine import KernelMachine
from mappers.kernels.time import KernelTime

Seconds = NDArray[np.float64]

__all__ = ["AttentionConstants", "AttentionShapes", "attention_shapes", "attention_time", "shared_context_time"]


def attention_time(
    machine: KernelMachine, constants: AttentionConstants, shapes: AttentionShapes, *, warm: bool = False
) -> KernelTime:
    """Seconds of every call, never less than its bytes and products take at the data sheet's rates.

    Single queries, and queries that fill one tile and see all keys, take the kernel that splits contexts; others the
    one for prompts. ``warm``: the call is timed in a loop over the same tensors (`mappers.kernels.attention_decode`).
    """
    rows = shapes.q_len * shapes.group
    fills_one = ~shapes.causal & (rows <= kernel_on(machine, constants.generation).decode_rows)
    single = (shapes.q_len <= 1) | fills_one
    singles = decode_time(machine, constants, shapes.of(single), warm=warm)
    prompts = prefill_time(machine, constants, shapes.of(~single))
    return KernelTime(
        _merged(single, singles.compute_s, prompts.compute_s),
        _merged(single, singles.memory_s, prompts.memory_s),
        _merged(single, singles.overhead_s, prompts.overhead_s),
    )


def _merged(which: NDArray[np.bool_], where_true: Seconds, where_false: Seconds) -> Seconds:
    """The values of both, each in its place."""
    merged = np.empty(len(which))
    merged[which] = where_true
    merged[~which] = where_false
    return merged


def shared_context_time(
    machine: KernelMachine, constants: AttentionConstants, shapes: AttentionShapes, *, warm: bool = False
) -> KernelTime:
    """Seconds of every call in which the single queries of ``batch`` sequences all see one context of ``kv_len`` keys.

    K and V of the context are read once for the whole batch, whose queries fill the tiles (RelayAttention, Zhu et al.,
    ACL 2024, arXiv 2402.14808, section 3.2; Hydragen, arXiv 2402.05099).
    """
    one = np.ones(len(shapes))
    together = replace(shapes, batch=one, q_len=shapes.batch * shapes.q_len, causal=np.zeros(len(shapes), bool))
    return decode_time(machine, constants, together, warm=warm)
