"""Block floating point dot product: integers multiplied, then the stages that block formats share."""

from __future__ import annotations

from typing import Any

from amaranth import C, Module
from amaranth.lib import wiring

from hw.rtl.dequant.bfp_dot_model import UNIT, BfpDot
from hw.rtl.dequant.block_dot import BlockTerms, finish_block_dot
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["BfpDotUnit"]


class BfpDotUnit(wiring.Component):
    """See `hw.rtl.dequant.bfp_dot_model`."""

    def __init__(self, parameters: BfpDot) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        pipe = Pipeline(m, self.i, self.o)
        beat = self.i.payload
        products = {f"product{n}": beat.a[n] * beat.b[n] for n in range(p.lanes)}
        point = 2 * (p.width - 2)
        exponent = beat.exponent_a + beat.exponent_b - point
        stage = pipe.register(exponent=exponent, last=beat.last, **products)
        never = C(0, 1)
        terms = BlockTerms(
            products=[stage[name] for name in products],
            largest=p.largest_product,
            exponent=stage["exponent"],
            exponents=(-256 - point, 254 - point),
            nan=never,
            plus=never,
            minus=never,
            scale_nan=never,
            last=stage["last"],
        )
        finish_block_dot(m, pipe, terms, p.lanes, p.block)
        return m
