"""Decoder of canonical Huffman codes: a buffer of bits, a chain of length finders, places, symbols."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring

from hw.rtl.dequant.huffman_decode_model import UNIT, HuffmanDecode
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["HuffmanDecodeUnit"]


class HuffmanDecodeUnit(wiring.Component):
    """See `hw.rtl.dequant.huffman_decode_model`."""

    def __init__(self, parameters: HuffmanDecode) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        loading, complete = Signal(init=1), Signal()
        table = self._table(m, loading)
        # The earliest bit is the highest; bits that have not come are zero.
        bits, waiting = Signal(p.buffer_bits), Signal(range(p.buffer_bits + 1))
        window: Value = bits
        places: list[Signal] = []
        ends: list[Signal] = []
        here: list[Signal] = []
        for n in range(p.symbols):
            place, length = self._find(m, table, window[-p.longest :], n)
            end = Signal(range(p.needed + 1), name=f"end{n}")
            present = Signal(name=f"present{n}")
            m.d.comb += [end.eq(length + (ends[-1] if ends else 0)), present.eq(end <= waiting)]
            window = _shifted_left(m, window[-p.needed :], length, f"window{n}")
            places, ends, here = [*places, place], [*ends, end], [*here, present]
        used, count = Signal(range(p.needed + 1)), Signal(p.symbols.bit_length())
        for n in range(p.symbols):
            with m.If(here[n]):
                m.d.comb += [used.eq(ends[n]), count.eq(n + 1)]
        closes = Signal()
        m.d.comb += closes.eq(complete & (used == waiting))
        decoded = SimpleNamespace(valid=here[-1] | (complete & here[0]), ready=Signal(name="decodes"))
        pipe = Pipeline(m, decoded, self.o)
        placed = pipe.register(count=count, last=closes, **{f"place{n}": place for n, place in enumerate(places)})
        m.d.comb += self.t.ready.eq(loading & ~pipe.valid)
        self._refill(m, bits, waiting, complete, loading, Mux(decoded.valid & decoded.ready, used, 0))
        with m.If(decoded.valid & decoded.ready & closes):
            m.d.sync += [loading.eq(1), complete.eq(0), bits.eq(0), waiting.eq(0)]
        symbols = self.o.payload.symbols.shape()
        found = Signal(symbols)
        for n in range(p.symbols):
            port = table.symbols.read_port(domain="comb")
            m.d.comb += [
                port.addr.eq(placed[f"place{n}"]),
                found[n].eq(Mux(placed["count"] > n, port.data, 0)),
            ]
        pipe.finish(symbols=found, count=placed["count"], last=placed["last"])
        return m

    def _table(self, m: Module, loading: Signal) -> SimpleNamespace:
        """Limits and offsets by length, symbols by place, and what loads them."""
        p, row = self.parameters, self.t.payload
        number = Signal(range(max(p.longest, p.entries)))
        # Beyond all other lengths only the longest is left: it needs no limit.
        limits = [Signal(length + 1, name=f"limit{length}", reset_less=True) for length in range(1, p.longest)]
        offsets = [Signal(p.place_bits, name=f"offset{length}", reset_less=True) for length in range(1, p.longest + 1)]
        m.submodules.symbols = symbols = memory.Memory(shape=8, depth=p.entries, init=[])
        port = symbols.write_port()
        takes = Signal(name="takes_row")
        m.d.comb += [
            takes.eq(self.t.valid & self.t.ready),
            port.addr.eq(number),
            port.data.eq(row.symbol),
            port.en.eq(takes & (number < p.entries)),
        ]
        with m.If(takes):
            m.d.sync += number.eq(Mux(row.last, 0, number + 1))
            with m.Switch(number):
                for at, offset in enumerate(offsets):
                    with m.Case(at):
                        m.d.sync += offset.eq(row.offset)
                        if at < len(limits):
                            m.d.sync += limits[at].eq(row.limit)
            with m.If(row.last):
                m.d.sync += loading.eq(0)
        return SimpleNamespace(limits=limits, offsets=offsets, symbols=symbols)

    def _find(self, m: Module, table: SimpleNamespace, window: Value, n: int) -> tuple[Signal, Signal]:
        """Place in the table and length of the code that ``window`` begins with."""
        p = self.parameters
        beyond = Signal(p.longest - 1, name=f"beyond{n}")  # bit L - 1: the code is longer than L
        m.d.comb += beyond.eq(Cat(window[-length - 1 :] >= limit for length, limit in enumerate(table.limits)))
        length = Signal(range(p.longest + 1), name=f"length{n}")
        offset, low = Signal(p.place_bits, name=f"from{n}"), Signal(p.place_bits, name=f"low{n}")
        chosen = Signal(p.longest, name=f"chosen{n}")
        codes = [window[p.longest - 1 - at :][: p.place_bits] for at in range(p.longest)]
        m.d.comb += [
            chosen.eq(~Cat(beyond, Const(0, 1)) & Cat(Const(1, 1), beyond)),
            length.eq(_selected(chosen, [Const(at + 1, len(length)) for at in range(p.longest)])),
            offset.eq(_selected(chosen, table.offsets)),
            low.eq(_selected(chosen, codes)),
        ]
        place = Signal(p.place_bits, name=f"place{n}")
        m.d.comb += place.eq(offset + low)
        return place, length

    def _refill(self, m: Module, bits: Signal, waiting: Signal, complete: Signal, loading: Signal, used: Value) -> None:
        p, beat = self.parameters, self.i.payload
        m.d.comb += self.i.ready.eq(~loading & ~complete & (waiting < p.enough))
        takes = Signal(name="takes_word")
        new, coming = Signal(p.buffer_bits, name="new_bits"), Signal(range(p.word + 1))
        m.d.comb += takes.eq(self.i.valid & self.i.ready)
        aligned = Cat(Const(0, p.buffer_bits - p.word), beat.word)
        with m.If(takes):
            m.d.comb += [
                new.eq(aligned >> waiting[: (p.enough - 1).bit_length()]),
                coming.eq(Mux(beat.last, p.word - beat.unused, p.word)),
            ]
            m.d.sync += complete.eq(beat.last)
        leaving = Signal(range(p.needed + 1), name="leaving")
        m.d.comb += leaving.eq(used)
        m.d.sync += [
            bits.eq(_shifted_left(m, bits | new, leaving, "bits_left")),
            waiting.eq(waiting + coming - leaving),
        ]


def _selected(chosen: Value, values: Sequence[Value]) -> Value:
    """The value whose bit of ``chosen``, of which one is set, is set."""
    terms: list[Value] = [value & chosen[at].replicate(len(value)) for at, value in enumerate(values)]
    while len(terms) > 1:
        terms = [terms[n] | terms[n + 1] if n + 1 < len(terms) else terms[n] for n in range(0, len(terms), 2)]
    return terms[0]


def _shifted_left(m: Module, value: Value, amount: Value, name: str) -> Value:
    """``value`` moved up by ``amount`` within its width."""
    width = len(value)
    for bit in range(len(amount)):
        step = 1 << bit
        moved = Cat(Const(0, step), value[: width - step]) if step < width else Const(0, width)
        wire = Signal(width, name=f"{name}_{step}")
        m.d.comb += wire.eq(Mux(amount[bit], moved, value))
        value = wire
    return value
