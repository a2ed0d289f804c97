"""Integer attention: queries in two banks, scores and weights, values and accumulators, reciprocal and output."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from hw.rtl.arith.softmax_blocks import divider_stages
from hw.rtl.arith.stage_blocks import named, sized
from hw.rtl.arith.word_queue import WordQueue
from hw.rtl.attention.integer_attention_model import UNIT, IntegerAttention
from hw.rtl.stream.signature import unit_signature
from workloads.formats.arith.integer_attention import weight_table

__all__ = ["IntegerAttentionUnit", "counted", "requantise"]


class IntegerAttentionUnit(wiring.Component):
    """See `hw.rtl.attention.integer_attention_model`."""

    def __init__(self, parameters: IntegerAttention) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        contract, numerics = p.contract, p.numerics
        m.submodules.weights = weights = WordQueue(contract.positions, p.weight + p.octave_bits + 2)
        m.submodules.sums = sums = WordQueue(contract.waiting, p.lanes * numerics.accumulator_bits)
        rows = contract.positions + contract.waiting  # no more rows than positions and beats under way
        m.submodules.inverses = inverses = WordQueue(rows, numerics.digits + p.output_multiplier.bit_length())
        query, query_there, row_ends = self._queries(m)
        score, score_there, last = self._scores(m, query, query_there, row_ends, weights)
        self._weights(m, score, score_there, last, weights, inverses)
        self._values(m, weights, sums, contract.waiting)
        self._outputs(m, sums, inverses)
        return m

    def _queries(self, m: Module) -> tuple[Value, Value, Signal]:
        """Two banks: the words of the query in use, whether there is one, and a signal that frees it."""
        p = self.parameters
        banks, row_ends = Signal(range(3)), Signal()
        m.submodules.queries = store = Memory(shape=p.lanes * p.width, depth=2 * p.beats, init=[])
        write, read = store.write_port(), store.read_port(domain="comb")
        accepted = self.q.valid & self.q.ready
        put, full = counted(m, accepted, 2 * p.beats, "query_put", p.beats)
        taken, _ = counted(m, self.k.valid & self.k.ready, p.beats, "query_taken")
        bank = Signal()
        with m.If(row_ends):
            m.d.sync += bank.eq(~bank)
        m.d.comb += [
            self.q.ready.eq(banks != 2),
            write.addr.eq(put),
            write.data.eq(self.q.payload.as_value()),
            write.en.eq(accepted),
            read.addr.eq(Mux(bank, taken + p.beats, taken)),
        ]
        m.d.sync += banks.eq(banks + full - row_ends)
        return read.data, banks != 0, row_ends

    def _scores(
        self, m: Module, query: Value, query_there: Value, row_ends: Signal, weights: WordQueue
    ) -> tuple[Value, Value, Value]:
        """Requantised dot products, four registers behind the keys; nothing here ever has to wait."""
        p = self.parameters
        most = p.contract.positions
        key, beat = self.k.payload, Signal(range(max(2, p.beats)))
        open_positions = Signal(range(most + 1))
        accepted = self.k.valid & self.k.ready
        ends = named(m, "key_ends", accepted & (beat == p.beats - 1))
        m.d.comb += [
            self.k.ready.eq(query_there & (beat.any() | (open_positions != most))),
            row_ends.eq(ends & key.last),
        ]
        m.d.sync += open_positions.eq(open_positions + (accepted & ~beat.any()) - weights.take)
        with m.If(accepted):
            m.d.sync += beat.eq(Mux(beat == p.beats - 1, 0, beat + 1))

        products = [Signal(signed(2 * p.width), name=f"product{n}", reset_less=True) for n in range(p.lanes)]
        there, final, last, begins = Signal(), Signal(4), Signal(4, reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            *(product.eq(key.k[n] * query.word_select(n, p.width).as_signed()) for n, product in enumerate(products)),
            there.eq(accepted),
            begins.eq(~beat.any()),
            final.eq(Cat(ends, final[:3])),
            last.eq(Cat(key.last, last[:3])),
        ]
        tree: list[Value] = list(products)
        while len(tree) > 1:
            tree = [sum(tree[n + 1 : n + 2], tree[n]) for n in range(0, len(tree), 2)]
        held, total = Signal(signed(p.product_bits)), Signal(signed(p.product_bits))
        m.d.comb += total.eq(Mux(begins, 0, held) + tree[0])
        with m.If(there):
            m.d.sync += held.eq(total)
        scaled = Signal(signed(p.product_bits + p.multiplier.bit_length() + 1), reset_less=True)
        score = Signal(signed(p.width), reset_less=True)
        m.d.sync += [
            scaled.eq(held * Const(p.multiplier)),
            score.eq(requantise(m, scaled, p.shift, p.width)),
        ]
        return score, final[3], last[3]

    def _weights(
        self, m: Module, score: Value, there: Value, last: Value, weights: WordQueue, inverses: WordQueue
    ) -> None:
        """The position's weight, the rise of the reference, the row's sum and its reciprocal."""
        p, numerics = self.parameters, self.parameters.numerics
        octave = score[p.fraction :].as_signed()
        place = score[: p.fraction]
        reference, fresh = Signal(octave.shape(), reset_less=True), Signal(init=1)
        higher = named(m, "higher", ~fresh & (octave > reference))
        down = named(m, "down", Mux(fresh | higher, 0, reference - octave)[: p.octave_bits])
        rise = named(m, "rise", Mux(higher, octave - reference, 0)[: p.octave_bits])
        table = Array(Const(entry, p.weight) for entry in weight_table(numerics))
        entry = named(m, "entry", table[place] if p.fraction else table[0])
        weight, rose = Signal(p.weight, reset_less=True), Signal(p.octave_bits, reset_less=True)
        first, closes, valid = Signal(reset_less=True), Signal(reset_less=True), Signal()
        m.d.sync += [
            weight.eq(entry >> down),
            rose.eq(rise),
            first.eq(fresh),
            closes.eq(last),
            valid.eq(there),
        ]
        with m.If(there):
            m.d.sync += [fresh.eq(last), reference.eq(Mux(fresh | higher, octave, reference))]
        m.d.comb += [weights.put.eq(valid), weights.put_word.eq(Cat(weight, rose, first, closes))]

        held, total = Signal(numerics.sum_bits, reset_less=True), Signal(numerics.sum_bits)
        m.d.comb += total.eq(Mux(first, 0, held >> rose) + weight)
        with m.If(valid):
            m.d.sync += held.eq(total)
        start, digits = 1 << (p.weight - 1), numerics.digits
        inverse, _, ready = divider_stages(m, total, Const(0, 1), valid & closes, start, digits)
        scaled, done = Signal(len(inverses.word), reset_less=True), Signal()
        m.d.sync += [scaled.eq(inverse * Const(p.output_multiplier)), done.eq(ready)]
        m.d.comb += [inverses.put.eq(done), inverses.put_word.eq(scaled)]

    def _values(self, m: Module, weights: WordQueue, sums: WordQueue, waiting: int) -> None:
        """Values times weight onto the accumulators; those of a row's last position go on."""
        p, bits = self.parameters, self.parameters.numerics.accumulator_bits
        word = weights.word
        weight, rise = word[: p.weight], word[p.weight : p.weight + p.octave_bits]
        first, closes = word[-2], word[-1]
        kept, accepted = Signal(range(waiting + 1)), Signal()
        beat, ends = counted(m, accepted, p.beats, "value_beat")
        m.d.comb += [
            accepted.eq(self.v.valid & self.v.ready),
            self.v.ready.eq((weights.level != 0) & (~closes | (kept != waiting))),
            weights.take.eq(ends),
        ]
        m.d.sync += kept.eq(kept + (accepted & closes) - sums.take)

        products = [Signal(signed(p.width + p.weight), name=f"weighed{n}", reset_less=True) for n in range(p.lanes)]
        there, leaves, begins = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        rose, place = Signal(p.octave_bits, reset_less=True), Signal.like(beat, reset_less=True)
        m.d.sync += [
            *(product.eq(self.v.payload.v[n] * weight) for n, product in enumerate(products)),
            there.eq(accepted),
            leaves.eq(closes),
            begins.eq(first),
            rose.eq(rise),
            place.eq(beat),
        ]
        following = Signal(p.lanes * bits)
        accumulators = _kept_words(m, place, there, following, p.beats)
        for n, product in enumerate(products):
            before = named(m, f"before{n}", accumulators.word_select(n, bits).as_signed() >> rose)
            m.d.comb += following.word_select(n, bits).eq(Mux(begins, 0, before) + product)
        m.d.comb += [sums.put.eq(there & leaves), sums.put_word.eq(following)]

    def _outputs(self, m: Module, sums: WordQueue, inverses: WordQueue) -> None:
        p, numerics = self.parameters, self.parameters.numerics
        bits = numerics.accumulator_bits
        moves, taken, product_there, valid = Signal(), Signal(), Signal(), Signal()
        _, ends = counted(m, taken, p.beats, "output_beat")
        m.d.comb += [
            moves.eq(self.o.ready | ~valid),
            taken.eq(moves & (sums.level != 0) & (inverses.level != 0)),
            sums.take.eq(taken),
            inverses.take.eq(ends),
            self.o.valid.eq(valid),
        ]
        with m.If(moves):
            m.d.sync += [product_there.eq(taken), valid.eq(product_there)]
        shift = p.weight - 1 + numerics.digits + p.output_shift
        for n in range(p.lanes):
            product = Signal(signed(bits + len(inverses.word) + 1), name=f"normal{n}", reset_less=True)
            output = Signal(signed(p.width), name=f"output{n}", reset_less=True)
            with m.If(moves):
                m.d.sync += [
                    product.eq(sums.word.word_select(n, bits).as_signed() * inverses.word),
                    output.eq(requantise(m, product, shift, p.width)),
                ]
            m.d.comb += self.o.payload.o[n].eq(output)


