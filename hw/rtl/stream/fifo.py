"""First-in first-out queue: a ring of registers read at once."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from hw.rtl.stream.fifo_model import UNIT, Fifo
from hw.rtl.stream.signature import unit_signature

__all__ = ["FifoUnit"]


class FifoUnit(wiring.Component):
    """See `hw.rtl.stream.fifo_model`."""

    def __init__(self, parameters: Fifo) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        m.submodules.ring = ring = Memory(shape=p.width, depth=p.depth, init=[])
        write, read = ring.write_port(), ring.read_port(domain="comb")
        level = Signal(range(p.depth + 1))
        put, take = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(level != p.depth),
            self.o.valid.eq(level != 0),
            put.eq(self.i.valid & self.i.ready),
            take.eq(self.o.valid & self.o.ready),
            write.en.eq(put),
            write.data.eq(self.i.payload.data),
            self.o.payload.data.eq(read.data),
        ]
        m.d.sync += level.eq((level + put - take)[: len(level)])
        for moves, at in ((put, write.addr), (take, read.addr)):
            place = Signal(range(p.depth))
            m.d.comb += at.eq(place)
            with m.If(moves):
                m.d.sync += place.eq(Mux(place == p.depth - 1, 0, (place + 1)[: len(place)]))
        return m
