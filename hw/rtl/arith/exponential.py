"""Lanes of the stages of `hw.rtl.arith.exp_blocks` with registers between them."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module
from amaranth.lib import wiring

from hw.rtl.arith.exp_blocks import exponential_stages
from hw.rtl.arith.exponential_model import UNIT, Exponential
from hw.rtl.arith.stage_blocks import pipelined_lanes
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["ExponentialUnit"]


class ExponentialUnit(wiring.Component):
    """See `hw.rtl.arith.exponential_model`."""

    def __init__(self, parameters: Exponential) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        stages = exponential_stages(*self.parameters.formats)
        results = pipelined_lanes(m, pipe, stages, [self.i.payload.x[lane] for lane in range(self.parameters.lanes)])
        pipe.finish(y=Cat(results))
        return m
