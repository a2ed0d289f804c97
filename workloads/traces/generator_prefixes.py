"""Shared prefixes fitted to a trace, as a trie that grows: a prompt is new, or goes on where an older one stood.

All prompts begin with the same ``root_blocks`` blocks. By its length class, a prompt continues an older one with some
probability, and then shares a fraction of its blocks, drawn from the class's table. The older one is looked for about
a drawn time ago, among those that nobody continued yet and that have as many whole blocks; the rest of the prompt is
new, and so is all of it where the drawn time lies before the first request. An unbounded cache's hit
rate follows from the classes; that of a small one from the times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from workloads.errors import InputError
from workloads.traces.requests import RequestTrace
from workloads.traces.statistics import infinite_cache_hits

__all__ = ["LengthClass", "Prefixes", "fit_prefixes"]

_CLASSES = 12
_SHARED = np.linspace(0, 1, 11)
_RETURNS = np.array([0, 0.01, 0.05, *(step / 10 for step in range(1, 10)), 0.95, 0.99, 1])
_FEW_MORE = 1.25
_FIRST_LOOK = 32
"""Requests on either side of the drawn time that are looked at before more of them are."""

Fraction = Annotated[float, Field(ge=0, le=1)]


class LengthClass(BaseModel):
    """Prompts of up to ``blocks`` blocks: how many continue others, and deciles of what those share of themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    blocks: int = Field(ge=1)
    continues: Fraction
    shared: tuple[Fraction, ...] = Field(min_length=len(_SHARED), max_length=len(_SHARED))


class Prefixes(BaseModel):
    """Blocks of ``block_tokens`` tokens; ``return_s`` are quantiles of the time back to the prompt continued, in s."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    block_tokens: int = Field(ge=1)
    root_blocks: int = Field(ge=0)
    classes: tuple[LengthClass, ...] = Field(min_length=1)
    return_s: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=len(_RETURNS), max_length=len(_RETURNS))

    def draw(
        self, arrival_s: NDArray[np.float64], prompt_tokens: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[tuple[int, ...], ...]:
        """The block ids of each prompt, numbered in the order of first use."""
        whole = prompt_tokens // self.block_tokens
        blocks = -(-prompt_tokens // self.block_tokens)
        shared = self._shared(blocks, rng)
        luck = rng.random(len(arrival_s))
        open_blocks = whole.copy()  # whole blocks of prompts that nobody continued yet, -1 of the others
        found: list[tuple[int, ...]] = []
        used = 0
        for request in range(len(arrival_s)):
            kept, wanted = found[0][: min(self.root_blocks, int(whole[0]))] if found else (), int(shared[request])
            if wanted > len(kept) and request:
                middle = self._continued_about(arrival_s, request, float(luck[request]))
                older = None if middle is None else _older(open_blocks[:request], middle, wanted)
                if older is not None:
                    kept = found[older][:wanted]
                    open_blocks[older] = -1
            kept = kept[: int(blocks[request])]
            fresh = int(blocks[request]) - len(kept)
            found.append((*kept, *range(used, used + fresh)))
            used += fresh
        return tuple(found)

    def _shared(self, blocks: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Blocks that each prompt shares with an older one beyond the root, 0 where it begins a new conversation."""
        tops = np.array([part.blocks for part in self.classes[:-1]], np.int64)
        inside = np.searchsorted(tops, blocks)
        continues = rng.random(len(blocks)) < np.array([part.continues for part in self.classes])[inside]
        place = rng.random(len(blocks)) * (len(_SHARED) - 1)
        low = place.astype(np.int64)
        tables = np.array([part.shared for part in self.classes])
        fractions = tables[inside, low] + (place - low) * (tables[inside, low + 1] - tables[inside, low])
        return np.where(continues, np.rint(fractions * blocks), 0).astype(np.int64)

    def _continued_about(self, arrival_s: NDArray[np.float64], request: int, luck: float) -> int | None:
        """The request about a drawn time ago; None where that is before the first."""
        then_s = float(arrival_s[request] - np.interp(luck, _RETURNS, self.return_s))
        return None if then_s < 0 else int(np.searchsorted(arrival_s[:request], then_s))


def _older(open_blocks: NDArray[np.int64], middle: int, wanted: int) -> int | None:
    """The prompt to continue: near ``middle``, with ``wanted`` whole blocks or a few more; None where none is so long.

    A conversation goes on from where it ended: a prompt of much more blocks is taken only where there is no other.
    """
    look = _FIRST_LOOK
    while True:
        low, high = max(0, middle - look), min(len(open_blocks), middle + look)
        lengths = open_blocks[low:high]
        enough = np.flatnonzero(lengths >= wanted)
        everything = high - low == len(open_blocks)
        if len(enough):
            most = max(_FEW_MORE * wanted, int(lengths[enough].min()) if everything else 0)
            near = enough[lengths[enough] <= most]
            if len(near):
                return low + int(near[np.argmin(np.abs(near + low - middle))])
        if everything:
            return None
        look *= 4


def fit_prefixes(trace: RequestTrace) -> Prefixes:
    """The trie process of a trace whose arrivals are spread. Raises `InputError` where it knows no blocks."""
    if trace.blocks is None or trace.block_tokens is None:
        raise InputError("a trace without blocks", "one whose prompts' blocks are known", "blocks")
    lengths = np.array([len(ids) for ids in trace.blocks], np.int64)
    hits = infinite_cache_hits(trace.blocks)
    root = int(hits[1:].min()) if len(hits) > 1 else 0
    continued = hits > root
    back_s = _return_times_s(trace.blocks, trace.arrival_s, hits, continued)
    times = np.quantile(back_s, _RETURNS) if len(back_s) else np.zeros(len(_RETURNS))
    # Early requests have nothing to continue that lies long enough back: the drawing leaves them out again.
    possible = float(np.interp(trace.arrival_s, times, _RETURNS).mean()) if len(back_s) else 1.0
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, _CLASSES + 1)[1:], method="inverted_cdf"))
    classes = []
    for low, high in zip([0, *edges[:-1].tolist()], edges.tolist(), strict=True):
        inside = (lengths > low) & (lengths <= high)
        those = inside & continued
        fractions = hits[those] / lengths[those] if those.any() else np.zeros(1)
        shared = tuple(round(float(value), 4) for value in np.quantile(fractions, _SHARED))
        share = round(min(float(those.sum() / inside.sum()) / possible, 1.0), 4)
        classes.append(LengthClass(blocks=int(high), continues=share, shared=shared))
    return Prefixes(
        block_tokens=trace.block_tokens,
        root_blocks=root,
        classes=tuple(classes),
        return_s=tuple(round(float(value), 2) for value in times),
    )


def _return_times_s(
    blocks: Sequence[Sequence[int]],
    arrival_s: NDArray[np.float64],
    hits: NDArray[np.int64],
    continued: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Seconds back to the last prompt that had the last of the blocks that are shared."""
    last: dict[int, int] = {}
    back_s = []
    for request, ids in enumerate(blocks):
        if continued[request]:
            back_s.append(arrival_s[request] - arrival_s[last[ids[hits[request] - 1]]])
        last.update(dict.fromkeys(ids, request))
    return np.array(back_s, np.float64)
