"""Which pages of keys a query needs, decided in the two steps of an attention engine in a drive.

The rule is that of SparF (InstInfer, arXiv 2409.04992), after SparQ (arXiv 2312.04985). First the ``channels`` elements
of the query that are largest in magnitude are chosen; their numbers go out, best first, so that the pages of keys by
channel can be read. Then the keys' elements of those channels come in, in the order given, one token a beat; their
products with the query's elements give each token a score; the ``kept`` best tokens are chosen; and a page of ``page``
tokens is needed where any of its tokens is. Masks of pages, and of tokens for what filters the pages read, go out.

SparF puts the scores through a softmax whose temperature is the query's own; it keeps their order, so the choice is
the same without it. Ties: the lower channel, the lower token.

Everything is exact: a product of two ``width``-bit integers is at most 2^(2 width - 2), the sum of ``channels`` of them
at most 2^(2 width - 2 + ceil(log2 channels)), which takes 2 * width + ceil(log2 channels) bits with a sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError

__all__ = ["UNIT", "PageFilter", "PageFilterContract", "best_tokens", "chosen_channels"]


@dataclass(frozen=True)
class PageFilter:
    """Queries of ``head`` elements and contexts of at most ``tokens`` tokens in pages of ``page``; elements are
    ``width``-bit signed integers."""

    head: int = 16
    channels: int = 4
    width: int = 8
    tokens: int = 32
    page: int = 4
    kept: int = 4

    def __post_init__(self) -> None:
        ranges = (
            ("head", 2, 1024),
            ("channels", 1, self.head),
            ("width", 2, 16),
            ("tokens", 2, 4096),
            ("page", 1, self.tokens),
            ("kept", 1, self.tokens),
        )
        for name, low, high in ranges:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)

    @property
    def pages(self) -> int:
        """Pages of the longest context."""
        return -(-self.tokens // self.page)

    @property
    def score_width(self) -> int:
        """Bits of a token's score."""
        return 2 * self.width + (self.channels - 1).bit_length()


