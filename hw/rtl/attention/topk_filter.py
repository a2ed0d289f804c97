"""The k best of a stream: an insertion network, and a bank from which its entries leave."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Shape, Signal
from amaranth.lib import wiring

from hw.rtl.attention.topk_blocks import Cells
from hw.rtl.attention.topk_filter_model import UNIT, TopkFilter
from hw.rtl.stream.signature import unit_signature

__all__ = ["TopkFilterUnit"]


class TopkFilterUnit(wiring.Component):
    """See `hw.rtl.attention.topk_filter_model`."""

    def __init__(self, parameters: TopkFilter) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        shapes = {"score": Shape(p.score_width, signed=True), "id": Shape(p.id_width)}
        closed, free, moves = Signal(), Signal(), Signal()
        cells = Cells(m, "cell", p.kept, shapes, {"score": self.i.payload.score.as_signed(), "id": self.i.payload.id})
        bank = [{f: Signal(s, name=f"bank{n}_{f}", reset_less=True) for f, s in shapes.items()} for n in range(p.kept)]
        waiting = [Signal(name=f"bank{n}_waits") for n in range(p.kept)]
        alone = waiting[0] if p.kept == 1 else waiting[0] & ~waiting[1]
        m.d.comb += [
            free.eq(~waiting[0] | (alone & self.o.ready)),
            moves.eq(closed & free),
            self.i.ready.eq(~closed | free),
            cells.enters.eq(self.i.valid & self.i.ready),
            cells.empties.eq(moves),
            self.o.valid.eq(waiting[0]),
            self.o.payload.score.eq(bank[0]["score"]),
            self.o.payload.id.eq(bank[0]["id"]),
            self.o.payload.last.eq(alone),
        ]
        with m.If(cells.enters):
            m.d.sync += closed.eq(self.i.payload.last)
        with m.Elif(moves):
            m.d.sync += closed.eq(0)
        with m.If(moves):
            for n, (entry, full) in enumerate(zip(cells.entries, cells.full, strict=True)):
                m.d.sync += [waiting[n].eq(full), *(bank[n][field].eq(entry[field]) for field in shapes)]
        with m.Elif(self.o.ready):
            m.d.sync += waiting[-1].eq(0)
            for n in range(p.kept - 1):
                m.d.sync += [waiting[n].eq(waiting[n + 1]), *(bank[n][f].eq(bank[n + 1][f]) for f in shapes)]
        return m
