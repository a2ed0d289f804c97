"""Sums of floating-point numbers, lane by lane: the exact sum, rounded once to nearest, ties to even.

Numerics, NaN, infinities and signed zeros are those of `workloads.formats.arith.floating`. Registers stand, with
``stages`` 1, only behind the rounded sums; with 2 also behind the aligned operands; with 3 also behind the exact sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.arith.float_operands import (
    all_tuples,
    corner_codes,
    draw_codes,
    draw_partners,
    is_subnormal,
    limits,
    result_goals,
)
from hw.rtl.arith.function_stimulus import float_parameter
from hw.rtl.contract import PipelineContract
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.arith.floating import float_add, sum_to_odd
from workloads.formats.golden.floats import FloatFormat, decode

__all__ = ["UNIT", "FpAdd"]


@dataclass(frozen=True)
class FpAdd:
    """``lanes`` sums a beat of numbers of ``format``, in ``stages`` register stages."""

    format: str = "bf16"
    lanes: int = 4
    stages: int = 3

    def __post_init__(self) -> None:
        float_parameter(self.format, "format")
        limits(lanes=(self.lanes, 1, 256), stages=(self.stages, 1, 3))

    @property
    def fmt(self) -> FloatFormat:
        return float_parameter(self.format, "format")


def _streams(p: FpAdd) -> tuple[Stream, ...]:
    bits = p.fmt.bits
    operands = (Field("a", bits, False, p.lanes), Field("b", bits, False, p.lanes))
    return Stream("i", "in", operands), Stream("o", "out", (Field("sum", bits, False, p.lanes),))


def _golden(p: FpAdd, inputs: Streams) -> Streams:
    return {"o": {"sum": float_add(inputs["i"]["a"], inputs["i"]["b"], p.fmt)}}


def _drawn(p: FpAdd, rng: np.random.Generator, beats: int) -> Streams:
    a = draw_codes(rng, p.fmt, (beats, p.lanes))
    return {"i": {"a": a, "b": draw_partners(rng, a, p.fmt)}}


def _directed(p: FpAdd) -> list[Streams]:
    """Every pair of corners."""
    a, b = all_tuples([corner_codes(p.fmt)] * 2, p.lanes)
    return [{"i": {"a": a, "b": b}}]


def _coverage(p: FpAdd, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    a, b, total = inputs["i"]["a"], inputs["i"]["b"], outputs["o"]["sum"]
    x, y = decode(a, p.fmt), decode(b, p.fmt)
    goals = result_goals(sum_to_odd(x, y), total, p.fmt)
    goals["numbers that cancel"] = bool(((x == -y) & (x != 0.0) & np.isfinite(x)).any())
    goals["the smaller is absorbed"] = bool(((total == a) & (y != 0.0) & np.isfinite(x)).any())
    goals["a zero beside a number"] = bool(((x == 0.0) & (y != 0.0)).any())
    if p.fmt.mantissa_bits:
        goals["subnormal operands"] = bool((is_subnormal(a, p.fmt) & is_subnormal(b, p.fmt)).any())
    if p.fmt.specials == "ieee":
        goals["infinities of two signs"] = bool((np.isinf(x) & (x == -y)).any())
    return goals


UNIT = Unit(
    name="fp-add",
    family="arith",
    summary="sums of floating-point numbers, rounded once",
    parameters=FpAdd,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=p.stages),
    component="hw.rtl.arith.fp_add:FpAddUnit",
    numerics="exact sum rounded to nearest, ties to even; subnormals kept; one canonical NaN; x + -x = +0",
    variants=({"format": "fp32", "lanes": 2}, {"format": "fp16", "stages": 2}, {"format": "fp8_e4m3", "stages": 1}),
    formal=ReducedWidths({"format": "fp4_e2m1", "lanes": 1}, "control and handshake do not depend on the format"),
    synthesis=({}, {"lanes": 1}, {"format": "fp32", "lanes": 1}, {"format": "fp16", "lanes": 1}, {"stages": 1}),
)
