"""Floating-point maximum and comparison, lane by lane."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Value
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import float_equal, float_less, float_maximum, float_unordered
from hw.rtl.arith.float_lanes import each_lane
from hw.rtl.arith.fp_maximum_model import UNIT, FpMaximum
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["FpMaximumUnit"]


class FpMaximumUnit(wiring.Component):
    """See `hw.rtl.arith.fp_maximum_model`."""

    def __init__(self, parameters: FpMaximum) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        fmt, beat = p.fmt, self.i.payload
        pipe = Pipeline(m, self.i, self.o)

        def lane(part: Module, n: int) -> tuple[Value, ...]:
            a, b = beat.a[n], beat.b[n]
            each = (float_maximum, float_less, float_equal, float_unordered)
            return tuple(one(part, a, b, fmt) for one in each)

        maximum, less, equal, unordered = zip(*each_lane(m, "compare", p.lanes, lane), strict=True)
        pipe.finish(maximum=Cat(maximum), less=Cat(less), equal=Cat(equal), unordered=Cat(unordered))
        return m
