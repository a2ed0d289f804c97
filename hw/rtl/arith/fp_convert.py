"""Floating-point converters, lane by lane."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import float_convert
from hw.rtl.arith.float_lanes import each_lane
from hw.rtl.arith.fp_convert_model import UNIT, FpConvert
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["FpConvertUnit"]


class FpConvertUnit(wiring.Component):
    """See `hw.rtl.arith.fp_convert_model`."""

    def __init__(self, parameters: FpConvert) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        (source, target), beat = p.formats, self.i.payload
        pipe = Pipeline(m, self.i, self.o)
        pipe.finish(
            y=Cat(
                each_lane(
                    m, "convert", p.lanes, lambda part, n: float_convert(part, beat.x[n], source, target, p.saturate)
                )
            )
        )
        return m
