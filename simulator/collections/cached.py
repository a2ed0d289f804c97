"""A collection of equal pieces that lives in one tier and is cached, layer by layer, in the tier that computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulator.collections.contents import set_misses, static_misses
from simulator.collections.fetch import Fetch
from simulator.collections.replacement import Replacement
from workloads.errors import InputError
from workloads.traces import RoutingStream
from workloads.traces.neurons import NeuronStream
from workloads.workload import Role, Workload

__all__ = ["CacheOutcome", "CachedCollection", "LayerNeed", "run_cache"]


@dataclass(frozen=True, eq=False)
class CachedCollection:
    """The experts of each layer live in tier ``home``; ``slots`` of them per layer are cached where they are used.

    ``stream`` says which pieces each step touches. Its first ``warmup`` steps fill the caches and are not timed.
    ``replacement`` says what leaves a cache, ``fetch`` when missing pieces travel. With 0 slots nothing is kept from
    step to step: pieces pass through buffers. ``misses_on`` names an engine at home in ``home`` that computes the
    missed pieces where they live, so that nothing travels; the cache then holds the pieces used most during the warm-up
    and never changes. Pieces are equal parts of the layer's ``tensors``: with a `NeuronStream`, neurons of a
    feed-forward, whose operations shrink to those touched. ``formats[layer][piece]`` stores pieces in formats of their
    own (they travel, and take room in a cache, as they are stored); None for the tensor's. ``bundled`` pieces have
    their parts of all tensors side by side in their home, others lie apart by tensor: at cycle fidelity neurons are
    fetched at the rate of pieces of this size. ``table`` pieces of the layer in use have room where nothing is cached,
    touched or not: software that allocates before it knows; None for as many as are touched at most. Pieces
    ``resident[layer]`` are there from the start and never leave, beside the cache's; None for none.
    """

    stream: RoutingStream | NeuronStream
    home: str
    slots: int
    warmup: int = 0
    tensors: tuple[str, ...] = ("experts_weight",)
    replacement: Replacement = field(default_factory=lambda: Replacement("lru"))
    fetch: Fetch = field(default_factory=Fetch)
    misses_on: str | None = None
    formats: Sequence[Sequence[str]] | None = None
    bundled: bool = True
    table: int | None = None
    resident: tuple[NDArray[np.int64], ...] | None = None

    def __post_init__(self) -> None:
        streams = self.misses_on is not None or self.fetch.kind != "on-demand" or isinstance(self.stream, NeuronStream)
        if self.slots < (0 if streams else 1):
            raise InputError(
                f"a cache of {self.slots} experts",
                expected="at least 1, or 0 with experts fetched ahead or computed elsewhere",
                field="collections.slots",
            )
        if not 0 <= self.warmup < self.stream.steps:
            raise InputError(
                f"{self.warmup} warm-up steps of {self.stream.steps}",
                expected="at least one step left to time",
                field="collections.warmup",
            )
        if self.misses_on is not None and self.fetch.kind != "on-demand":
            raise InputError(
                f"experts fetched {self.fetch.kind} that are computed where they live",
                expected="one of the two",
                field="collections.misses_on",
            )
        if self.misses_on is not None and isinstance(self.stream, NeuronStream):
            raise InputError("neurons computed where they live", expected="experts", field="collections.misses_on")
        if self.table is not None and self.table < 0:
            raise InputError(f"a table of {self.table} experts", expected="0 or more", field="collections.table")
        if self.resident is not None and len(self.resident) != self.stream.layers:
            raise InputError(
                f"residents of {len(self.resident)} layers",
                expected=f"of {self.stream.layers} layers",
                field="collections.resident",
            )
        if self.resident is not None and self.formats is not None:
            raise InputError(
                "residents among pieces in formats of their own",
                expected="one of the two",
                field="collections.resident",
            )
        shape = (self.stream.layers, self.stream.experts)
        if self.formats is not None and {(len(self.formats), len(row)) for row in self.formats} != {shape}:
            raise InputError(
                f"formats of {len(self.formats)} layers",
                expected=f"a format for each of {shape[1]} experts in each of {shape[0]} layers",
                field="collections.formats",
            )

    def role(self, workload: Workload) -> Role:
        """What the collection's tensors are for: all that has this role lives in its home."""
        return next(
            tensor.role for layer, _ in workload.layers() for tensor in layer.stored if tensor.name in self.tensors
        )


@dataclass(frozen=True)
class LayerNeed:
    """What one layer does in one step: pieces ``touched``, of them ``late`` ones fetched when its own router has run.

    ``early`` pieces travel ahead, used or not; ``elsewhere`` are computed where they live, for ``rows`` of the tokens'
    rows.
    """

    touched: tuple[int, ...]
    late: tuple[int, ...] = ()
    early: tuple[int, ...] = ()
    elsewhere: tuple[int, ...] = ()
    rows: int = 0


