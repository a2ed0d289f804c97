"""The entries of the k highest scores of each packet, best first.

Scores are signed integers; at equal scores the lower id is better. A packet of fewer entries gives all of them. Floats
of an IEEE format are in order as such integers once the bits below the sign of negative codes are inverted.

While the entries of one packet leave, those of the next go in, one each cycle; only where a packet is shorter than
what the one before it gave does it wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError

__all__ = ["UNIT", "TopkFilter", "TopkFilterContract"]


@dataclass(frozen=True)
class TopkFilter:
    """The ``kept`` best entries of a packet are given; a ``score_width``-bit signed score, an ``id_width``-bit id."""

    kept: int = 8
    score_width: int = 16
    id_width: int = 12

    def __post_init__(self) -> None:
        for name, low, high in (("kept", 1, 256), ("score_width", 2, 48), ("id_width", 1, 32)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)


@dataclass(frozen=True)
class TopkFilterContract:
    """Times of a filter that keeps ``kept`` entries."""

    kept: int

    @property
    def latency_cycles(self) -> int:
        """One to close the packet, one to put its entries into the bank."""
        return 2

    @property
    def interval_cycles(self) -> int:
        return 1

    def shape(self, inputs: Streams) -> dict[str, Any]:
        ends = np.flatnonzero(inputs["i"]["last"])
        return {"lengths": tuple(np.diff(ends, prepend=-1).tolist())}

    def cycles(self, *, lengths: Sequence[int]) -> int:
        """Packets of so many entries, one after another. Each begins as the one before it goes into the bank, for
        which the bank must have given what it held."""
        between = [max(after, min(self.kept, before)) for before, after in pairwise(lengths)]
        return lengths[0] + sum(between) + min(self.kept, lengths[-1]) + 1

    def automaton(self, inputs: Streams) -> Automaton:
        return _Filter(self.kept, inputs["i"]["last"])


class _Filter:
    """``held`` entries in the cells, ``waiting`` ones in the bank."""

    def __init__(self, kept: int, last: NDArray[np.int64]) -> None:
        self.kept, self.last = kept, last
        self.held, self.closed, self.waiting = 0, False, 0

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        valid = self.waiting > 0
        left = self.waiting - (valid and willing["o"])
        ready = not self.closed or left == 0
        if self.closed and left == 0:
            left, self.held, self.closed = self.held, 0, False
        beat = offered["i"]
        if beat is not None and ready:
            self.held = min(self.kept, self.held + 1)
            self.closed = bool(self.last[beat])
        self.waiting = left
        return Handshake(ready={"i": ready}, valid={"o": valid})


def _streams(p: TopkFilter) -> tuple[Stream, ...]:
    entry = (Field("score", p.score_width, True), Field("id", p.id_width), Field("last", 1))
    return Stream("i", "in", entry), Stream("o", "out", entry)


def _golden(p: TopkFilter, inputs: Streams) -> Streams:
    beats = inputs["i"]
    rows: list[tuple[int, int, int]] = []
    begin = 0
    for end in (np.flatnonzero(beats["last"]) + 1).tolist():
        scores, ids = beats["score"][begin:end], beats["id"][begin:end]
        best = np.lexsort((ids, -scores))[: p.kept]
        rows += [(int(scores[n]), int(ids[n]), int(n == best[-1])) for n in best]
        begin = end
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return {"o": dict(zip(("score", "id", "last"), columns.T, strict=True))}


def _drawn(p: TopkFilter, rng: np.random.Generator, beats: int) -> Streams:
    """Packets shorter, as long as, and longer than what is kept; scores far apart or so near that many are equal."""
    low, high = -(1 << (p.score_width - 1)), 1 << (p.score_width - 1)
    parts, last = [], []
    total = 0
    while total < beats:
        lengths = [1, max(1, p.kept - 1), p.kept, p.kept + 1, 3 * p.kept, int(rng.integers(1, 4 * p.kept))]
        length = int(rng.choice(lengths))
        scores: NDArray[np.int64] = rng.integers(low, high, length)
        if rng.random() < 0.4:
            scores = rng.integers(max(low, -2), min(high, 2), length)
        scores[rng.random(length) < 0.1] = rng.choice([low, high - 1])
        if rng.random() < 0.3:
            scores.sort()
            scores = scores if rng.random() < 0.5 else scores[::-1].copy()
        ids = rng.integers(0, 2 if rng.random() < 0.3 else 1 << p.id_width, length)
        parts.append(np.stack([scores, ids]))
        last += [0] * (length - 1) + [1]
        total += length
    drawn, ids = np.concatenate(parts, axis=1)
    return {"i": {"score": drawn, "id": ids, "last": np.array(last)}}


def _directed(p: TopkFilter) -> list[Streams]:
    """Equal scores with ids rising and falling, scores rising and falling, and a long packet before short ones."""
    high = (1 << (p.score_width - 1)) - 1
    length = 2 * p.kept
    up = np.arange(length)
    ids = up % (1 << p.id_width)
    end = (up == length - 1).astype(np.int64)
    cases: list[Streams] = [
        {"i": {"score": np.minimum(scores, high), "id": chosen, "last": end}}
        for scores, chosen in (
            (np.zeros_like(up), ids),
            (np.zeros_like(up), ids[::-1].copy()),
            (up, ids),
            (up[::-1].copy(), ids),
        )
    ]
    ends = end.copy()
    ends[-3:] = 1
    return [*cases, {"i": {"score": -(up % 2), "id": ids, "last": ends}}]


def _coverage(p: TopkFilter, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats, given = inputs["i"], outputs["o"]
    low, high = -(1 << (p.score_width - 1)), (1 << (p.score_width - 1)) - 1
    lengths = np.diff(np.flatnonzero(beats["last"]), prepend=-1)
    neighbours = given["last"][:-1] == 0
    tied = neighbours & (given["score"][:-1] == given["score"][1:])
    return {
        "lowest score": bool((beats["score"] == low).any()),
        "highest score": bool((beats["score"] == high).any()),
        "negative score kept": bool((given["score"] < 0).any()),
        "equal scores, ids in order": p.kept == 1 or bool((tied & (given["id"][:-1] < given["id"][1:])).any()),
        "equal scores and ids": p.kept == 1 or bool((tied & (given["id"][:-1] == given["id"][1:])).any()),
        "packet of one entry": bool((lengths == 1).any()),
        "packet of as many entries as are kept": bool((lengths == p.kept).any()),
        "packet of more entries than are kept": bool((lengths > p.kept).any()),
        "packet that waits for the one before it": p.kept == 1
        or bool((np.minimum(lengths[:-1], p.kept) > lengths[1:]).any()),
    }


UNIT = Unit(
    name="topk-filter",
    family="attention",
    summary="the entries of the k highest scores of a packet, best first",
    parameters=TopkFilter,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: TopkFilterContract(p.kept),
    component="hw.rtl.attention.topk_filter:TopkFilterUnit",
    numerics="exact: signed integers are compared; at equal scores the lower id is better",
    variants=({"kept": 1, "id_width": 2}, {"kept": 5, "score_width": 3, "id_width": 3}),
    formal=ReducedWidths({"kept": 2, "score_width": 2, "id_width": 1}, "what is valid does not depend on the scores"),
    synthesis=({}, {"kept": 4}, {"kept": 16}, {"score_width": 8}),
)
