"""Hit rates of one cache of experts over all layers, for every size at once.

The definitions are those of Liang et al. (arXiv 2505.16056; ljcleo/moe-lrc @ 4ff45dd, ``src/41`` and ``src/50``). One
cache holds experts of all layers. All experts of a token, over all layers, are looked up before any of them is
brought in. The cache is empty at the start of each sample (here: of each sequence), and a first use counts as a hit
while fewer different experts have been seen than there are slots, so that the rate at full size is 1. Rates are
averaged over samples. ``rho`` is slots over active experts, the layers times ``top_k``.

Because a token's experts are looked up together, one that leaves for an earlier expert of the same token still counts
as a hit. Belady's rule is then the best there is for one use per token, and never worse than `lru` with room for a
token; `lfu` and `sch` may drop and fetch again within a token and so keep what no cache that uses one expert at a time
could.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.collections.replacement import KINDS, Replacement
from workloads.errors import InputError, unknown_name
from workloads.traces.routing import RoutingStream

__all__ = ["fixed_curve", "hit_curve", "rate_at", "sample_curve"]


def sample_curve(picks: NDArray[np.int64], pieces: int, rule: Replacement) -> NDArray[np.float64]:
    """Hit rate by slots, ``[slots - 1]``, of one sample ``picks[token, use]`` whose tokens use different pieces.

    Raises `InputError` for the window, whose caches of several sizes do not contain each other.
    """
    if rule.kind not in KINDS:
        raise unknown_name("replacement", rule.name, (*KINDS[:3], "sch-16"), field="replacement")
    from simulator.collections import stack_kernel  # compiled code: only where it is used

    numbers = {
        "lru": stack_kernel.LRU,
        "lfu": stack_kernel.LFU,
        "belady": stack_kernel.BELADY,
        "sch": stack_kernel.SCH,
    }
    hits = np.zeros(pieces, dtype=np.int64)
    flat = np.ascontiguousarray(picks, dtype=np.int64)
    stack_kernel.stack_hits(flat, pieces, numbers[rule.kind], rule.look_ahead, hits)
    curve: NDArray[np.float64] = np.cumsum(hits) / picks.size
    return curve


def hit_curve(stream: RoutingStream, rule: Replacement) -> NDArray[np.float64]:
    """Hit rate by slots of one cache over all layers, ``[slots - 1]`` up to layers x experts, mean over sequences."""
    total = np.zeros(stream.layers * stream.experts)
    shift = (np.arange(stream.layers) * stream.experts)[None, :, None]
    sequences = stream.picks.shape[2]
    for sequence in range(sequences):
        pooled = (stream.picks[:, :, sequence, :] + shift).reshape(stream.steps, -1)
        total += sample_curve(pooled, total.size, rule)
    mean: NDArray[np.float64] = total / sequences
    return mean


def fixed_curve(stream: RoutingStream) -> NDArray[np.float64]:
    """Hit rate by slots, as of `hit_curve`, of caches that hold each sequence's most used experts and never change."""
    total = np.zeros(stream.layers * stream.experts)
    shift = (np.arange(stream.layers) * stream.experts)[None, :, None]
    sequences = stream.picks.shape[2]
    for sequence in range(sequences):
        pooled = (stream.picks[:, :, sequence, :] + shift).ravel()
        uses = np.sort(np.bincount(pooled, minlength=total.size))[::-1]
        total += np.cumsum(uses) / pooled.size
    mean: NDArray[np.float64] = total / sequences
    return mean


def rate_at(curve: NDArray[np.float64], active: int, rhos: Sequence[float]) -> list[float]:
    """Rates at ``rho`` times the ``active`` experts, slots rounded. Raises `InputError` for fewer than one slot."""
    found = []
    for rho in rhos:
        slots = round(rho * active)
        if slots < 1:
            raise InputError(
                f"a cache of {rho:g} times {active} active experts", expected="at least one slot", field="rho"
            )
        found.append(float(curve[min(slots, curve.size) - 1]))
    return found
