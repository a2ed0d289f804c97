"""A collection of equal pieces that lives in one tier and is cached, layer by layer, in the tier that computes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.collections.lru import lru_misses
from workloads.errors import InputError
from workloads.traces import RoutingStream

__all__ = ["CacheOutcome", "CachedCollection", "run_cache"]


@dataclass(frozen=True, eq=False)
class CachedCollection:
    """The experts of each layer live in tier ``home``; ``slots`` of them per layer are cached where they are used.

    ``stream`` says which pieces each step touches. Its first ``warmup`` steps fill the caches and are not timed.
    """

    stream: RoutingStream
    home: str
    slots: int
    warmup: int = 0
    tensor: str = "experts_weight"

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise InputError(f"a cache of {self.slots} experts", expected="at least 1", field="collections.slots")
        if not 0 <= self.warmup < self.stream.steps:
            raise InputError(
                f"{self.warmup} warm-up steps of {self.stream.steps}",
                expected="at least one step left to time",
                field="collections.warmup",
            )


@dataclass(frozen=True, eq=False)
class CacheOutcome:
    """``touched`` and ``missed`` pieces, each [timed step, layer]."""

    touched: NDArray[np.int64]
    missed: NDArray[np.int64]

    @property
    def hit_rate(self) -> float:
        """Share of the touched pieces that were cached."""
        return 1.0 - float(self.missed.sum() / self.touched.sum())


def run_cache(collection: CachedCollection) -> CacheOutcome:
    """Run the stream through each layer's cache and count what is touched and missed in the timed steps."""
    stream = collection.stream
    touched = np.empty((stream.steps, stream.layers), dtype=np.int64)
    missed = np.empty_like(touched)
    for layer in range(stream.layers):
        accesses = list(stream.accesses(layer))
        touched[:, layer] = [len(pieces) for pieces in accesses]
        missed[:, layer] = [len(pieces) for pieces in lru_misses(accesses, collection.slots)]
    if touched.max() > collection.slots:
        raise InputError(
            f"a cache of {collection.slots} experts, where one step touches {touched.max()} of a layer at once",
            expected=f"at least {touched.max()}",
            field="expert_cache",
        )
    return CacheOutcome(touched[collection.warmup :], missed[collection.warmup :])
