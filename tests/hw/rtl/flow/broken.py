"""Components that break the rules of streams, each in its own way, and one that keeps them."""

from __future__ import annotations

from typing import Any

from amaranth import Const, Module, Signal
from amaranth.lib import wiring

from hw.rtl.ports import Field, Stream
from hw.rtl.stream.signature import unit_signature

__all__ = ["STREAMS", "Register"]

STREAMS = (Stream("i", "in", (Field("word", 4),)), Stream("o", "out", (Field("word", 4),)))


class Register(wiring.Component):
    """One register stage: latency 1. ``fault`` payload: it changes while it waits; valid: dropped after a cycle;
    dependent: valid waits for ready; early: valid in the cycle after reset; late: a beat
    offered while one waits is lost; silent: never valid."""

    def __init__(self, fault: str | None = None) -> None:
        self.fault = fault
        super().__init__(unit_signature(STREAMS))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        full = Signal(init=self.fault == "early")
        word, slow = Signal(4), Signal()
        moves = self.o.ready | ~full
        offered = {"late": self.i.valid & ~full, "silent": Const(0, 1)}.get(self.fault or "", self.i.valid)
        m.d.comb += [self.i.ready.eq(moves), self.o.valid.eq(full), self.o.payload.word.eq(word)]
        if self.fault == "dependent":
            m.d.comb += self.o.valid.eq(full & self.o.ready)
        with m.If(moves):
            m.d.sync += [full.eq(offered), word.eq(self.i.payload.word), slow.eq(0)]
        with m.Elif(~slow):
            m.d.sync += slow.eq(1)
            if self.fault == "valid":
                m.d.sync += full.eq(0)
        if self.fault == "payload":
            with m.If(~moves & slow):
                m.d.sync += word.eq(word + 1)
        return m
