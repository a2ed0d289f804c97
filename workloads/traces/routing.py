"""Expert routing streams: which experts each token picks in each layer, step by step.

The generator is synthetic: popularity follows Zipf's law in each layer (the experts in an order of their own), and
with probability ``repeat`` a slot keeps the expert that the same sequence used in the step before. Both knobs are
needed: recency and popularity show in different cache policies (Liang et al., arXiv 2505.16056, measure both).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError

__all__ = ["RoutingStream", "synthetic_routing"]

LARGEST = 2**28
"""The most elements of one array: the picks of a stream, or the scores of one step."""


@dataclass(frozen=True, eq=False)
class RoutingStream:
    """``picks[step, layer, sequence, slot]``: expert numbers; the slots of one token hold different experts."""

    picks: NDArray[np.int64]
    experts: int

    def __post_init__(self) -> None:
        if self.picks.ndim != 4 or self.picks.size == 0:
            raise InputError(
                f"a routing stream of shape {self.picks.shape}",
                expected="[step, layer, sequence, slot], none of them 0",
            )
        if self.picks.min() < 0 or self.picks.max() >= self.experts:
            raise InputError(
                f"expert numbers {self.picks.min()} to {self.picks.max()}", expected=f"0 to {self.experts - 1}"
            )

    @property
    def steps(self) -> int:
        """Number of steps."""
        return int(self.picks.shape[0])

    @property
    def layers(self) -> int:
        """Number of mixture-of-experts layers."""
        return int(self.picks.shape[1])

    def distinct(self, step: int, layer: int) -> NDArray[np.int64]:
        """The different experts of one step and layer, in the order of their first use."""
        flat = self.picks[step, layer].ravel()
        _, first = np.unique(flat, return_index=True)
        distinct: NDArray[np.int64] = flat[np.sort(first)]
        return distinct

    def accesses(self, layer: int) -> Iterator[list[int]]:
        """The distinct experts of ``layer``, step after step."""
        for step in range(self.steps):
            yield [int(expert) for expert in self.distinct(step, layer)]


def synthetic_routing(
    *,
    steps: int,
    layers: int,
    batch: int,
    experts: int,
    top_k: int,
    skew: float = 0.0,
    repeat: float = 0.0,
    seed: int = 0,
) -> RoutingStream:
    """A seeded stream for ``batch`` sequences: Zipf exponent ``skew`` (0: uniform), keep-probability ``repeat``.

    Raises `InputError` for counts below 1, ``top_k`` above ``experts``, a skew that is negative or not finite, a repeat
    outside [0, 1], a negative seed, and a stream of more than `LARGEST` picks or scores in a step.
    """
    for name, value in (("steps", steps), ("layers", layers), ("batch", batch), ("top_k", top_k)):
        if value < 1:
            raise InputError(f"{value!r} is no count", expected="at least 1", field=name)
    if top_k > experts:
        raise InputError(f"top_k {top_k} of {experts} experts", expected=f"at most {experts}", field="top_k")
    if not 0 <= skew < float("inf"):
        raise InputError(f"{skew}", expected="0 or more, finite", field="skew")
    if not 0 <= repeat <= 1:
        raise InputError(f"{repeat}", expected="a probability from 0 to 1", field="repeat")
    if seed < 0:
        raise InputError(f"{seed}", expected="0 or more", field="seed")
    for what, size in (
        ("picks (steps * layers * batch * top_k)", steps * layers * batch * top_k),
        ("scores in a step (layers * batch * experts)", layers * batch * experts),
    ):
        if size > LARGEST:
            raise InputError(f"{size} {what}", expected=f"at most {LARGEST}", field="batch")
    random = np.random.default_rng(seed)
    log_popularity = np.empty((layers, 1, experts))
    for layer in range(layers):
        log_popularity[layer, 0, random.permutation(experts)] = -skew * np.log(np.arange(1, experts + 1))
    picks = np.empty((steps, layers, batch, top_k), dtype=np.int64)
    kept = np.zeros((layers, batch, experts), dtype=bool)
    for step in range(steps):
        # Gumbel noise on log-probabilities and taking the largest k draws k experts without replacement.
        scores = log_popularity + random.gumbel(size=(layers, batch, experts))
        chosen = np.argpartition(np.where(kept, np.inf, scores), experts - top_k, axis=-1)[..., experts - top_k :]
        picks[step] = np.sort(chosen, axis=-1)
        stays = random.random(size=picks[step].shape) < repeat
        kept = np.zeros_like(kept)
        np.put_along_axis(kept, picks[step], stays, axis=-1)
    return RoutingStream(picks, experts)
