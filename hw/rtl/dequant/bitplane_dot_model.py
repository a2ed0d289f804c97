"""Dot product of bipolar integers by bit planes: XNOR, popcount, and a sum of 2^(i+j) over pairs of planes.

Bit b of weight 2^i means (2b - 1) 2^i (`workloads.formats.golden.bipolar`; arXiv 2409.17870), so a product of an
n-bit and an m-bit number is the sum over pairs of planes (i, j) of 2^(i+j) (2 XNOR(a_i, b_j) - 1). A beat carries all
planes of ``lanes`` elements and says which of them are in use; the unit works on ``pairs`` pairs of planes a cycle,
so a beat takes a_bits * b_bits / ``pairs`` cycles: area and time trade one for the other.

Width of the sum: |value of n bits| <= 2^n - 1, so |sum| < lanes * beats * 2^(a_bits + b_bits), which a signed number
of a_bits + b_bits + ceil(log2 lanes) + ceil(log2 beats) + 1 bits holds. A longer sum is the caller's fault and wraps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Field, Stream, Streams, beat_count
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError

__all__ = ["UNIT", "BitplaneContract", "BitplaneDot"]

_AFTER_LAST_STEP = 3
"""Registers behind the step in which the last pairs are compared: counts, their weighted sum, the output."""


@dataclass(frozen=True)
class BitplaneDot:
    """``lanes`` products a beat of ``a_bits``- and ``b_bits``-bit bipolar integers, ``pairs`` pairs of planes a cycle;
    sums of at most ``beats`` beats."""

    lanes: int = 32
    a_bits: int = 4
    b_bits: int = 2
    pairs: int = 8
    beats: int = 256

    def __post_init__(self) -> None:
        limits = (("lanes", 1, 64), ("a_bits", 1, 8), ("b_bits", 1, 8), ("pairs", 1, 64), ("beats", 1, 65536))
        for name, low, high in limits:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)
        if self.a_bits * self.b_bits % self.pairs:
            raise InputError(
                f"{self.pairs} pairs a cycle", f"a divisor of the {self.a_bits * self.b_bits} pairs of planes", "pairs"
            )

    @property
    def steps(self) -> int:
        """Cycles that a beat takes."""
        return self.a_bits * self.b_bits // self.pairs

    @property
    def sum_width(self) -> int:
        """Bits of the accumulator."""
        return self.a_bits + self.b_bits + (self.lanes - 1).bit_length() + (self.beats - 1).bit_length() + 1

    def pair(self, step: int, place: int) -> tuple[int, int]:
        """Planes (i of a, j of b) that comparator ``place`` works on in ``step``."""
        return divmod(step * self.pairs + place, self.b_bits)


@dataclass(frozen=True)
class BitplaneContract:
    """A beat is held for ``interval_cycles`` steps; behind them a pipeline of three stages moves as one."""

    interval_cycles: int

    @property
    def latency_cycles(self) -> int:
        return self.interval_cycles + _AFTER_LAST_STEP

    def shape(self, inputs: Streams) -> dict[str, int]:
        return {"beats": beat_count(inputs["i"])}

    def cycles(self, *, beats: int) -> int:
        """``beats`` held one after another, the last of which closes a sum."""
        return beats * self.interval_cycles + _AFTER_LAST_STEP + 1

    def automaton(self, inputs: Streams) -> Automaton:
        return _Steps(self.interval_cycles, inputs["i"]["last"])


class _Steps:
    def __init__(self, steps: int, last: NDArray[Any]) -> None:
        self.steps, self.last = steps, last
        self.held: int | None = None
        self.step_now = 0
        self.full = [False] * _AFTER_LAST_STEP

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        valid = self.full[-1]
        moves = willing["o"] or not valid
        ends = self.held is not None and self.step_now == self.steps - 1
        ready = self.held is None or (moves and ends)
        if moves:
            self.full = [self.held is not None and ends and bool(self.last[self.held]), *self.full[:-1]]
            self.step_now += self.held is not None
        if ready:
            self.held, self.step_now = offered["i"], 0
        return Handshake(ready={"i": ready}, valid={"o": valid})


def _streams(p: BitplaneDot) -> tuple[Stream, ...]:
    planes = (Field("a", p.lanes, lanes=p.a_bits), Field("b", p.lanes, lanes=p.b_bits))
    return (
        Stream("i", "in", (*planes, Field("used", p.lanes), Field("last", 1))),
        Stream("o", "out", (Field("sum", p.sum_width, True),)),
    )


def _elements(planes: NDArray[Any], lanes: int) -> NDArray[np.int64]:
    """Values (beats, lanes) of planes (beats, bits)."""
    bits = planes.shape[1]
    apart = planes.astype(np.int64)[:, :, None] >> np.arange(lanes) & 1
    values: NDArray[np.int64] = ((2 * apart - 1) << np.arange(bits)[None, :, None]).sum(axis=1)
    return values


def _golden(p: BitplaneDot, inputs: Streams) -> Streams:
    beats = inputs["i"]
    used = beats["used"].astype(np.int64)[:, None] >> np.arange(p.lanes) & 1
    products = _elements(beats["a"], p.lanes) * _elements(beats["b"], p.lanes) * used
    ends = np.cumsum(products.sum(axis=1))[np.flatnonzero(beats["last"])]
    return {"o": {"sum": np.diff(ends, prepend=0)}}


def _words(rng: np.random.Generator, shape: tuple[int, ...], lanes: int) -> NDArray[np.int64]:
    bits = rng.random((*shape, lanes)) < rng.choice([0.02, 0.5, 0.98])
    words: NDArray[np.int64] = (bits.astype(np.int64) << np.arange(lanes)).sum(axis=-1)
    return words


def _drawn(p: BitplaneDot, rng: np.random.Generator, beats: int) -> Streams:
    last = (rng.random(beats) < rng.choice([0.05, 0.3, 1.0])).astype(np.int64)
    last[p.beats - 1 :: p.beats] = 1  # no sum longer than the accumulator holds
    last[-1] = 1
    # A sum whose length is no multiple of the lanes leaves some of its last beat unused.
    rest = rng.integers(0, p.lanes + 1, beats)
    every = np.full(beats, -1, np.int64) if p.lanes == 64 else np.full(beats, (1 << p.lanes) - 1, np.int64)
    part = np.where(rest == p.lanes, every, (np.int64(1) << np.minimum(rest, p.lanes - 1)) - 1)
    used = np.where((last == 1) & (rng.random(beats) < 0.5), part, every)
    a, b = _words(rng, (beats, p.a_bits), p.lanes), _words(rng, (beats, p.b_bits), p.lanes)
    return {"i": {"a": a, "b": b, "used": used, "last": last}}


def _directed(p: BitplaneDot) -> list[Streams]:
    """The longest sums of the largest products of either sign; one beat of each pair of values; nothing in use."""
    cases = []
    ones, beats = _words_of(np.ones(p.lanes, np.int64)), p.beats
    for a, b in ((ones, ones), (ones, 0), (0, 0)):
        last = np.zeros(beats, np.int64)
        last[-1] = 1
        planes = {"a": np.full((beats, p.a_bits), a), "b": np.full((beats, p.b_bits), b)}
        cases.append({"i": {**planes, "used": np.full(beats, ones), "last": last}})
    values = np.stack(np.meshgrid(np.arange(1 << p.a_bits), np.arange(1 << p.b_bits)), axis=-1).reshape(-1, 2)[:256]
    beats = len(values)
    spread = [ones * (values[:, n : n + 1] >> np.arange(bits) & 1) for n, bits in enumerate((p.a_bits, p.b_bits))]
    used = np.where(np.arange(beats) % 2, ones, 1)
    cases.append({"i": {"a": spread[0], "b": spread[1], "used": used, "last": np.ones(beats, np.int64)}})
    cases.append({"i": {"a": spread[0][:1], "b": spread[1][:1], "used": np.zeros(1, np.int64), "last": np.ones(1)}})
    return cases


def _words_of(bits: NDArray[np.int64]) -> int:
    return int((bits << np.arange(len(bits))).sum())


def _coverage(p: BitplaneDot, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats, sums = inputs["i"], outputs["o"]["sum"]
    lengths = np.diff(np.flatnonzero(beats["last"]), prepend=-1)
    ones = _words_of(np.ones(p.lanes, np.int64))
    largest = p.lanes * p.beats * ((1 << p.a_bits) - 1) * ((1 << p.b_bits) - 1)
    return {
        "positive sum": bool((sums > 0).any()),
        "negative sum": bool((sums < 0).any()),
        "largest sum": bool((sums == largest).any()),
        "lowest sum": bool((sums == -largest).any()),
        "nothing in use": bool((beats["used"] == 0).any()),
        "part in use": bool(((beats["used"] != 0) & (beats["used"] != ones)).any()) or p.lanes == 1,
        "sum of one beat": bool((lengths == 1).any()),
        "sum of as many beats as are held": bool((lengths == p.beats).any()),
    }


UNIT = Unit(
    name="bitplane-dot",
    family="dequant",
    summary="dot product of bipolar integers by XNOR and popcount over pairs of bit planes",
    parameters=BitplaneDot,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: BitplaneContract(p.steps),
    component="hw.rtl.dequant.bitplane_dot:BitplaneDotUnit",
    numerics="exact: nothing is rounded or saturated",
    variants=(
        {"lanes": 8, "a_bits": 3, "b_bits": 3, "pairs": 1, "beats": 5},
        {"lanes": 64, "a_bits": 2, "b_bits": 2, "pairs": 2, "beats": 16},
        {"lanes": 1, "a_bits": 1, "b_bits": 1, "pairs": 1, "beats": 1},
    ),
    formal=ReducedWidths(
        {"lanes": 2, "a_bits": 2, "b_bits": 1, "pairs": 1, "beats": 2}, "control counts steps, whatever the widths are"
    ),
    synthesis=({}, {"lanes": 16}, {"lanes": 64}, {"pairs": 1}, {"pairs": 4}, {"b_bits": 4, "pairs": 16}),
)
