"""Arbiter: packets of several sources into one stream, sources in turn, a packet never broken.

Between packets the source after the last one served has the first choice; with all sources waiting each gets one packet
in every round, so a source waits for at most sources - 1 packets of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Beats, Field, Stream, Streams, beat_count
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError

__all__ = ["UNIT", "Arbiter", "ArbiterContract"]


@dataclass(frozen=True)
class Arbiter:
    """``sources`` streams of ``width`` bits and a ``last`` that ends a packet."""

    sources: int = 4
    width: int = 16

    def __post_init__(self) -> None:
        for name, low, high in (("sources", 2, 16), ("width", 1, 64)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the input streams."""
        return tuple(f"i{n}" for n in range(self.sources))


@dataclass(frozen=True)
class ArbiterContract:
    """One register: a beat accepted is offered in the next cycle; nothing is accepted while one waits to be taken."""

    sources: int
    latency_cycles: int = 1
    interval_cycles: int = 1

    def shape(self, inputs: Streams) -> dict[str, int]:
        return {"beats": sum(beat_count(beats) for beats in inputs.values())}

    def cycles(self, *, beats: int) -> int:
        """``beats`` of all sources together."""
        return beats + 1

    def automaton(self, inputs: Streams) -> Automaton:
        return _Turns([inputs[f"i{n}"]["last"].tolist() for n in range(self.sources)])


class _Turns:
    def __init__(self, last: list[list[int]]) -> None:
        self.last, self.turn, self.locked, self.full = last, 0, False, False

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        count, valid = len(self.last), self.full
        moves = willing["o"] or not valid
        order = [self.turn] if self.locked else [(self.turn + n) % count for n in range(count)]
        chosen = next((n for n in order if offered[f"i{n}"] is not None), None)
        if moves:
            self.full = chosen is not None
            if chosen is not None:
                beat = offered[f"i{chosen}"]
                assert beat is not None
                self.locked = not self.last[chosen][beat]
                self.turn = chosen if self.locked else (chosen + 1) % count
        ready = {f"i{n}": moves and n == chosen for n in range(count)}
        return Handshake(ready=ready, valid={"o": valid})


def _streams(p: Arbiter) -> tuple[Stream, ...]:
    beat = (Field("data", p.width), Field("last", 1))
    out = (*beat, Field("source", (p.sources - 1).bit_length()))
    return (*(Stream(name, "in", beat) for name in p.names), Stream("o", "out", out))


def _in_order(p: Arbiter, inputs: Streams, accepted: Mapping[str, list[int]]) -> Streams:
    turns = sorted((cycle, n, k) for n in range(p.sources) for k, cycle in enumerate(accepted[f"i{n}"]))
    parts = [(inputs[f"i{n}"]["data"][k], inputs[f"i{n}"]["last"][k], n) for _, n, k in turns]
    rows = np.array(parts, dtype=np.int64).reshape(len(parts), 3)
    return {"o": {"data": rows[:, 0], "last": rows[:, 1], "source": rows[:, 2]}}


def _golden(p: Arbiter, inputs: Streams) -> Streams:
    """One source after the other."""
    counts = [beat_count(inputs[name]) for name in p.names]
    starts = np.cumsum([0, *counts])
    return _in_order(p, inputs, {name: list(range(starts[n], starts[n + 1])) for n, name in enumerate(p.names)})


def _drawn(p: Arbiter, rng: np.random.Generator, beats: int) -> Streams:
    streams = {}
    for name in p.names:
        count = max(1, beats // p.sources)
        last = (rng.random(count) < rng.choice([0.1, 0.5, 1.0])).astype(np.int64)
        last[-1] = 1
        streams[name] = {"data": rng.integers(0, 1 << min(p.width, 62), count), "last": last}
    return streams


def _directed(p: Arbiter) -> list[Streams]:
    """Long packets from the first source, single beats from the others; and one beat from each."""
    long, single = np.array([0, 0, 0, 0, 1] * 4), np.ones(12, np.int64)
    return [
        {name: _counted(p, last) for name, last in zip(p.names, lasts, strict=True)}
        for lasts in ([long, *[single] * (p.sources - 1)], [single[:1]] * p.sources)
    ]


def _counted(p: Arbiter, last: NDArray[np.int64]) -> Beats:
    return {"data": np.arange(len(last)) % (1 << min(p.width, 8)), "last": last}


def _coverage(p: Arbiter, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    last = np.concatenate([inputs[name]["last"] for name in p.names])
    return {"packet of one beat": bool((last[1:] & last[:-1]).any()), "longer packet": bool((last == 0).any())}


UNIT = Unit(
    name="arbiter",
    family="stream",
    summary="packets of several sources into one stream, in turn, never broken",
    parameters=Arbiter,
    streams=_streams,
    golden=_golden,
    in_order=_in_order,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: ArbiterContract(p.sources),
    component="hw.rtl.stream.arbiter:ArbiterUnit",
    numerics="words pass unchanged",
    variants=({"sources": 2}, {"sources": 3, "width": 5}),
    formal=ReducedWidths({"sources": 3, "width": 2}, "the choice does not look at the words"),
    synthesis=({}, {"sources": 2}, {"sources": 8}, {"width": 32}),
)
