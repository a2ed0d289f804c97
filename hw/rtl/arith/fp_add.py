"""Floating-point adders, lane by lane."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import add_align, add_aligned
from hw.rtl.arith.float_lanes import each_lane, held_lanes
from hw.rtl.arith.float_parts import rounded
from hw.rtl.arith.fp_add_model import UNIT, FpAdd
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["FpAddUnit"]


class FpAddUnit(wiring.Component):
    """See `hw.rtl.arith.fp_add_model`."""

    def __init__(self, parameters: FpAdd) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        pipe, beat, fmt = Pipeline(m, self.i, self.o), self.i.payload, p.fmt
        aligned = each_lane(m, "align", p.lanes, lambda part, n: add_align(part, beat.a[n], beat.b[n], fmt))
        if p.stages > 1:
            aligned = held_lanes(pipe, aligned)
        added = each_lane(m, "add", p.lanes, lambda part, n: add_aligned(part, aligned[n]))
        if p.stages > 2:
            added = held_lanes(pipe, added)
        pipe.finish(sum=Cat(each_lane(m, "round", p.lanes, lambda part, n: rounded(part, added[n], fmt))))
        return m
