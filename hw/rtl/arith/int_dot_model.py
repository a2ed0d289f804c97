"""Dot product of signed integers: lanes multiplied, added in a tree, accumulated over the beats of a sum.

The accumulator holds every sum of up to ``beats`` beats exactly: 2 * width + ceil(log2 lanes) + ceil(log2 beats) bits,
since each product lies in [-2^(2w-2) + 2^(w-1), 2^(2w-2)]. A longer sum is the caller's fault and wraps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.contract import PipelineContract
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit, Work
from workloads.errors import InputError

__all__ = ["UNIT", "IntDot"]


@dataclass(frozen=True)
class IntDot:
    """``lanes`` products of ``width``-bit signed integers a beat; sums of at most ``beats`` beats."""

    lanes: int = 8
    width: int = 8
    beats: int = 256

    def __post_init__(self) -> None:
        for name, low, high in (("lanes", 1, 256), ("width", 2, 16), ("beats", 1, 65536)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)

    @property
    def sum_width(self) -> int:
        """Bits of the accumulator."""
        return 2 * self.width + (self.lanes - 1).bit_length() + (self.beats - 1).bit_length()


def _streams(p: IntDot) -> tuple[Stream, ...]:
    operands = (Field("a", p.width, True, p.lanes), Field("b", p.width, True, p.lanes), Field("last", 1))
    return Stream("i", "in", operands), Stream("o", "out", (Field("sum", p.sum_width, True),))


def _golden(p: IntDot, inputs: Streams) -> Streams:
    beats = inputs["i"]
    running = np.cumsum((beats["a"] * beats["b"]).sum(axis=1))
    ends = running[np.flatnonzero(beats["last"])]
    return {"o": {"sum": np.diff(ends, prepend=0)}}


def _drawn(p: IntDot, rng: np.random.Generator, beats: int) -> Streams:
    low, high = -(1 << (p.width - 1)), 1 << (p.width - 1)
    last = (rng.random(beats) < rng.choice([0.05, 0.3, 1.0])).astype(np.int64)
    last[p.beats - 1 :: p.beats] = 1  # no sum longer than the accumulator holds
    last[-1] = 1
    a, b = (rng.integers(low, high, (beats, p.lanes)) for _ in "ab")
    return {"i": {"a": a, "b": b, "last": last}}


def _directed(p: IntDot) -> list[Streams]:
    """The longest sums of the largest products of either sign, and one beat alone."""
    low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
    cases = []
    for beats, a, b in ((p.beats, low, low), (p.beats, low, high), (p.beats, high, high), (1, 0, low)):
        last = np.zeros(beats, np.int64)
        last[-1] = 1
        shape = (beats, p.lanes)
        cases.append({"i": {"a": np.full(shape, a), "b": np.full(shape, b), "last": last}})
    return cases


def _coverage(p: IntDot, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats, sums = inputs["i"], outputs["o"]["sum"]
    low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
    lengths = np.diff(np.flatnonzero(beats["last"]), prepend=-1)
    return {
        "lowest operand": bool((beats["a"] == low).any()),
        "highest operand": bool((beats["b"] == high).any()),
        "positive sum": bool((sums > 0).any()),
        "negative sum": bool((sums < 0).any()),
        "zero sum": bool((sums == 0).any()),
        "sum of one beat": bool((lengths == 1).any()),
        "sum of as many beats as are held": bool((lengths == p.beats).any()),
    }


UNIT = Unit(
    name="int-dot",
    family="arith",
    summary="dot product of signed integers, accumulated until a beat says last",
    parameters=IntDot,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=3, closes="last"),
    component="hw.rtl.arith.int_dot:IntDotUnit",
    numerics="exact: two's complement, nothing is rounded or saturated",
    variants=({"lanes": 4, "width": 4, "beats": 16}, {"lanes": 1, "width": 16, "beats": 3}),
    formal=ReducedWidths({"lanes": 2, "width": 4, "beats": 4}, "control and handshake do not depend on the width"),
    work=lambda p: Work(p.lanes, "int4" if p.width <= 4 else "int8" if p.width <= 8 else "int16"),
    synthesis=({}, {"lanes": 4}, {"lanes": 16}, {"width": 4}),
)
