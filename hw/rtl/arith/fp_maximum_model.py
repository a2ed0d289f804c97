"""Maximum and comparison of floating-point numbers, lane by lane, in one stage.

The maximum is IEEE 754-2019's (9.6): NaN if either is NaN, and -0 is below +0. The flags compare values: less and
equal are never set for NaN, zeros of either sign are equal; unordered says that one is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.arith.float_operands import all_tuples, corner_codes, draw_codes, draw_partners, limits
from hw.rtl.arith.function_stimulus import float_parameter
from hw.rtl.contract import PipelineContract
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.arith.floating import float_equal, float_less, float_maximum, float_unordered
from workloads.formats.golden.floats import FloatFormat, decode

__all__ = ["UNIT", "FpMaximum"]


@dataclass(frozen=True)
class FpMaximum:
    """``lanes`` pairs a beat of numbers of ``format``."""

    format: str = "bf16"
    lanes: int = 4

    def __post_init__(self) -> None:
        float_parameter(self.format, "format")
        limits(lanes=(self.lanes, 1, 256))

    @property
    def fmt(self) -> FloatFormat:
        return float_parameter(self.format, "format")


def _streams(p: FpMaximum) -> tuple[Stream, ...]:
    operands = (Field("a", p.fmt.bits, False, p.lanes), Field("b", p.fmt.bits, False, p.lanes))
    flags = tuple(Field(name, 1, False, p.lanes) for name in ("less", "equal", "unordered"))
    results = (Field("maximum", p.fmt.bits, False, p.lanes), *flags)
    return Stream("i", "in", operands), Stream("o", "out", results)


def _golden(p: FpMaximum, inputs: Streams) -> Streams:
    a, b = inputs["i"]["a"], inputs["i"]["b"]
    functions = {"maximum": float_maximum, "less": float_less, "equal": float_equal, "unordered": float_unordered}
    return {"o": {name: function(a, b, p.fmt) for name, function in functions.items()}}


def _drawn(p: FpMaximum, rng: np.random.Generator, beats: int) -> Streams:
    a = draw_codes(rng, p.fmt, (beats, p.lanes))
    return {"i": {"a": a, "b": draw_partners(rng, a, p.fmt)}}


def _directed(p: FpMaximum) -> list[Streams]:
    """Every pair of corners."""
    a, b = all_tuples([corner_codes(p.fmt)] * 2, p.lanes)
    return [{"i": {"a": a, "b": b}}]


def _coverage(p: FpMaximum, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    x, y = decode(inputs["i"]["a"], p.fmt), decode(inputs["i"]["b"], p.fmt)
    zeros = (x == 0.0) & (y == 0.0) & (np.signbit(x) != np.signbit(y))
    goals = {
        "a less, both positive": bool(((x < y) & (x > 0.0)).any()),
        "a less, both negative": bool(((x < y) & (y < 0.0)).any()),
        "b less, both positive": bool(((y < x) & (y > 0.0)).any()),
        "b less, both negative": bool(((y < x) & (x < 0.0)).any()),
        "two signs": bool(((x < 0.0) & (y > 0.0)).any() and ((y < 0.0) & (x > 0.0)).any()),
        "equal": bool(((x == y) & (x != 0.0)).any()),
        "zeros of two signs, either way": bool((zeros & np.signbit(x)).any() and (zeros & np.signbit(y)).any()),
    }
    if p.fmt.nan_code is not None:
        goals["NaN on either side, or both"] = all(
            bool(case.any())
            for case in (np.isnan(x) & ~np.isnan(y), np.isnan(y) & ~np.isnan(x), np.isnan(x) & np.isnan(y))
        )
    if p.fmt.specials == "ieee":
        goals["infinities"] = bool((x == np.inf).any() and (y == -np.inf).any())
    return goals


UNIT = Unit(
    name="fp-maximum",
    family="arith",
    summary="maximum and comparison of floating-point numbers",
    parameters=FpMaximum,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=1),
    component="hw.rtl.arith.fp_maximum:FpMaximumUnit",
    numerics="exact; maximum propagates NaN, the canonical one, and puts -0 below +0",
    variants=({"format": "fp32"}, {"format": "fp8_e4m3", "lanes": 8}, {"format": "fp6_e2m3"}),
    formal=ReducedWidths({"format": "fp4_e2m1", "lanes": 1}, "control and handshake do not depend on the format"),
    synthesis=({}, {"lanes": 1}, {"lanes": 8}, {"format": "fp32"}, {"format": "fp8_e4m3"}),
)
