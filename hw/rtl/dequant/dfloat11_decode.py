"""DFloat11 to BF16: the Huffman decoder, and a join with the raw bytes."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring

from hw.rtl.dequant.dfloat11_decode_model import UNIT
from hw.rtl.dequant.huffman_decode import HuffmanDecodeUnit
from hw.rtl.dequant.huffman_decode_model import HuffmanDecode
from hw.rtl.stream.signature import unit_signature

__all__ = ["Dfloat11DecodeUnit"]


class Dfloat11DecodeUnit(wiring.Component):
    """See `hw.rtl.dequant.dfloat11_decode_model`."""

    def __init__(self, parameters: HuffmanDecode) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        m.submodules.exponents = front = HuffmanDecodeUnit(p)
        wiring.connect(m, wiring.flipped(self.t), front.t)
        wiring.connect(m, wiring.flipped(self.i), front.i)
        decoded = front.o.payload
        m.d.comb += [
            self.o.valid.eq(front.o.valid & self.s.valid),
            front.o.ready.eq(self.o.ready & self.s.valid),
            self.s.ready.eq(self.o.ready & front.o.valid),
            self.o.payload.count.eq(decoded.count),
            self.o.payload.last.eq(decoded.last),
        ]
        for n in range(p.symbols):
            raw, there = self.s.payload.raw[n], Signal(name=f"there{n}")
            m.d.comb += [
                there.eq(decoded.count > n),
                self.o.payload.weights[n].eq(Mux(there, Cat(raw[:7], decoded.symbols[n], raw[7]), 0)),
            ]
        return m
