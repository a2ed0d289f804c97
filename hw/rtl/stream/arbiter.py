"""Arbiter of packets in turn, with a register at its output."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring

from hw.rtl.stream.arbiter_model import UNIT, Arbiter
from hw.rtl.stream.signature import unit_signature

__all__ = ["ArbiterUnit"]


class ArbiterUnit(wiring.Component):
    """See `hw.rtl.stream.arbiter_model`."""

    def __init__(self, parameters: Arbiter) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        sources = [getattr(self, name) for name in p.names]
        moves, locked, found = Signal(), Signal(), Signal()
        turn, chosen = Signal(range(p.sources)), Signal(range(p.sources))
        m.d.comb += [moves.eq(self.o.ready | ~self.o.valid), chosen.eq(turn)]
        with m.If(locked), m.Switch(turn):
            for n, source in enumerate(sources):
                with m.Case(n):
                    m.d.comb += found.eq(source.valid)
        with m.Else(), m.Switch(turn):
            for first in range(p.sources):
                with m.Case(first):
                    for after in reversed(range(p.sources)):  # the last assignment holds: the nearest source wins
                        n = (first + after) % p.sources
                        with m.If(sources[n].valid):
                            m.d.comb += [found.eq(1), chosen.eq(n)]
        with m.If(moves):
            m.d.sync += self.o.valid.eq(found)
        with m.Switch(chosen):
            for n, source in enumerate(sources):
                with m.Case(n):
                    m.d.comb += source.ready.eq(moves & found)
                    with m.If(moves & found):
                        m.d.sync += [
                            self.o.payload.data.eq(source.payload.data),
                            self.o.payload.last.eq(source.payload.last),
                            self.o.payload.source.eq(n),
                            locked.eq(~source.payload.last),
                            turn.eq(Mux(source.payload.last, (n + 1) % p.sources, n)),
                        ]
        return m
