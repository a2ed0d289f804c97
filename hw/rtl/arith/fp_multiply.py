"""Floating-point multipliers, lane by lane."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import multiply_exact
from hw.rtl.arith.float_lanes import each_lane, held_lanes
from hw.rtl.arith.float_parts import rounded
from hw.rtl.arith.fp_multiply_model import UNIT, FpMultiply
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["FpMultiplyUnit"]


class FpMultiplyUnit(wiring.Component):
    """See `hw.rtl.arith.fp_multiply_model`."""

    def __init__(self, parameters: FpMultiply) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        (fmt, into), beat = p.formats, self.i.payload
        pipe = Pipeline(m, self.i, self.o)
        products = each_lane(m, "multiply", p.lanes, lambda part, n: multiply_exact(part, beat.a[n], beat.b[n], fmt))
        if p.stages > 1:
            products = held_lanes(pipe, products)
        pipe.finish(product=Cat(each_lane(m, "round", p.lanes, lambda part, n: rounded(part, products[n], into))))
        return m
