"""Dot product of two vectors of OCP Microscaling blocks, accumulated in FP32.

A beat brings ``lanes`` elements of either vector, the E8M0 scales of the two blocks they lie in, and ``last``, which
closes the sum (and the block, if it comes early). The scales are read with the beat that closes the block. Numerics:

- inside a block the sum of products is exact, in fixed point: an element is an integer of at most Ea in magnitude
  times a power of two (`hw.rtl.dequant.mx_elements`), a block sum at most block * Ea * Eb. That is 13 bits for FP4,
  17 for E2M3, 23 for E3M2, 20 for INT8, 41 for E4M3 and 69 for E5M2, sign apart: nothing is cut off, at the price of
  a 69-bit adder in the last case. Products are shifted into place behind the multiplication of significands.
- the block's value is that integer times 2^(scale a + scale b - 254); accumulator = round(accumulator + value), to
  nearest even, once for each block, beginning at +0. An exact zero is +0.
- a NaN scale or element gives NaN; infinities of E5M2 behave as in IEEE 754 (infinity times zero and opposite
  infinities give NaN); overflow of the accumulator is infinite and stays.

Stages: multiply; shift (not for two INT8 vectors); add; sum of the block; normalise; accumulate. The last is a loop of
one cycle, since a block may close in every cycle (``lanes`` = ``block``): align, add, normalise, round set the clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import PipelineContract
from hw.rtl.dequant.blocks import (
    blocks_to_repeat,
    check_block,
    closing_beats,
    drawn_lasts,
    golden_sums,
    meeting_exponents,
    meeting_integers,
    result_goals,
)
from hw.rtl.dequant.mx_elements import (
    check_element,
    classes_seen,
    drawn_elements,
    element_bits,
    element_values,
    largest_integer,
    one_exponent,
)
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit, Work
from workloads.formats.golden.arrays import Floats
from workloads.formats.golden.microscaling import E8M0_NAN, MX_ELEMENTS

__all__ = ["UNIT", "MxDot"]


@dataclass(frozen=True)
class MxDot:
    """``lanes`` pairs of elements a beat, of ``a`` and of ``b``; ``block`` elements share a scale."""

    a: str = "mxfp4"
    b: str = "mxfp4"
    lanes: int = 8
    block: int = 32

    def __post_init__(self) -> None:
        check_element(self.a, "a")
        check_element(self.b, "b")
        check_block(self.block, self.lanes)

    @property
    def shifts(self) -> bool:
        """Whether products differ in exponent inside a block."""
        return MX_ELEMENTS[self.a] is not None or MX_ELEMENTS[self.b] is not None

    @property
    def largest_product(self) -> int:
        """In units of the product's lowest bit."""
        return largest_integer(self.a) * largest_integer(self.b)

    @property
    def sum_width(self) -> int:
        """Bits of a block sum, the sign included."""
        return (self.block * self.largest_product).bit_length() + 1


def _streams(p: MxDot) -> tuple[Stream, ...]:
    operands = (Field("a", element_bits(p.a), lanes=p.lanes), Field("b", element_bits(p.b), lanes=p.lanes))
    scales = (Field("scale_a", 8), Field("scale_b", 8), Field("last", 1))
    return Stream("i", "in", (*operands, *scales)), Stream("o", "out", (Field("sum", 32),))


def _integers(name: str, values: Floats) -> NDArray[np.object_]:
    finite = np.where(np.isfinite(values), values, 0.0)
    return np.ldexp(finite, -one_exponent(name)).astype(np.int64).astype(object)


