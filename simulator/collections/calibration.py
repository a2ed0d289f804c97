"""Fits the sticky router to hit rates of caches that look a segment ahead, and predicts those that look back.

Liang et al. (arXiv 2505.16056) give hit rates of segment caches (SCH) for models whose routing traces nobody published.
The router's lasting, drifting and one-token preferences (`spread`, `drift`, `repeat`) are fitted to these twelve rates
of a model, over segments of 4 to 256 tokens and 1 to 3 times the active experts. What LRU, LFU and Belady then find is
a prediction: no rate of theirs is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.collections.hit_rates import hit_curve, rate_at
from simulator.collections.replacement import replacement
from workloads.errors import InputError
from workloads.traces.routing_sticky import StickyRouter, sticky_routing

__all__ = ["RHOS", "TOKENS", "FittedRouter", "fit_router", "rates"]

RHOS = (1.0, 2.0, 3.0)
"""Slots over active experts at which rates are published."""

TOKENS = 512
"""Tokens of a sample, as in the publication."""

_START = (1.0, 0.8, 0.4)
_STEP = 0.7


@dataclass(frozen=True)
class FittedRouter:
    """A router and the root mean square by which its rates miss those it was fitted to."""

    router: StickyRouter
    rms: float


def rates(
    router: StickyRouter, rules: Sequence[str], *, batch: int, seed: int, rhos: Sequence[float] = RHOS
) -> NDArray[np.float64]:
    """Hit rates ``[rule, rho]`` over ``batch`` samples of `TOKENS` tokens."""
    stream = sticky_routing(router, steps=TOKENS, batch=batch, seed=seed)
    active = router.layers * router.top_k
    return np.array([rate_at(hit_curve(stream, replacement(rule)), active, rhos) for rule in rules])


def fit_router(
    router: StickyRouter,
    targets: Mapping[str, Sequence[float]],
    *,
    batch: int = 4,
    seed: int = 1,
    evaluations: int = 60,
) -> FittedRouter:
    """``router`` with the spread, drift and repeat whose rates come nearest ``targets``: rates at `RHOS` by rule.

    By the simplex method of Nelder and Mead on the root mean square over all rates, on one seed. Raises `InputError`
    without targets or with other than one rate for each of `RHOS`.
    """
    from scipy.optimize import minimize

    if not targets or any(len(found) != len(RHOS) for found in targets.values()):
        raise InputError(f"targets for {len(targets)} rules", expected="a rate at 1, 2 and 3 times", field="targets")
    wanted = np.array(list(targets.values()))

    def at(point: NDArray[np.float64]) -> StickyRouter:
        return replace(router, spread=abs(point[0]), drift=abs(point[1]), repeat=float(point[2]))

    def miss(point: NDArray[np.float64]) -> float:
        found = rates(at(point), list(targets), batch=batch, seed=seed)
        return float(np.sqrt(((found - wanted) ** 2).mean()))

    # The simplex may shrink where the rates of a finite sample wrinkle: it is spread again around the best so far.
    found, start = None, np.array(_START)
    for step in (_STEP, _STEP / 2):
        simplex = np.array([start, *(start + step * axis for axis in np.eye(3))])
        options = {"maxfev": evaluations, "xatol": 0.01, "fatol": 2e-4, "initial_simplex": simplex}
        found = minimize(miss, start, method="Nelder-Mead", options=options)
        start = found.x
    assert found is not None
    best = at(found.x)
    rounded = replace(best, spread=round(best.spread, 3), drift=round(best.drift, 3), repeat=round(best.repeat, 3))
    return FittedRouter(rounded, float(found.fun))