def chosen_channels(query: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Numbers of the ``count`` elements of largest magnitude, best first, the lower of equals first."""
    return np.argsort(-np.abs(query), kind="stable")[:count]


def best_tokens(scores: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Numbers of the ``count`` highest scores, all where there are fewer, best first, the lower of equals first."""
    return np.argsort(-scores, kind="stable")[:count]


@dataclass(frozen=True)
class PageFilterContract:
    """Times of a filter of queries of ``head`` elements, ``channels`` of which are chosen.

    The next query is taken in while tokens of the one before it are scored.
    """

    head: int
    channels: int

    @property
    def latency_cycles(self) -> int:
        """From the last token to the masks: score, close, give."""
        return 3

    @property
    def interval_cycles(self) -> int:
        return 1

    def shape(self, inputs: Streams) -> dict[str, Any]:
        ends = np.flatnonzero(inputs["k"]["last"])
        return {"contexts": tuple(np.diff(ends, prepend=-1).tolist())}

    def cycles(self, *, contexts: Sequence[int]) -> int:
        """Queries with contexts of so many tokens. Between two choices of channels lie the next query, or the tokens
        and one cycle, or the channels given and one cycle, whichever is longest."""
        between = [max(self.head, tokens + 1, self.channels + 1) for tokens in contexts[:-1]]
        return self.head + sum(between) + max(contexts[-1] + 3, self.channels) + 1

    def automaton(self, inputs: Streams) -> Automaton:
        return _Filter(self.head, self.channels, inputs["k"]["last"])


class _Filter:
    def __init__(self, head: int, channels: int, last: NDArray[np.int64]) -> None:
        self.head, self.channels, self.last = head, channels, last
        self.taken, self.query_closed = 0, False
        self.loaded, self.left = False, 0
        self.scored: bool | None = None  # whether the token just scored is the last; None: there is none
        self.tokens_closed, self.given = False, False

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        chooses = self.query_closed and not self.loaded and not self.left
        shows = self.tokens_closed and (not self.given or willing["pages"])
        enters = self.scored is not None and (not self.tokens_closed or shows)
        ready = {
            "q": not self.query_closed or chooses,
            "k": self.loaded and (self.scored is None or enters),
        }
        valid = {"channels": self.left > 0, "pages": self.given}
        self._move_query(offered["q"] is not None and ready["q"], chooses, willing["channels"])
        self.given = shows or (self.given and not willing["pages"])
        self.tokens_closed = bool(self.scored) if enters else self.tokens_closed and not shows
        beat = offered["k"]
        if beat is not None and ready["k"]:
            self.scored = bool(self.last[beat])
            self.loaded = not self.scored
        elif enters:
            self.scored = None
        return Handshake(ready=ready, valid=valid)

    def _move_query(self, accepts: bool, chooses: bool, takes: bool) -> None:
        if chooses:
            self.loaded, self.left, self.query_closed = True, self.channels, False
        elif self.left and takes:
            self.left -= 1
        if accepts:
            self.taken = (self.taken + 1) % self.head
            self.query_closed = self.taken == 0


def _streams(p: PageFilter) -> tuple[Stream, ...]:
    return (
        Stream("q", "in", (Field("value", p.width, True),)),
        Stream("k", "in", (Field("values", p.width, True, p.channels), Field("last", 1))),
        Stream("channels", "out", (Field("id", (p.head - 1).bit_length()), Field("last", 1))),
        Stream("pages", "out", (Field("pages", 1, lanes=p.pages), Field("tokens", 1, lanes=p.tokens))),
    )


def _golden(p: PageFilter, inputs: Streams) -> Streams:
    queries = inputs["q"]["value"].reshape(-1, p.head)
    ends = np.flatnonzero(inputs["k"]["last"]) + 1
    chosen = np.stack([chosen_channels(query, p.channels) for query in queries])
    tokens = np.zeros((len(queries), p.pages * p.page), np.int64)
    begins = [0, *ends[:-1]]
    for n, (query, begin, end) in enumerate(zip(queries, begins, ends, strict=True)):
        tokens[n, best_tokens(inputs["k"]["values"][begin:end] @ query[chosen[n]], p.kept)] = 1
    last = np.zeros_like(chosen)
    last[:, -1] = 1
    return {
        "channels": {"id": chosen.ravel(), "last": last.ravel()},
        "pages": {"pages": tokens.reshape(-1, p.pages, p.page).max(axis=2), "tokens": tokens[:, : p.tokens]},
    }


def _inputs(queries: list[NDArray[np.int64]], keys: list[NDArray[np.int64]]) -> Streams:
    last = np.zeros(sum(map(len, keys)), np.int64)
    last[np.cumsum([len(part) for part in keys]) - 1] = 1
    return {"q": {"value": np.concatenate(queries)}, "k": {"values": np.concatenate(keys), "last": last}}


def _drawn(p: PageFilter, rng: np.random.Generator, beats: int) -> Streams:
    """Contexts of any length; elements over the whole range or so small that many magnitudes and scores are equal."""
    low, high = -(1 << (p.width - 1)), 1 << (p.width - 1)
    queries, keys = [], []
    total = 0
    while total < beats:
        length = int(rng.choice([1, p.page, p.tokens, int(rng.integers(1, p.tokens + 1))]))
        near = rng.random() < 0.4
        bounds = (max(low, -2), min(high, 2)) if near else (low, high)
        queries.append(rng.integers(*bounds, p.head))
        keys.append(rng.integers(*bounds, (length, p.channels)))
        keys[-1][rng.random(length) < 0.1] = low
        total += max(length, p.head)
    return _inputs(queries, keys)


def _directed(p: PageFilter) -> list[Streams]:
    """All equal; largest magnitudes of either sign; one token; magnitudes and scores rising and falling."""
    low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
    extremes = np.where(np.arange(p.head) % 2, low, high)
    rising = np.minimum(np.arange(p.head), high)
    tokens = np.minimum(np.arange(p.tokens), high)[:, None] + np.zeros((1, p.channels), np.int64)
    return [
        _inputs([np.zeros(p.head, np.int64)], [np.zeros((p.tokens, p.channels), np.int64)]),
        _inputs(
            [np.full(p.head, low), extremes], [np.full((p.tokens, p.channels), low), np.full((1, p.channels), high)]
        ),
        _inputs([rising, rising[::-1]], [tokens, tokens[::-1]]),
    ]


def _coverage(p: PageFilter, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    values = inputs["q"]["value"].reshape(-1, p.head)
    lengths = np.diff(np.flatnonzero(inputs["k"]["last"]), prepend=-1)
    masks = outputs["pages"]
    low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
    ordered = -np.sort(-np.abs(values), axis=1)
    cut = p.channels < p.head and bool((ordered[:, p.channels - 1] == ordered[:, min(p.channels, p.head - 1)]).any())
    return {
        "lowest element": bool((values == low).any() and (inputs["k"]["values"] == low).any()),
        "highest element": bool((values == high).any() and (inputs["k"]["values"] == high).any()),
        "equal magnitudes on either side of the choice": cut or p.channels == p.head,
        "context of one token": bool((lengths == 1).any()),
        "context of one page": bool((lengths == p.page).any()),
        "longest context": bool((lengths == p.tokens).any()),
        "page not needed": bool((masks["pages"][lengths == p.tokens] == 0).any()) or p.kept >= p.pages,
        "two tokens of a page": p.kept == 1
        or p.page == 1
        or bool((masks["tokens"].sum(axis=1) > masks["pages"].sum(axis=1)).any()),
    }


UNIT = Unit(
    name="page-filter",
    family="attention",
    summary="pages of keys that hold the best tokens by a few channels of the query",
    parameters=PageFilter,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PageFilterContract(p.head, p.channels),
    component="hw.rtl.attention.page_filter:PageFilterUnit",
    numerics="exact integers; of equal magnitudes and scores the lower channel and token is better",
    variants=(
        {"head": 4, "channels": 4, "width": 4, "tokens": 6, "page": 4, "kept": 2},
        {"head": 8, "channels": 1, "width": 6, "tokens": 16, "page": 2, "kept": 1},
    ),
    formal=ReducedWidths(
        {"head": 2, "channels": 1, "width": 2, "tokens": 2, "page": 1, "kept": 1},
        "what is valid does not depend on the elements",
    ),
    synthesis=({}, {"channels": 8}, {"kept": 8}, {"tokens": 64, "page": 8}),
)