def _golden(p: MxDot, inputs: Streams) -> Streams:
    beats = inputs["i"]
    a, b = element_values(p.a, beats["a"]), element_values(p.b, beats["b"])
    terms = (_integers(p.a, a) * _integers(p.b, b)).sum(axis=1).tolist()
    exponents = beats["scale_a"] + beats["scale_b"] - 254 + one_exponent(p.a) + one_exponent(p.b)
    with np.errstate(invalid="ignore"):
        products = a * b
    nan = np.any(np.isnan(products), axis=1)
    closing = closing_beats(beats["last"], p.block // p.lanes)
    nan[closing] |= ((beats["scale_a"] == E8M0_NAN) | (beats["scale_b"] == E8M0_NAN))[closing]
    specials = (nan, np.any(products == np.inf, axis=1), np.any(products == -np.inf, axis=1))
    return {"o": {"sum": golden_sums(terms, exponents.tolist(), specials, beats["last"], p.block // p.lanes)}}


def _negated(name: str, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    return codes ^ 1 << (element_bits(name) - 1) if MX_ELEMENTS[name] else -codes & 0xFF


def _drawn(p: MxDot, rng: np.random.Generator, beats: int) -> Streams:
    length = p.block // p.lanes
    last = drawn_lasts(rng, beats, length)
    shares = {"zero": 0.1, "subnormal": 0.1, "largest": 0.1, "infinite": 0.1 / p.block, "nan": 0.1 / p.block}
    a, b = (drawn_elements(rng, name, (beats, p.lanes), shares) for name in (p.a, p.b))
    # Each sum stays about one exponent (small, large, just in the middle), so that its blocks meet.
    sums = np.cumsum(last) - last
    span = p.sum_width + one_exponent(p.a) + one_exponent(p.b)
    centres = rng.choice([254, 254 - 149 - span, 254 - 126 - span, 254 + 128 - span, -1], sums[-1] + 1)
    centres = np.where(centres < 0, rng.integers(0, 509, centres.shape), centres)
    jitter = rng.choice([2, 6, 30], sums[-1] + 1)
    total = np.clip(centres[sums] + rng.integers(-jitter[sums], jitter[sums] + 1), 0, 508)
    scale_a = rng.integers(np.maximum(0, total - 254), np.minimum(254, total) + 1)
    scale_b = total - scale_a
    for here, there in blocks_to_repeat(rng, last, length):
        a[here], b[here] = _negated(p.a, a[there]), b[there]
        scale_a[here], scale_b[here] = scale_a[there], scale_b[there]
    scale_a[rng.random(beats) < 0.01] = E8M0_NAN
    scale_b[rng.random(beats) < 0.01] = E8M0_NAN
    return {"i": {"a": a, "b": b, "scale_a": scale_a, "scale_b": scale_b, "last": last}}


def _directed(p: MxDot) -> list[Streams]:
    """Largest blocks of either sign, each followed by the smallest element alone, at both ends of the scales, in the
    middle, and where what remains is subnormal."""
    length = p.block // p.lanes
    fmt = MX_ELEMENTS[p.a], MX_ELEMENTS[p.b]
    top_a, top_b = (f.largest_code if f else 0x80 for f in fmt)
    cases = []
    for scale in (0, (254 - 140 - one_exponent(p.a) - one_exponent(p.b)) // 2, 127, 254):
        a = np.zeros((4 * length, p.lanes), np.int64)
        b = np.zeros_like(a)
        a[:length], b[:length] = top_a, top_b
        a[length, 0], b[length, 0] = 1, 1
        a[2 * length : 3 * length], b[2 * length : 3 * length] = _negated(p.a, np.array(top_a)), top_b
        a[3 * length, 0], b[3 * length, 0] = 1, 1
        scales = np.full(4 * length, scale)
        last = np.zeros(4 * length, np.int64)
        last[-1] = 1
        cases.append({"i": {"a": a, "b": b, "scale_a": scales, "scale_b": scales, "last": last}})
    return [*cases, _meeting(p)]


def _meeting(p: MxDot) -> Streams:
    """Pairs of blocks at all distances; the codes 1 to 3 of every element are those integers."""
    length, meetings = p.block // p.lanes, meeting_exponents()
    a, b = (np.tile(x.reshape(-1, p.lanes), (len(meetings), 1)) for x in meeting_integers(p.block))
    scale_a = np.repeat(meetings.reshape(-1), length) + 127
    codes = np.where(b < 0, _negated(p.b, np.abs(b)), b)
    last = np.zeros(len(a), np.int64)
    last[2 * length - 1 :: 2 * length] = 1
    return {"i": {"a": a, "b": codes, "scale_a": scale_a, "scale_b": np.full_like(scale_a, 127), "last": last}}


def _coverage(p: MxDot, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats, sums = inputs["i"], outputs["o"]["sum"]
    goals = {f"a: {kind}": seen for kind, seen in classes_seen(p.a, beats["a"]).items()}
    goals |= {f"b: {kind}": seen for kind, seen in classes_seen(p.b, beats["b"]).items()}
    goals |= {f"scale {code}": bool((beats["scale_a"] == code).any()) for code in (0, 254, E8M0_NAN)}
    goals |= result_goals(beats["last"], sums, p.block // p.lanes)
    goals["result: NaN"] = bool((sums & 0x7FFFFFFF > 0x7F800000).any())
    return goals


UNIT = Unit(
    name="mx-dot",
    family="dequant",
    summary="dot product of OCP Microscaling blocks, exact inside a block, accumulated in FP32",
    parameters=MxDot,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=6 if p.shifts else 5, closes="last"),
    component="hw.rtl.dequant.mx_dot:MxDotUnit",
    numerics="block sums exact; accumulator FP32, rounded to nearest even once a block; NaN and infinity as IEEE 754",
    variants=(
        {"a": "mxfp8_e4m3", "b": "mxfp8_e4m3", "lanes": 4, "block": 8},
        {"a": "mxfp8_e5m2", "b": "mxfp8_e5m2", "lanes": 2, "block": 8},
        {"a": "mxint8", "b": "mxint8", "lanes": 16, "block": 16},
        {"a": "mxfp6_e2m3", "b": "mxfp6_e3m2", "lanes": 4, "block": 4},
        {"a": "mxfp8_e4m3", "b": "mxfp4", "lanes": 4, "block": 8},
    ),
    formal=ReducedWidths({"lanes": 1, "block": 2}, "handshake and block count do not depend on elements"),
    work=lambda p: Work(p.lanes, max(p.a, p.b).partition("_")[0]),  # mxint8 > mxfp8 > mxfp6 > mxfp4
    synthesis=(
        {},
        {"lanes": 4},
        {"lanes": 16},
        {"a": "mxint8", "b": "mxint8"},
        {"a": "mxfp6_e2m3", "b": "mxfp6_e2m3"},
        {"a": "mxfp8_e4m3", "b": "mxfp8_e4m3"},
    ),
)
