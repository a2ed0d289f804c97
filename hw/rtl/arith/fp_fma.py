"""Floating-point multiply-adders, lane by lane."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import fma_add, fma_align
from hw.rtl.arith.float_lanes import each_lane, held_lanes
from hw.rtl.arith.float_parts import rounded
from hw.rtl.arith.fp_fma_model import UNIT, FpFma
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["FpFmaUnit"]


class FpFmaUnit(wiring.Component):
    """See `hw.rtl.arith.fp_fma_model`."""

    def __init__(self, parameters: FpFma) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        (fmt, into), beat = p.formats, self.i.payload
        pipe = Pipeline(m, self.i, self.o)
        aligned = each_lane(
            m, "multiply", p.lanes, lambda part, n: fma_align(part, beat.a[n], beat.b[n], beat.c[n], fmt, into)
        )
        if p.stages > 1:
            aligned = held_lanes(pipe, aligned)
        added = each_lane(m, "add", p.lanes, lambda part, n: fma_add(part, aligned[n], fmt, into))
        if p.stages > 2:
            added = held_lanes(pipe, added)
        pipe.finish(sum=Cat(each_lane(m, "round", p.lanes, lambda part, n: rounded(part, added[n], into))))
        return m
