"""How many tokens each expert of each layer gets in a training iteration: a synthetic, skewed and drifting load.

No gating trace of a large training run is published. Popularity follows Zipf's law in each layer, the experts in an
order of their own; its logarithm wanders with a normal amplitude that forgets over so many iterations. A token picks
``top_k`` different experts, so no expert gets more than one of a token's picks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError
from workloads.traces.routing import LARGEST

__all__ = ["picked_shares", "synthetic_loads"]


def picked_shares(popularity: NDArray[np.float64], top_k: int) -> NDArray[np.float64]:
    """The probability with which a token picks each expert, ``[..., expert]``; they sum to ``top_k``.

    Picks are drawn one after the other without replacement. One alone has the popularity itself; the second of two that
    of what is left after each first. More are as the ``top_k`` first of exponential clocks at these rates: by a time t
    1 - exp(-rate t) of each have rung, and t is such that ``top_k`` have, which is exact for many experts (Rosen,
    Asymptotic Theory for Successive Sampling, 1972).
    """
    shares: NDArray[np.float64] = popularity / popularity.sum(-1, keepdims=True)
    experts = shares.shape[-1]
    if not 1 <= top_k <= experts:
        raise InputError(f"top_k {top_k} of {experts} experts", f"1 to {experts}", "top_k")
    if top_k == 1:
        return shares
    if top_k == experts:
        return np.ones_like(shares)
    if top_k == 2:
        odds = shares / (1 - shares)
        after_others: NDArray[np.float64] = shares * (1 + odds.sum(-1, keepdims=True) - odds)
        return np.minimum(after_others, 1.0)
    # The logarithm of t, by bisection: the number of clocks that have rung grows with it.
    low = np.full(shares.shape[:-1], -50.0)
    high = np.full(shares.shape[:-1], 1.0) + np.log(1e3 / shares.min(-1))
    for _ in range(80):
        middle = (low + high) / 2
        rung = -np.expm1(-shares * np.exp(middle)[..., None]).sum(-1)
        low, high = np.where(rung < top_k, middle, low), np.where(rung < top_k, high, middle)
    found: NDArray[np.float64] = -np.expm1(-shares * np.exp(high)[..., None])
    return found


def synthetic_loads(
    *,
    iterations: int,
    layers: int,
    experts: int,
    tokens: int,
    top_k: int,
    skew: float,
    drift: float = 0.0,
    memory: float = 100.0,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Tokens of each expert, ``[iteration, layer, expert]``; those of a layer sum to ``tokens * top_k``.

    ``skew`` is Zipf's exponent (0: even), ``drift`` the standard deviation of the logarithm's wandering, ``memory`` the
    iterations over which it forgets. Equal seeds draw equal noise whatever the amplitudes. Raises `InputError`.
    """
    for name, value in (("iterations", iterations), ("layers", layers), ("experts", experts), ("tokens", tokens)):
        if value < 1:
            raise InputError(f"found {value}", "1 or more", name)
    for name, amplitude in (("skew", skew), ("drift", drift)):
        if not 0 <= amplitude < math.inf:
            raise InputError(f"found {amplitude}", "0 or more, finite", name)
    if not memory > 0:
        raise InputError(f"found {memory}", "more than 0", "memory")
    if iterations * layers * experts > LARGEST:
        raise InputError(f"{iterations * layers * experts} loads", f"at most {LARGEST}", "iterations")
    random = np.random.default_rng(seed)
    ranks = np.argsort(random.random((layers, experts)), axis=-1)
    lasting = -skew * np.log1p(ranks)
    keep = math.exp(-1 / memory)
    renew = math.sqrt(1 - keep * keep)
    mood = random.standard_normal((layers, experts))
    found = np.empty((iterations, layers, experts), dtype=np.int64)
    for iteration in range(iterations):
        found[iteration] = _whole(tokens * picked_shares(np.exp(lasting + drift * mood), top_k), tokens, tokens * top_k)
        mood = keep * mood + renew * random.standard_normal((layers, experts))
    return found


def _whole(wanted: NDArray[np.float64], most: int, total: int) -> NDArray[np.int64]:
    """Whole numbers that sum to ``total``, none above ``most``: rounded down, the largest remainders up."""
    down = np.minimum(np.floor(wanted), most)
    missing = (total - down.sum(-1)).astype(np.int64)
    order = np.argsort(np.where(down < most, down - wanted, 1.0), axis=-1, kind="stable")
    place = np.argsort(order, axis=-1, kind="stable")
    found: NDArray[np.int64] = (down + (place < missing[..., None])).astype(np.int64)
    return found
