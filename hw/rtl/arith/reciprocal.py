"""Lanes of the stages of `hw.rtl.arith.reciprocal_blocks` with registers between them."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module
from amaranth.lib import wiring

from hw.rtl.arith.reciprocal_blocks import reciprocal_stages
from hw.rtl.arith.reciprocal_model import UNIT, Reciprocal
from hw.rtl.arith.stage_blocks import pipelined_lanes
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["ReciprocalUnit"]


class ReciprocalUnit(wiring.Component):
    """See `hw.rtl.arith.reciprocal_model`."""

    def __init__(self, parameters: Reciprocal) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        stages = reciprocal_stages(*self.parameters.formats)
        results = pipelined_lanes(m, pipe, stages, [self.i.payload.x[lane] for lane in range(self.parameters.lanes)])
        pipe.finish(y=Cat(results))
        return m
