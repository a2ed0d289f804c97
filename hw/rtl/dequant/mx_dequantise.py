"""Microscaling elements into wider floats in two stages: take apart and add exponents, round."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth import Cat, Module, Value
from amaranth.lib import wiring

from hw.rtl.arith.float_parts import rounded
from hw.rtl.dequant.mx_dequantise_model import UNIT, MxDequantise
from hw.rtl.dequant.mx_elements import target_format
from hw.rtl.dequant.mx_parts import exact_element
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["MxDequantiseUnit"]


class MxDequantiseUnit(wiring.Component):
    """See `hw.rtl.dequant.mx_dequantise_model`."""

    def __init__(self, parameters: MxDequantise) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        pipe = Pipeline(m, self.i, self.o)
        beat = self.i.payload
        scale_nan = beat.scale.all()
        products = []
        for n in range(p.lanes):
            element = exact_element(m, beat.codes[n], p.element)
            exponent = element.exponent + (beat.scale - 127)
            nan = element.nan | scale_nan
            products.append(replace(element, exponent=exponent, nan=nan, lowest=element.lowest - 127))
        split: dict[str, Value] = {}
        for n, product in enumerate(products):
            split |= product.named(f"product{n}")
        held = pipe.register(**split)
        target = target_format(p.target)
        pipe.finish(values=Cat(rounded(m, x.held(held, f"product{n}"), target) for n, x in enumerate(products)))
        return m
