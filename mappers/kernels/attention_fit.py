"""Constants of attention from timings: prompts first, then single queries with the products' share kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mappers.kernels.attention_decode import decode_time
from mappers.kernels.attention_prefill import prefill_time
from mappers.kernels.attention_shapes import AttentionConstants, AttentionShapes
from mappers.kernels.fitting import fit
from mappers.kernels.machine import KernelMachine

__all__ = ["DECODE_BOUNDS", "PROMPT_BOUNDS", "START", "fit_attention"]

Seconds = NDArray[np.float64]

START = AttentionConstants(
    generation=2,
    compute_efficiency=0.7,
    prologue_clocks_per_row=50.0,
    tail_share=0.8,
    prompt_memory_efficiency=0.8,
    prompt_overhead_clocks=1e4,
    decode_memory_efficiency=0.9,
    decode_overhead_clocks=2e4,
    split_clocks=100.0,
    last_wave_share=0.3,
    cache_efficiency=0.8,
)
"""Where a fit starts, and what stands for constants that no rows tell."""

PROMPT_BOUNDS = {
    "compute_efficiency": (0.2, 1.0),
    "prologue_clocks_per_row": (5.0, 300.0),
    "tail_share": (0.05, 3.0),
    "prompt_memory_efficiency": (0.2, 1.0),
    "prompt_overhead_clocks": (2e3, 6e4),
}

DECODE_BOUNDS = {
    "decode_memory_efficiency": (0.2, 1.0),
    "decode_overhead_clocks": (2e3, 6e4),
    "split_clocks": (10.0, 1000.0),
    "last_wave_share": (0.01, 1.0),
    "cache_efficiency": (0.05, 1.0),
}
"""Constants that are fitted, and between what: shares of rates are at most 1."""

_WORTH = 0.98


def fit_attention(
    machine: KernelMachine,
    generation: int,
    prompts: tuple[AttentionShapes, Seconds] | None,
    singles: tuple[AttentionShapes, Seconds] | None,
    *,
    start: AttentionConstants = START,
) -> AttentionConstants:
    """The constants nearest to measured seconds of prompts and of single queries; without rows they stay at ``start``.

    The last cache counts only where that lowers the mean error by a fiftieth.
    """
    found = replace(start, generation=float(generation))
    if prompts is not None:
        shapes, measured = prompts
        found = fit(found, PROMPT_BOUNDS, lambda c: prefill_time(machine, c, shapes).best_s, measured)
    if singles is not None:
        shapes, measured = singles

        def predict(constants: AttentionConstants) -> Seconds:
            return decode_time(machine, constants, shapes, warm=True).best_s

        held = fit(found, DECODE_BOUNDS, predict, measured)
        bounds = {name: DECODE_BOUNDS[name] for name in DECODE_BOUNDS if name != "cache_efficiency"}
        never = fit(replace(found, cache_efficiency=0.0), bounds, predict, measured)
        errors = [float(np.mean(np.abs(np.log(predict(one) / measured)))) for one in (held, never)]
        found = held if errors[0] < _WORTH * errors[1] else never
    return found
