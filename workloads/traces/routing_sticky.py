"""A synthetic router whose choices stay for a while: experts have lasting, drifting and momentary preferences.

In each layer and sequence, expert e is preferred at token t by

    skew * -ln(rank of e) + spread * a_e + drift * b_e(t) + repeat * [e was picked at t - 1] + noise

with a_e and b_e standard normal, b_e an autoregressive process that forgets over ``memory_tokens``, and Gumbel noise;
the ``top_k`` largest are picked, which draws without replacement from the softmax of the rest. ``skew`` is the same
for all sequences (global imbalance), ``spread`` lasts for one sequence (its subject), ``drift`` for a passage,
``repeat`` for one token and may be negative: routers exist that avoid the expert just used.

The model is ours and synthetic. What is known of real routers is fitted with `calibrated_router`, and in
`simulator.collections.calibration`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from workloads.errors import InfeasibleError, InputError
from workloads.traces.routing import LARGEST, RoutingStream
from workloads.traces.routing_statistics import segment_routing

__all__ = ["StickyRouter", "calibrated_router", "sticky_routing"]


@dataclass(frozen=True)
class StickyRouter:
    """``layers`` routers over ``experts`` picking ``top_k``. Amplitudes are in units of the noise's logit scale."""

    layers: int
    experts: int
    top_k: int
    skew: float = 0.0
    spread: float = 0.0
    drift: float = 0.0
    memory_tokens: float = 32.0
    repeat: float = 0.0

    def __post_init__(self) -> None:
        for name in ("layers", "experts", "top_k"):
            if getattr(self, name) < 1:
                raise InputError(f"{getattr(self, name)!r} is no count", expected="at least 1", field=name)
        if self.top_k > self.experts:
            raise InputError(
                f"top_k {self.top_k} of {self.experts} experts", expected=f"at most {self.experts}", field="top_k"
            )
        for field in fields(self)[3:]:
            value = getattr(self, field.name)
            least = -math.inf if field.name == "repeat" else 0.0
            if not (math.isfinite(value) and value >= least):
                raise InputError(
                    f"{value}", expected="finite" + (" and 0 or more" if least == 0 else ""), field=field.name
                )
        if self.memory_tokens == 0:
            raise InputError("a memory of 0 tokens", expected="more than 0", field="memory_tokens")


def sticky_routing(router: StickyRouter, *, steps: int, batch: int = 1, seed: int = 0) -> RoutingStream:
    """A seeded stream of ``batch`` independent sequences.

    Equal seeds draw equal noise whatever the amplitudes, so that a stream changes gently with them. Raises `InputError`
    for counts below 1, a negative seed and streams of more than `LARGEST` picks, or scores in a step.
    """
    for name, value in (("steps", steps), ("batch", batch)):
        if value < 1:
            raise InputError(f"{value!r} is no count", expected="at least 1", field=name)
    if seed < 0:
        raise InputError(f"{seed}", expected="0 or more", field="seed")
    shape = (router.layers, batch, router.experts)
    if max(steps * router.layers * batch * router.top_k, math.prod(shape)) > LARGEST:
        raise InputError(
            f"{steps} steps of {router.layers} layers and {batch} sequences",
            expected=f"at most {LARGEST} picks, and scores in a step",
            field="batch",
        )
    random = np.random.default_rng(seed)
    lasting = np.empty((router.layers, 1, router.experts))
    for layer in range(router.layers):
        lasting[layer, 0, random.permutation(router.experts)] = -router.skew * np.log(np.arange(1, router.experts + 1))
    lasting = lasting + router.spread * random.standard_normal(shape)
    mood = random.standard_normal(shape)
    keep = math.exp(-1 / router.memory_tokens)
    renew = math.sqrt(1 - keep * keep)
    picks = np.empty((steps, router.layers, batch, router.top_k), dtype=np.int64)
    first = router.experts - router.top_k
    for step in range(steps):
        scores = lasting + router.drift * mood - np.log(random.standard_exponential(shape))
        if step and router.repeat:
            before = np.take_along_axis(scores, picks[step - 1], axis=-1)
            np.put_along_axis(scores, picks[step - 1], before + router.repeat, axis=-1)
        picks[step] = np.sort(np.argpartition(scores, first, axis=-1)[..., first:], axis=-1)
        mood = keep * mood + renew * random.standard_normal(shape)
    return RoutingStream(picks, router.experts)


def calibrated_router(
    router: StickyRouter,
    srp: float,
    tokens: int,
    *,
    steps: int = 512,
    batch: int = 4,
    seed: int = 0,
    tolerance: float = 0.002,
) -> StickyRouter:
    """``router`` with the ``drift`` at which its streams have segment routing performance ``srp`` over ``tokens``.

    Found by bisection on one seed; another seed differs by its sampling error. Raises `InfeasibleError` where the
    target lies below that of the router without drift, or above what any drift reaches.
    """
    if not 0 < srp <= 1:
        raise InputError(f"a target of {srp}", expected="above 0 and at most 1", field="srp")

    def reached(drift: float) -> float:
        stream = sticky_routing(replace(router, drift=drift), steps=steps, batch=batch, seed=seed)
        return segment_routing(stream, tokens).srp

    low, high = 0.0, 1.0
    least = reached(low)
    if least > srp + tolerance:
        raise InfeasibleError(
            f"segment routing performance over {tokens} tokens is never below that without drift",
            100 * least, 100 * srp, "%", "ask for less skew and spread",
        )  # fmt: skip
    while (most := reached(high)) < srp:
        low, high = high, 2 * high
        if high > 64:
            raise InfeasibleError(
                f"segment routing performance over {tokens} tokens with a memory of {router.memory_tokens:g} tokens",
                100 * srp, 100 * most, "%", "ask for a longer memory",
            )  # fmt: skip
    while True:
        middle = (low + high) / 2
        found = reached(middle)
        if abs(found - srp) <= tolerance or high - low < 1e-4:
            return replace(router, drift=middle)
        low, high = (middle, high) if found < srp else (low, middle)
