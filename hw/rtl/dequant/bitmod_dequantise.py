"""BitMoD's floats into wider ones in three stages: look up, multiply, round.

BitMoD is subject to a patent application by Cornell University, as its authors state: see `bitmod_dequantise_model`.
"""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Value, signed
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import exact_integer, exact_value
from hw.rtl.arith.float_parts import rounded, wire
from hw.rtl.dequant.bitmod_dequantise_model import UNIT, BitmodDequantise
from hw.rtl.dequant.loaded_pipeline import exact_product
from hw.rtl.dequant.mx_elements import target_format
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature
from workloads.formats.golden.floats import FP16

__all__ = ["BitmodDequantiseUnit"]

_MAGNITUDES = {3: (0, 1, 2, 4), 4: (0, 1, 2, 3, 4, 6, 8, 12)}
_SPECIALS = {3: (3, -3, 6, -6), 4: (10, -10, 16, -16)}
_VALUE = signed(6)


class BitmodDequantiseUnit(wiring.Component):
    """See `hw.rtl.dequant.bitmod_dequantise_model`."""

    def __init__(self, parameters: BitmodDequantise) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        pipe = Pipeline(m, self.i, self.o)
        beat = self.i.payload
        special = wire(m, Array(Const(v, _VALUE) for v in _SPECIALS[p.bits])[beat.selector], "special", _VALUE)
        values = {f"value{n}": _value(m, p.bits, beat.codes[n], special) for n in range(p.lanes)}
        looked_up = pipe.register(**values, scale=beat.scale)
        scale = exact_value(m, looked_up["scale"], FP16)
        products = [exact_product(m, exact_integer(m, looked_up[name]), scale) for name in values]
        named: dict[str, Value] = {}
        for n, product in enumerate(products):
            named |= product.named(f"product{n}")
        multiplied = pipe.register(**named)
        target = target_format(p.target)
        codes = [rounded(m, product.held(multiplied, f"product{n}"), target) for n, product in enumerate(products)]
        pipe.finish(values=Cat(codes))
        return m


def _value(m: Module, bits: int, code: Value, special: Value) -> Value:
    """The signed integer that ``code`` stands for."""
    base = wire(m, Array(Const(v, _VALUE) for v in _MAGNITUDES[bits])[code[:-1]], "base", _VALUE)
    signed_value = Mux(code[-1], -base, base)
    return wire(m, Mux(code == 1 << (bits - 1), special, signed_value), "value", _VALUE)
