"""Loaded table of sixteen floats times a scale, in three stages: look up, multiply, round."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Module, Signal, Value
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import exact_value
from hw.rtl.arith.float_parts import rounded
from hw.rtl.dequant.loaded_pipeline import exact_product, loaded_pipeline
from hw.rtl.dequant.lut_dequantise_model import ENTRIES, UNIT, LutDequantise
from hw.rtl.dequant.mx_elements import target_format
from hw.rtl.stream.signature import unit_signature

__all__ = ["LutDequantiseUnit"]


class LutDequantiseUnit(wiring.Component):
    """See `hw.rtl.dequant.lut_dequantise_model`."""

    def __init__(self, parameters: LutDequantise) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        entry, scale, target = (target_format(name) for name in (p.entry, p.scale, p.target))
        pipe, loads = loaded_pipeline(m, self.table, self.i, self.o, ENTRIES)
        table = [Signal(entry.bits, name=f"entry{n}", reset_less=True) for n in range(ENTRIES)]
        with m.If(loads):  # a chain: after sixteen entries the first stands in front
            m.d.sync += Cat(table).eq(Cat(*table[1:], self.table.payload.entry))
        beat = self.i.payload
        chosen = {f"entry{n}": Array(table)[beat.codes[n]] for n in range(p.lanes)}
        found = pipe.register(scale=beat.scale, last=beat.last, **chosen)
        factor = exact_value(m, found["scale"], scale)
        products = [exact_product(m, exact_value(m, found[f"entry{n}"], entry), factor) for n in range(p.lanes)]
        named: dict[str, Value] = {}
        for n, product in enumerate(products):
            named |= product.named(f"product{n}")
        multiplied = pipe.register(last=found["last"], **named)
        values = [rounded(m, product.held(multiplied, f"product{n}"), target) for n, product in enumerate(products)]
        pipe.finish(values=Cat(values), last=multiplied["last"])
        return m
