"""Dot product of two vectors in block floating point, accumulated in FP32.

A beat brings ``lanes`` mantissas of either vector (``width`` bits, two's complement), the exponents of the two blocks
they lie in, and ``last``, which closes the sum (and the block, if it comes early). The exponents are read with the
beat that closes the block. As in `workloads.formats.golden.shared_exponent` a value is
mantissa * 2^(exponent - (width - 2)). Inside a block the sum is exact: block products of at most 2^(2 width - 2) take
2 width - 1 + ceil(log2 block) bits and a sign. Its value is added to an FP32 accumulator, rounded to nearest even once
for each block, beginning at +0; an exact zero is +0, overflow is infinite and stays. Nothing but that is no number.

Stages: multiply; add; sum of the block; normalise; accumulate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.contract import PipelineContract
from hw.rtl.dequant.blocks import (
    blocks_to_repeat,
    check_block,
    drawn_lasts,
    golden_sums,
    meeting_exponents,
    meeting_integers,
    result_goals,
)
from hw.rtl.dequant.mx_elements import check_range
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit, Work

__all__ = ["UNIT", "BfpDot"]


@dataclass(frozen=True)
class BfpDot:
    """``lanes`` pairs of ``width``-bit mantissas a beat; ``block`` of them share an exponent."""

    width: int = 6
    lanes: int = 8
    block: int = 32

    def __post_init__(self) -> None:
        check_range(self.width, 2, 16, "width")
        check_block(self.block, self.lanes)

    @property
    def largest_product(self) -> int:
        return 1 << (2 * self.width - 2)

    @property
    def sum_width(self) -> int:
        """Bits of a block sum, the sign included."""
        return (self.block * self.largest_product).bit_length() + 1


def _streams(p: BfpDot) -> tuple[Stream, ...]:
    operands = (Field("a", p.width, True, p.lanes), Field("b", p.width, True, p.lanes))
    exponents = (Field("exponent_a", 8, True), Field("exponent_b", 8, True), Field("last", 1))
    return Stream("i", "in", (*operands, *exponents)), Stream("o", "out", (Field("sum", 32),))


def _golden(p: BfpDot, inputs: Streams) -> Streams:
    beats = inputs["i"]
    terms = (beats["a"] * beats["b"]).sum(axis=1).tolist()
    exponents = (beats["exponent_a"] + beats["exponent_b"] - 2 * (p.width - 2)).tolist()
    never = np.zeros(len(terms), np.bool_)
    return {"o": {"sum": golden_sums(terms, exponents, (never, never, never), beats["last"], p.block // p.lanes)}}


def _drawn(p: BfpDot, rng: np.random.Generator, beats: int) -> Streams:
    length = p.block // p.lanes
    last = drawn_lasts(rng, beats, length)
    low, high = -(1 << (p.width - 1)), 1 << (p.width - 1)
    a, b = (rng.integers(low, high, (beats, p.lanes)) for _ in "ab")
    for operand in (a, b):
        operand[rng.random(operand.shape) < 0.1] = 0
        operand[rng.random(operand.shape) < 0.05] = low
        operand[rng.random(operand.shape) < 0.05] = high - 1
    # Each sum stays about one exponent (small, large, in the middle), so that its blocks meet.
    sums = np.cumsum(last) - last
    centres = rng.choice([0, -155, -135, 120, 1000], sums[-1] + 1)
    centres = np.where(centres == 1000, rng.integers(-256, 255, centres.shape), centres)
    jitter = rng.choice([2, 6, 30], sums[-1] + 1)
    total = np.clip(centres[sums] + rng.integers(-jitter[sums], jitter[sums] + 1), -256, 254)
    exponent_a = rng.integers(np.maximum(-128, total - 127), np.minimum(127, total + 128) + 1)
    exponent_b = total - exponent_a
    for here, there in blocks_to_repeat(rng, last, length):
        b[there] = np.maximum(b[there], low + 1)
        a[here], b[here] = a[there], -b[there]
        exponent_a[here], exponent_b[here] = exponent_a[there], exponent_b[there]
    return {"i": {"a": a, "b": b, "exponent_a": exponent_a, "exponent_b": exponent_b, "last": last}}


def _directed(p: BfpDot) -> list[Streams]:
    """Largest blocks of either sign, each followed by a single least product, at both ends of the exponents."""
    length = p.block // p.lanes
    low = -(1 << (p.width - 1))
    cases = []
    for exponent in (-128, 0, 127):
        a, b = (np.zeros((4 * length, p.lanes), np.int64) for _ in "ab")
        a[:length], b[:length] = low, low
        a[length, 0], b[length, 0] = 1, -1
        a[2 * length : 3 * length], b[2 * length : 3 * length] = low, -low - 1
        a[3 * length, 0], b[3 * length, 0] = 1, 1
        last = np.zeros(4 * length, np.int64)
        last[-1] = 1
        exponents = np.full(4 * length, exponent)
        cases.append({"i": {"a": a, "b": b, "exponent_a": exponents, "exponent_b": exponents, "last": last}})
    return [*cases, *_meeting(p)]


def _meeting(p: BfpDot) -> list[Streams]:
    """Pairs of blocks at all distances (not of mantissas too narrow for them)."""
    if p.width < 3:
        return []
    length, meetings = p.block // p.lanes, meeting_exponents()
    a, b = (np.tile(x.reshape(-1, p.lanes), (len(meetings), 1)) for x in meeting_integers(p.block))
    exponent = np.repeat(meetings.reshape(-1), length)
    last = np.zeros(len(a), np.int64)
    last[2 * length - 1 :: 2 * length] = 1
    return [{"i": {"a": a, "b": b, "exponent_a": exponent, "exponent_b": np.zeros_like(exponent), "last": last}}]


def _coverage(p: BfpDot, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats = inputs["i"]
    low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
    goals = {f"mantissa {value}": bool((beats["a"] == value).any()) for value in (low, 0, high)}
    goals |= {f"exponent {value}": bool((beats["exponent_a"] == value).any()) for value in (-128, 127)}
    return goals | result_goals(beats["last"], outputs["o"]["sum"], p.block // p.lanes)


UNIT = Unit(
    name="bfp-dot",
    family="dequant",
    summary="dot product of block floating point, exact inside a block, accumulated in FP32",
    parameters=BfpDot,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=5, closes="last"),
    component="hw.rtl.dequant.bfp_dot:BfpDotUnit",
    numerics="block sums exact; accumulator FP32, rounded to nearest even once a block; overflow to infinity",
    variants=({"width": 16, "lanes": 2, "block": 4}, {"width": 4, "lanes": 16, "block": 16}),
    formal=ReducedWidths({"width": 2, "lanes": 1, "block": 2}, "handshake and block count do not depend on the width"),
    work=lambda p: Work(p.lanes, "bfp4" if p.width <= 4 else "bfp6"),
    synthesis=({}, {"width": 4}, {"width": 8}, {"lanes": 4}, {"lanes": 16}),
)
