"""First-in first-out queue; with a depth of two it is the skid buffer that cuts the ready path between two units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.stream.queue_contract import QueueContract
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError

__all__ = ["UNIT", "Fifo"]


@dataclass(frozen=True)
class Fifo:
    """Room for ``depth`` beats of ``width`` bits."""

    width: int = 16
    depth: int = 8

    def __post_init__(self) -> None:
        for name, low, high in (("width", 1, 64), ("depth", 1, 1024)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)


def _streams(p: Fifo) -> tuple[Stream, ...]:
    word = (Field("data", p.width),)
    return Stream("i", "in", word), Stream("o", "out", word)


def _golden(p: Fifo, inputs: Streams) -> Streams:
    return {"o": {"data": inputs["i"]["data"]}}


def _drawn(p: Fifo, rng: np.random.Generator, beats: int) -> Streams:
    return {"i": {"data": rng.integers(0, 1 << min(p.width, 62), beats)}}


def _directed(p: Fifo) -> list[Streams]:
    """Each word different, in runs that fill the queue more than twice over; a single beat."""
    return [{"i": {"data": np.arange(count) % (1 << min(p.width, 30))}} for count in (2 * p.depth + 3, 1)]


def _coverage(p: Fifo, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats = len(inputs["i"]["data"])
    return {"one beat": beats == 1, "more beats than fit": beats > 2 * p.depth}


UNIT = Unit(
    name="fifo",
    family="stream",
    summary="first-in first-out queue of registers; depth 2 is a skid buffer",
    parameters=Fifo,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: QueueContract(p.depth),
    component="hw.rtl.stream.fifo:FifoUnit",
    numerics="words pass unchanged",
    variants=({"depth": 2}, {"depth": 1, "width": 1}, {"depth": 5, "width": 64}),
    formal=ReducedWidths({"depth": 3, "width": 2}, "the pointers and the level do not look at the words"),
    synthesis=({}, {"depth": 2}, {"depth": 4}, {"width": 32}),
)