def _kept_words(m: Module, place: Value, changes: Value, following: Signal, depth: int) -> Value:
    """The word at ``place`` of ``depth``, which becomes ``following`` where ``changes``."""
    if depth == 1:
        held = Signal.like(following, reset_less=True)
        with m.If(changes):
            m.d.sync += held.eq(following)
        return held
    m.submodules.accumulators = store = Memory(shape=len(following), depth=depth, init=[])
    write, read = store.write_port(), store.read_port(domain="comb")
    m.d.comb += [read.addr.eq(place), write.addr.eq(place), write.en.eq(changes), write.data.eq(following)]
    data: Value = read.data
    return data


def counted(m: Module, steps: Value, period: int, name: str, every: int | None = None) -> tuple[Signal, Value]:
    """A counter from 0 to ``period`` - 1, and whether this step completes ``every`` of them (None: all)."""
    count = Signal(range(max(2, period)), name=name)
    with m.If(steps):
        m.d.sync += count.eq(Mux(count == period - 1, 0, count + 1))
    ends = range((every or period) - 1, period, every or period)
    return count, named(m, f"{name}_ends", steps & Cat(count == end for end in ends).any())


def requantise(m: Module, scaled: Value, shift: int, width: int) -> Value:
    """``scaled`` / 2^``shift`` rounded half up and clipped to signed ``width`` bits."""
    half = (1 << shift) >> 1
    bits = max(len(scaled), shift + 1) + 1
    rounded = named(m, "rounded", (sized(scaled, bits)[:] + Const(half, bits))[shift:bits].as_signed())
    if len(rounded) <= width:
        return rounded
    beyond = named(m, "beyond", rounded[width - 1 :].any() & ~rounded[width - 1 :].all())
    limit = Cat((~rounded[-1]).replicate(width - 1), rounded[-1])
    return Mux(beyond, limit, rounded[:width]).as_signed()
