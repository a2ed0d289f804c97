"""How many tokens each expert of a mixture gets, by the law a benchmark draws its routing from.

``balanced`` spreads tokens evenly. ``power_law_ALPHA`` draws the load of every expert from a density that falls as
x^-ALPHA, from 1 to 0.8 times the tokens, or from 0.01 to 2 where there are fewer choices than experts; loads are scaled
to the number of choices, rounded, cut at one per token, and what is left over goes to the emptiest experts (what is too
much is taken from the fullest). That is how aiconfigurator's collector makes its routing (collector/helper.py,
ai-dynamo/aiconfigurator); where it draws at random, the quantiles of the law stand here, so that nothing is random.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError
from workloads.models.lower_feed_forward import expected_distinct_experts

__all__ = ["UNIFORM", "expert_loads"]

UNIFORM = "uniform"
"""The law where none is named: every token picks its experts at random, all equally likely."""

_POWER_LAW = "power_law_"


def expert_loads(law: str, tokens: int, experts: int, top_k: int) -> tuple[tuple[float, float], ...]:
    """Pairs of a load in tokens and the number of experts that have it; experts without tokens are left out.

    >>> expert_loads("balanced", 16, 8, 2)
    ((4.0, 8.0),)
    >>> expert_loads("balanced", 1, 8, 2)
    ((1.0, 2.0),)

    ``uniform`` gives the expected number of experts their mean load. Raises `InputError` for an unknown law.
    """
    choices = float(tokens * top_k)
    if law in ("", UNIFORM):
        touched = expected_distinct_experts(experts, top_k, tokens)
        return ((choices / touched, touched),)
    if law == "balanced":
        touched = min(float(experts), choices)
        return ((choices / touched, touched),)
    return _power_law(_exponent(law), tokens, experts, top_k)


def _exponent(law: str) -> float:
    try:
        if law.startswith(_POWER_LAW) and (alpha := float(law.removeprefix(_POWER_LAW))) > 0 and alpha != 1:
            return alpha
    except ValueError:
        pass
    raise InputError(f"unknown routing law {law!r}", "balanced, uniform or power_law_1.2", "routing")


@lru_cache(maxsize=4096)
def _power_law(alpha: float, tokens: int, experts: int, top_k: int) -> tuple[tuple[float, float], ...]:
    choices = tokens * top_k
    low, high = (1.0, max(1.0, 0.8 * tokens)) if choices > experts else (0.01, 2.0)
    quantile = (np.arange(experts) + 0.5) / experts
    drawn = (low ** (1 - alpha) + quantile * (high ** (1 - alpha) - low ** (1 - alpha))) ** (1 / (1 - alpha))
    loads: NDArray[np.float64] = np.minimum(np.round(drawn / drawn.sum() * choices), tokens)
    while loads.sum() < choices:
        loads[loads.argmin()] += 1
    while loads.sum() > choices:
        loads[loads.argmax()] -= 1
    sizes, counts = np.unique(loads[loads > 0], return_counts=True)
    return tuple(zip(sizes.tolist(), counts.astype(float).tolist(), strict=True))
