"""Integer softmax: maximum and sum on the way into a ring, a divider beside it, shifts on the way out."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from hw.rtl.arith.integer_softmax_model import UNIT, IntegerSoftmax
from hw.rtl.arith.softmax_blocks import divider_stages, octaves, running_sum, weight
from hw.rtl.arith.stage_blocks import named
from hw.rtl.arith.word_queue import WordQueue
from hw.rtl.stream.signature import unit_signature

__all__ = ["IntegerSoftmaxUnit"]


class IntegerSoftmaxUnit(wiring.Component):
    """See `hw.rtl.arith.integer_softmax_model`."""

    def __init__(self, parameters: IntegerSoftmax) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        beat = self.i.payload
        accepted, taken = Signal(), Signal()
        m.submodules.ring = ring = WordQueue(p.ring, self.i.payload.as_value().shape().width)
        m.submodules.rows = rows = WordQueue(p.ring, 2 * p.width)
        m.d.comb += [
            self.i.ready.eq(ring.level != p.ring),
            accepted.eq(self.i.valid & self.i.ready),
            ring.put.eq(accepted),
            ring.put_word.eq(beat.as_value()),
            ring.take.eq(taken),
        ]
        inverse, maximum, ends = self._way_in(m, accepted)
        m.d.comb += [rows.put.eq(ends), rows.put_word.eq(Cat(inverse, maximum))]
        self._way_out(m, ring, rows, taken)
        return m

    def _way_in(self, m: Module, accepted: Value) -> tuple[Value, Value, Value]:
        """Reciprocal and maximum of a row, and when they are there; nothing here ever has to wait."""
        p = self.parameters
        beat = self.i.payload
        lowest = Const(-(1 << (p.width - 1)), signed(p.width))
        present = [Mux(beat.counts[n], beat.x[n], lowest) for n in range(p.lanes)]
        while len(present) > 1:
            level = [named(m, "higher", x) for x in present]
            present = [
                Mux(pair[0] > pair[-1], pair[0], pair[-1])
                for pair in (level[n : n + 2] for n in range(0, len(level), 2))
            ]
        highest = Signal(signed(p.width), reset_less=True)
        scores = [Signal(signed(p.width), name=f"score{n}", reset_less=True) for n in range(p.lanes)]
        counts = Signal(p.lanes, reset_less=True)
        valid, last = Signal(3), Signal(3)
        m.d.sync += [
            highest.eq(present[0]),
            *(score.eq(beat.x[n]) for n, score in enumerate(scores)),
            counts.eq(Cat(beat.counts)),
            valid.eq(Cat(accepted, valid[:2])),
            last.eq(Cat(beat.last, last[:2])),
        ]

        held = Signal(signed(p.width), init=lowest.value)
        maximum = named(m, "maximum", Mux(highest > held, highest, held))
        with m.If(valid[0]):
            m.d.sync += held.eq(Mux(last[0], lowest, maximum))
        rise = Signal(p.width - p.fraction + 1, reset_less=True)
        against = Signal(signed(p.width), reset_less=True)
        weights = [Signal(p.width + 1, name=f"weight{n}", reset_less=True) for n in range(p.lanes)]
        m.d.sync += [rise.eq(octaves(m, maximum, held, p.fraction)), against.eq(maximum)]
        for n, (kept, score) in enumerate(zip(weights, scores, strict=True)):
            share = weight(m, octaves(m, maximum, score, p.fraction), p.width)
            m.d.sync += kept.eq(Mux(counts[n], share, 0))

        terms = Signal(p.width + 1 + (p.lanes - 1).bit_length(), reset_less=True)
        rise_then, against_then = Signal.like(rise, reset_less=True), Signal.like(against, reset_less=True)
        added: list[Value] = list(weights)
        while len(added) > 1:
            added = [sum(added[n + 1 : n + 2], added[n]) for n in range(0, len(added), 2)]
        m.d.sync += [terms.eq(added[0]), rise_then.eq(rise), against_then.eq(against)]

        total = running_sum(m, terms, rise_then, valid[2], last[2], p.sum_width)
        return divider_stages(m, total, against_then, valid[2] & last[2], (1 << p.width) - 1, p.width)

    def _way_out(self, m: Module, ring: WordQueue, rows: WordQueue, taken: Value) -> None:
        p = self.parameters
        oldest = Signal.like(self.i.payload)
        beat, row = Signal.like(self.i.payload, reset_less=True), Signal.like(rows.word, reset_less=True)
        inverse, maximum = row[: p.width], row[p.width :].as_signed()
        moves, read, valid, last = Signal(), Signal(), Signal(), Signal(reset_less=True)
        m.d.comb += [
            oldest.as_value().eq(ring.word),
            moves.eq(self.o.ready | ~valid),
            taken.eq(moves & (rows.level != 0)),
            rows.take.eq(taken & oldest.last),
            self.o.valid.eq(valid),
            self.o.payload.last.eq(last),
        ]
        with m.If(moves):
            m.d.sync += [
                read.eq(taken),
                beat.as_value().eq(ring.word),
                row.eq(rows.word),
                valid.eq(read),
                last.eq(beat.last),
            ]
        for n in range(p.lanes):
            down = octaves(m, maximum, beat.x[n], p.fraction)
            share = Signal(p.width, name=f"share{n}", reset_less=True)
            m.d.comb += self.o.payload.p[n].eq(share)
            with m.If(moves):
                m.d.sync += share.eq(Mux(beat.counts[n], inverse >> down, 0))
