"""Dot product of integers with ternary weights {-1, 0, 1}: each lane adds, subtracts or skips its activation.

A beat brings ``lanes`` signed activations, their weights packed, and ``last``, which closes the sum. Packings are
those of `workloads.formats.golden.ternary`, a stored digit being the weight + 1: "two-bit" has a 2-bit code a lane,
"base3" five digits a byte, the first the lowest. What encodes no weight (code 3; bytes 243 to 255, of which 3^5 = 243
leave 13) counts as zero weights for the lanes it covers and raises ``bad`` of the sum it falls in.

The sum is exact for up to ``beats`` beats: lanes * beats * 2^(width - 1) in magnitude, which is reached with both
signs (-1 times the lowest activation is positive), so width + ceil(log2 (lanes * beats)) + 1 bits. A longer sum is the
caller's fault and wraps.

Stages: weights decoded; activations selected and added; accumulated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import PipelineContract
from hw.rtl.dequant.mx_elements import check_range
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit, Work
from workloads.errors import InputError, unknown_name

__all__ = ["UNIT", "TernaryDot"]

_PACKINGS = ("base3", "two-bit")
_BYTES = 3**5


@dataclass(frozen=True)
class TernaryDot:
    """``lanes`` activations of ``width`` bits a beat; sums of at most ``beats`` beats; weights in ``packing``."""

    lanes: int = 10
    width: int = 8
    beats: int = 256
    packing: str = "base3"

    def __post_init__(self) -> None:
        if self.packing not in _PACKINGS:
            raise unknown_name("packing", self.packing, _PACKINGS, field="packing")
        for name, low, high in (("lanes", 1, 256), ("width", 2, 16), ("beats", 1, 65536)):
            check_range(getattr(self, name), low, high, name)
        if self.packing == "base3" and self.lanes % 5:
            raise InputError(f"{self.lanes} lanes in base 3", "a multiple of 5, the digits of a byte", "lanes")

    @property
    def codes(self) -> int:
        """Codes a beat."""
        return self.lanes // 5 if self.packing == "base3" else self.lanes

    @property
    def code_width(self) -> int:
        return 8 if self.packing == "base3" else 2

    @property
    def largest_sum(self) -> int:
        return self.lanes * self.beats << (self.width - 1)

    @property
    def sum_width(self) -> int:
        """Bits of the accumulator."""
        return self.largest_sum.bit_length() + 1


def _streams(p: TernaryDot) -> tuple[Stream, ...]:
    operands = (Field("a", p.width, True, p.lanes), Field("weights", p.code_width, lanes=p.codes), Field("last", 1))
    return Stream("i", "in", operands), Stream("o", "out", (Field("sum", p.sum_width, True), Field("bad", 1)))


def _weights(p: TernaryDot, codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Weights (beats, lanes), and which codes are none."""
    if p.packing == "two-bit":
        bad = codes == 3
        return np.where(bad, 0, codes - 1), bad
    digits = codes[:, :, None] // 3 ** np.arange(5) % 3
    bad = codes >= _BYTES
    return np.where(bad[:, :, None], 0, digits - 1).reshape(len(codes), p.lanes), bad


def _golden(p: TernaryDot, inputs: Streams) -> Streams:
    beats = inputs["i"]
    weights, bad = _weights(p, beats["weights"])
    ends = np.flatnonzero(beats["last"])
    sums, counts = np.cumsum((beats["a"] * weights).sum(axis=1))[ends], np.cumsum(bad.sum(axis=1))[ends]
    return {"o": {"sum": np.diff(sums, prepend=0), "bad": (np.diff(counts, prepend=0) > 0).astype(np.int64)}}


def _drawn(p: TernaryDot, rng: np.random.Generator, beats: int) -> Streams:
    low, high = -(1 << (p.width - 1)), 1 << (p.width - 1)
    last = (rng.random(beats) < rng.choice([0.05, 0.3, 1.0])).astype(np.int64)
    last[p.beats - 1 :: p.beats] = 1  # no sum longer than the accumulator holds
    last[-1] = 1
    valid = _BYTES if p.packing == "base3" else 3
    weights = rng.integers(0, valid, (beats, p.codes))
    weights[rng.random(weights.shape) < 0.1] = valid // 2  # all zero weights
    spoilt = rng.random(weights.shape) < 0.02
    weights = np.where(spoilt, rng.integers(valid, 1 << p.code_width, weights.shape), weights)
    a = rng.integers(low, high, (beats, p.lanes))
    a[rng.random(a.shape) < 0.05] = low
    return {"i": {"a": a, "weights": weights, "last": last}}


def _directed(p: TernaryDot) -> list[Streams]:
    """All codes, each as a sum of its own with activations that tell the lanes apart; the longest, largest sums."""
    codes = np.arange(1 << p.code_width)
    limit = (1 << (p.width - 1)) - 1
    a = np.resize(np.minimum(3 ** np.arange(5), limit), (codes.size, p.lanes))
    weights = np.repeat(codes[:, None], p.codes, axis=1)
    cases = [{"i": {"a": a, "weights": weights, "last": np.ones(codes.size, np.int64)}}]
    last = np.zeros(p.beats, np.int64)
    last[-1] = 1
    for code in (0, _BYTES - 1 if p.packing == "base3" else 2):
        lowest = np.full((p.beats, p.lanes), -limit - 1)
        cases.append({"i": {"a": lowest, "weights": np.full((p.beats, p.codes), code), "last": last}})
    return cases


def _coverage(p: TernaryDot, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats, sums = inputs["i"], outputs["o"]
    weights, _ = _weights(p, beats["weights"])
    lengths = np.diff(np.flatnonzero(beats["last"]), prepend=-1)
    goals = {f"weight {value}": bool((weights == value).any()) for value in (-1, 0, 1)}
    return goals | {
        "every code": np.unique(beats["weights"]).size == 1 << p.code_width,
        "positive sum": bool((sums["sum"] > 0).any()),
        "negative sum": bool((sums["sum"] < 0).any()),
        "largest sum": bool((sums["sum"] == p.largest_sum).any()),
        "lowest sum": bool((sums["sum"] == -p.largest_sum).any()),
        "sum of one beat": bool((lengths == 1).any()),
        "sum with a bad code": bool((sums["bad"] == 1).any()),
        "sum without a bad code": bool((sums["bad"] == 0).any()),
    }


UNIT = Unit(
    name="ternary-dot",
    family="dequant",
    summary="dot product of integers with ternary weights in 2-bit codes or five base-3 digits a byte",
    parameters=TernaryDot,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=3, closes="last"),
    component="hw.rtl.dequant.ternary_dot:TernaryDotUnit",
    numerics="exact: two's complement, nothing is rounded or saturated; a bad code weighs 0 and is reported",
    variants=(
        {"packing": "two-bit", "lanes": 8, "beats": 64},
        {"lanes": 5, "width": 4, "beats": 16},
        {"packing": "two-bit", "lanes": 3, "width": 16, "beats": 3},
    ),
    formal=ReducedWidths({"lanes": 5, "width": 2, "beats": 2}, "control and handshake do not depend on the width"),
    work=lambda p: Work(p.lanes, "int8"),
    synthesis=({}, {"packing": "two-bit"}, {"lanes": 5}, {"lanes": 20}, {"lanes": 40}),
)
