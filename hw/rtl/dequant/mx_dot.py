"""Microscaling dot product: significands multiplied, products shifted into fixed point, summed, accumulated."""

from __future__ import annotations

from typing import Any

from amaranth import C, Module, Mux, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.utils import bits_for

from hw.rtl.arith.float_parts import shared, wire
from hw.rtl.dequant.block_dot import BlockTerms, finish_block_dot
from hw.rtl.dequant.mx_dot_model import UNIT, MxDot
from hw.rtl.dequant.mx_elements import one_exponent
from hw.rtl.dequant.mx_parts import exact_element
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["MxDotUnit"]


class MxDotUnit(wiring.Component):
    """See `hw.rtl.dequant.mx_dot_model`."""

    def __init__(self, parameters: MxDot) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        pipe = Pipeline(m, self.i, self.o)
        beat = self.i.payload
        low = one_exponent(p.a) + one_exponent(p.b)
        held: dict[str, Value] = {"nan": C(0, 1), "plus": C(0, 1), "minus": C(0, 1)}
        for n in range(p.lanes):
            a, b = exact_element(m, beat.a[n], p.a), exact_element(m, beat.b[n], p.b)
            sign = shared(m, a.sign ^ b.sign, "product_sign")
            held[f"sign{n}"] = sign
            held[f"product{n}"] = a.significand * b.significand
            if p.shifts:
                most = p.largest_product.bit_length()
                held[f"shift{n}"] = wire(m, a.exponent + b.exponent - low, "shift", unsigned(bits_for(most)))
            infinite = a.infinite | b.infinite
            # Infinity times zero: the significand of an infinity is not zero, nor is it of anything but zero.
            nothing = (~a.infinite & ~a.significand.any()) | (~b.infinite & ~b.significand.any())
            nan = a.nan | b.nan | (infinite & nothing)
            held["nan"] = held["nan"] | nan
            held["plus"] = held["plus"] | (infinite & ~nan & ~sign)
            held["minus"] = held["minus"] | (infinite & ~nan & sign)
        exponent = beat.scale_a + beat.scale_b + (low - 254)
        flags = {name: held.pop(name) for name in ("nan", "plus", "minus")}
        common = {"exponent": exponent, "last": beat.last, "scale_nan": beat.scale_a.all() | beat.scale_b.all()}
        stage = pipe.register(**held, **flags, **common)
        width = p.largest_product.bit_length()
        products: dict[str, Value] = {}
        for n in range(p.lanes):
            magnitude = stage[f"product{n}"]
            if p.shifts:
                magnitude = wire(m, magnitude << stage[f"shift{n}"], "shifted", unsigned(width))
            signed_product = Mux(stage[f"sign{n}"], -magnitude, magnitude)
            products[f"product{n}"] = wire(m, signed_product, "signed_product", signed(width + 1))
        if p.shifts:
            names = (*flags, *common)
            stage = pipe.register(**products, **{name: stage[name] for name in names})
            products = {name: stage[name] for name in products}
        terms = BlockTerms(
            products=list(products.values()),
            largest=p.largest_product,
            exponent=stage["exponent"],
            exponents=(low - 254, low + 256),
            nan=stage["nan"],
            plus=stage["plus"],
            minus=stage["minus"],
            scale_nan=stage["scale_nan"],
            last=stage["last"],
        )
        finish_block_dot(m, pipe, terms, p.lanes, p.block)
        return m
