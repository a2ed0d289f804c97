"""Dot product of bipolar integers: a held beat, comparators of planes, popcounts, weights, accumulator."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth import Array, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from hw.rtl.dequant.bitplane_dot_model import UNIT, BitplaneDot
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["BitplaneDotUnit"]


def _popcount(word: Value) -> Value:
    terms: list[Value] = list(word)
    while len(terms) > 1:
        terms = [terms[n] + terms[n + 1] if n + 1 < len(terms) else terms[n] for n in range(0, len(terms), 2)]
    return terms[0]


class BitplaneDotUnit(wiring.Component):
    """See `hw.rtl.dequant.bitplane_dot_model`."""

    def __init__(self, parameters: BitplaneDot) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        held, step, ends = self._hold(m)
        pipe = Pipeline(m, held, self.o)
        beat, count_bits = held.payload, p.lanes.bit_length()
        counts: dict[str, Value] = {}
        for place in range(p.pairs):
            planes = [p.pair(number, place) for number in range(p.steps)]
            agree = Signal(p.lanes, name=f"agree{place}")
            a, b = (Array([beat[side][pair[n]] for pair in planes])[step] for n, side in enumerate("ab"))
            counts[f"count{place}"] = Signal(count_bits, name=f"agreements{place}")
            m.d.comb += [agree.eq(~(a ^ b) & beat.used), counts[f"count{place}"].eq(_popcount(agree))]
        length = Signal(count_bits)
        m.d.comb += length.eq(_popcount(beat.used))
        counted = pipe.register(step=step, ends=ends, closes=ends & beat.last, length=length, **counts)
        term_width = p.a_bits + p.b_bits + (p.lanes - 1).bit_length() + 1
        terms: Value | None = None
        for place in range(p.pairs):
            sum_of_signs = Signal(signed(count_bits + 1), name=f"signs{place}")
            weighted = Signal(signed(term_width), name=f"weighted{place}")
            m.d.comb += sum_of_signs.eq((counted[f"count{place}"] << 1) - counted["length"])
            weights = [sum(p.pair(number, place)) for number in range(p.steps)]
            m.d.comb += weighted.eq(Array([sum_of_signs << weight for weight in weights])[counted["step"]])
            terms = weighted if terms is None else terms + weighted
        term = Signal(signed(term_width))
        m.d.comb += term.eq(terms)
        added = pipe.register(closes=counted["closes"], term=term)
        so_far, total = Signal(signed(p.sum_width)), Signal(signed(p.sum_width))
        m.d.comb += total.eq(so_far + added["term"])
        with m.If(pipe.moves & pipe.valid):
            m.d.sync += so_far.eq(Mux(added["closes"], 0, total))
        pipe.keep(added["closes"])
        pipe.finish(sum=total)
        return m

    def _hold(self, m: Module) -> tuple[SimpleNamespace, Signal, Signal]:
        """The beat worked on as a source that gives one beat a step, the step, and whether it is the beat's last."""
        p = self.parameters
        held = SimpleNamespace(
            payload=Signal(self.i.payload.shape(), reset_less=True),
            valid=Signal(name="busy"),
            ready=Signal(name="steps_on"),
        )
        step, ends = Signal(range(max(2, p.steps))), Signal()  # no register without bits
        m.d.comb += [ends.eq(step == p.steps - 1), self.i.ready.eq(~held.valid | (held.ready & ends))]
        with m.If(held.ready & held.valid):
            m.d.sync += step.eq(step + 1)
        with m.If(self.i.ready):
            m.d.sync += [held.valid.eq(self.i.valid), held.payload.eq(self.i.payload), step.eq(0)]
        return held, step, ends