@dataclass(frozen=True, eq=False)
class CacheOutcome:
    """``touched`` and ``missed`` pieces, each [timed step, layer], and the ``needs`` behind them in the same order.

    ``wrong`` counts pieces that travelled in vain.
    """

    touched: NDArray[np.int64]
    missed: NDArray[np.int64]
    wrong: NDArray[np.int64]
    needs: tuple[tuple[LayerNeed, ...], ...]

    @property
    def hit_rate(self) -> float:
        """Share of the touched pieces that were cached."""
        return 1.0 - float(self.missed.sum() / self.touched.sum())


def run_cache(collection: CachedCollection) -> CacheOutcome:
    """Run the stream through each layer's cache and say what is touched, missed and fetched in the timed steps."""
    stream, slots, fetch = collection.stream, collection.slots, collection.fetch
    touched = np.empty((stream.steps, stream.layers), dtype=np.int64)
    missed = np.empty_like(touched)
    accesses, misses = [], []
    together = 0
    for layer in range(stream.layers):
        wanted = list(stream.accesses(layer))
        lacking = wanted
        if collection.resident is not None:
            away = np.ones(stream.experts, dtype=bool)
            away[collection.resident[layer]] = False
            lacking = [(numbers := np.array(pieces, dtype=np.int64))[away[numbers]].tolist() for pieces in wanted]
        if collection.misses_on is not None:
            found = static_misses(lacking, slots, collection.warmup or stream.steps)
        elif slots:
            found = set_misses(lacking, slots, collection.replacement)
        else:
            found = lacking
        accesses.append(wanted)
        misses.append(found)
        touched[:, layer] = [len(pieces) for pieces in wanted]
        together = max(together, *(len(pieces) for pieces in lacking))
        missed[:, layer] = [len(pieces) for pieces in found]
    if collection.misses_on is None and 0 < slots < together:
        raise InputError(
            f"a cache of {slots} experts, where one step touches {together} of a layer at once",
            expected=f"at least {together}",
            field="expert_cache",
        )
    random = np.random.default_rng(fetch.seed)
    timed = range(collection.warmup, stream.steps)
    wrong = np.zeros((len(timed), stream.layers), dtype=np.int64)
    needs = []
    for row, step in enumerate(timed):
        of_step = []
        for layer in range(stream.layers):
            need = _need(collection, step, layer, accesses[layer][step], misses[layer][step], random)
            wrong[row, layer] = len(set(need.early) - set(need.touched))
            of_step.append(need)
        needs.append(tuple(of_step))
    return CacheOutcome(touched[collection.warmup :], missed[collection.warmup :], wrong, tuple(needs))


def _need(
    collection: CachedCollection,
    step: int,
    layer: int,
    wanted: list[int],
    missing: list[int],
    random: np.random.Generator,
) -> LayerNeed:
    stream, fetch = collection.stream, collection.fetch
    touched, late = tuple(wanted), tuple(missing)
    if collection.misses_on is not None and isinstance(stream, RoutingStream):
        rows = int(np.isin(stream.picks[step, layer], missing).sum())
        return LayerNeed(touched, elsewhere=late, rows=rows)
    if fetch.kind == "on-demand" or (fetch.asks_a_gate and layer < fetch.ahead):
        return LayerNeed(touched, late)
    if fetch.kind == "prefetch-all":
        # What is missing, and of the rest as many as the cache does not hold.
        others = [piece for piece in range(stream.experts) if piece not in wanted]
        room = max(0, collection.slots - (len(wanted) - len(missing)))
        return LayerNeed(touched, early=(*late, *others[: max(0, len(others) - room)]))
    if fetch.kind in ("as-routed", "pre-gated", "decoupled"):
        return LayerNeed(touched, early=late)
    named = [piece for piece in missing if random.random() < fetch.recall]
    in_vain = len(wanted) * fetch.recall * (1 - fetch.precision) / fetch.precision
    count = int(in_vain) + int(random.random() < in_vain % 1)
    others = [piece for piece in range(stream.experts) if piece not in wanted]
    # Some of what is named in vain is cached already and does not travel.
    share = max(0, stream.experts - max(collection.slots, len(wanted))) / max(1, len(others))
    chosen = random.permutation(others)[: min(count, len(others))]
    travelling = [int(piece) for piece in chosen if random.random() < share]
    forgotten = tuple(piece for piece in missing if piece not in named)
    return LayerNeed(touched, forgotten, (*named, *travelling))
