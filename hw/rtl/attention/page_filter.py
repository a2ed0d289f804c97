"""The page filter: a network for channels, one product a token, a network for tokens, masks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from amaranth import Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring

from hw.rtl.attention.page_filter_model import UNIT, PageFilter
from hw.rtl.attention.topk_blocks import Cells
from hw.rtl.stream.signature import unit_signature

__all__ = ["PageFilterUnit"]


class PageFilterUnit(wiring.Component):
    """See `hw.rtl.attention.page_filter_model`."""

    def __init__(self, parameters: PageFilter) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        weights, loaded, done = self._choose_channels(m)
        self._choose_tokens(m, weights, loaded, done)
        return m

    def _choose_channels(self, m: Module) -> tuple[list[Signal], Signal, Signal]:
        """Chosen query elements, whether they stand, and a signal that says they are no longer needed."""
        p = self.parameters
        value = self.q.payload.value.as_signed()
        channel, closed, moves = Signal(range(p.head)), Signal(), Signal()
        magnitude = Signal(p.width)
        m.d.comb += magnitude.eq(Mux(value[-1], -value, value))
        shapes = {"score": unsigned(p.width), "id": channel.shape(), "value": signed(p.width)}
        cells = Cells(m, "channel", p.channels, shapes, {"score": magnitude, "id": channel, "value": value})
        weights = [Signal(signed(p.width), name=f"weight{n}", reset_less=True) for n in range(p.channels)]
        chosen = [Signal(channel.shape(), name=f"chosen{n}", reset_less=True) for n in range(p.channels)]
        left, loaded, done = Signal(range(p.channels + 1)), Signal(), Signal()
        m.d.comb += [
            moves.eq(closed & ~loaded & ~left.any()),
            self.q.ready.eq(~closed | moves),
            cells.enters.eq(self.q.valid & self.q.ready),
            cells.empties.eq(moves),
            self.channels.valid.eq(left.any()),
            self.channels.payload.id.eq(chosen[0]),
            self.channels.payload.last.eq(left == 1),
        ]
        ends = channel == p.head - 1
        with m.If(cells.enters):
            m.d.sync += [channel.eq(Mux(ends, 0, channel + 1)), closed.eq(ends)]
        with m.Elif(moves):
            m.d.sync += closed.eq(0)
        with m.If(moves):
            m.d.sync += [loaded.eq(1), left.eq(p.channels)]
            for n, entry in enumerate(cells.entries):
                m.d.sync += [weights[n].eq(entry["value"]), chosen[n].eq(entry["id"])]
        with m.Else():
            with m.If(done):
                m.d.sync += loaded.eq(0)
            with m.If(self.channels.valid & self.channels.ready):
                m.d.sync += left.eq(left - 1)
                m.d.sync += [a.eq(b) for a, b in pairwise(chosen)]
        return weights, loaded, done

    def _choose_tokens(self, m: Module, weights: list[Signal], loaded: Signal, done: Signal) -> None:
        p = self.parameters
        token, scored_token = Signal(range(p.tokens)), Signal(range(p.tokens))
        score, scored, scored_last = Signal(signed(p.score_width)), Signal(), Signal()
        closed, moves, enters = Signal(), Signal(), Signal()
        shapes = {"score": Shape(p.score_width, signed=True), "id": token.shape()}
        cells = Cells(m, "token", p.kept, shapes, {"score": score, "id": scored_token})
        m.d.comb += [
            moves.eq(closed & (~self.pages.valid | self.pages.ready)),
            cells.empties.eq(moves),
            cells.enters.eq(scored & (~closed | moves)),
            self.k.ready.eq(loaded & (~scored | cells.enters)),
            enters.eq(self.k.valid & self.k.ready),
            done.eq(enters & self.k.payload.last),
        ]
        products = [w * self.k.payload.values[n].as_signed() for n, w in enumerate(weights)]
        with m.If(enters):
            m.d.sync += [
                score.eq(_tree(products)),
                scored_token.eq(token),
                scored_last.eq(self.k.payload.last),
                token.eq(Mux(self.k.payload.last, 0, token + 1)),
                scored.eq(1),
            ]
        with m.Elif(cells.enters):
            m.d.sync += scored.eq(0)
        with m.If(cells.enters):
            m.d.sync += closed.eq(scored_last)
        with m.Elif(moves):
            m.d.sync += closed.eq(0)
        self._give_masks(m, cells, moves)

    def _give_masks(self, m: Module, cells: Cells, moves: Signal) -> None:
        p = self.parameters
        tokens = [Signal(name=f"token{n}_kept") for n in range(p.tokens)]
        for n, kept in enumerate(tokens):
            here = [entry["id"] == n if n else ~entry["id"].any() for entry in cells.entries]
            m.d.comb += kept.eq(_any([full & bit for full, bit in zip(cells.full, here, strict=True)]))
        valid = Signal()
        held = [Signal(name=f"held{n}", reset_less=True) for n in range(p.tokens)]
        m.d.comb += self.pages.valid.eq(valid)
        m.d.comb += [self.pages.payload.tokens[n].eq(bit) for n, bit in enumerate(held)]
        for n in range(p.pages):
            m.d.comb += self.pages.payload.pages[n].eq(_any(held[n * p.page : (n + 1) * p.page]))
        with m.If(moves):
            m.d.sync += [valid.eq(1), *(bit.eq(kept) for bit, kept in zip(held, tokens, strict=True))]
        with m.Elif(self.pages.ready):
            m.d.sync += valid.eq(0)


def _tree(terms: list[Value]) -> Value:
    while len(terms) > 1:
        terms = [sum(terms[n : n + 2][1:], terms[n]) for n in range(0, len(terms), 2)]
    return terms[0]


def _any(bits: list[Any]) -> Value:
    found: Value = bits[0]
    for bit in bits[1:]:
        found = found | bit
    return found
