"""Ternary dot product in three stages: weights decoded, activations selected and added, accumulated."""

from __future__ import annotations

from typing import Any

from amaranth import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring

from hw.rtl.arith.float_parts import shared, wire
from hw.rtl.dequant.block_dot import added
from hw.rtl.dequant.ternary_dot_model import UNIT, TernaryDot
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["TernaryDotUnit", "base3_digits"]


def base3_digits(m: Module, byte: Value) -> tuple[list[Value], Value]:
    """The five base-3 digits of ``byte``, the lowest first, and whether it is above 3^5 - 1 (the digits mean nothing).

    Digits come off from the top: two comparisons and a subtraction each, on fewer bits each time.
    """
    bad = shared(m, byte >= 3**5, "bad_byte")
    rest, digits = byte, []
    for power in (81, 27, 9, 3):
        two, one = shared(m, rest >= 2 * power, "is_two"), shared(m, rest >= power, "is_not_zero")
        less = Mux(two, rest - 2 * power, Mux(one, rest - power, rest))
        digits.append(Cat(one & ~two, two))
        rest = wire(m, less, "rest", unsigned((power - 1).bit_length()))
    return [rest, *reversed(digits)], bad


class TernaryDotUnit(wiring.Component):
    """See `hw.rtl.dequant.ternary_dot_model`."""

    def __init__(self, parameters: TernaryDot) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        pipe = Pipeline(m, self.i, self.o)
        beat = self.i.payload
        digits: list[Value] = []
        bad: Value = C(0, 1)
        for n in range(p.codes):
            code = beat.weights[n]
            if p.packing == "base3":
                found, wrong = base3_digits(m, code)
            else:
                found, wrong = [code], shared(m, code.all(), "bad_code")
            # Stored 1 is the weight 0; so are all of what encodes none.
            digits += [Mux(wrong, 1, digit) for digit in found]
            bad = bad | wrong
        chosen = {f"digit{n}": wire(m, digit, "digit", unsigned(2)) for n, digit in enumerate(digits)}
        activations = {f"a{n}": beat.a[n] for n in range(p.lanes)}
        decoded = pipe.register(last=beat.last, bad=bad, **chosen, **activations)
        terms = []
        for n in range(p.lanes):
            digit, a = decoded[f"digit{n}"], decoded[f"a{n}"]
            term = Mux(digit[1], a, Mux(digit[0], 0, -a))
            terms.append(wire(m, term, "term", signed(p.width + 1)))
        total = added(m, terms, 1 << (p.width - 1))
        summed = pipe.register(last=decoded["last"], bad=decoded["bad"], total=total)
        held, seen = Signal(signed(p.sum_width), name="held"), Signal(name="seen_bad")
        now = wire(m, held + summed["total"], "total", signed(p.sum_width))
        now_bad = shared(m, seen | summed["bad"], "now_bad")
        with m.If(pipe.moves & pipe.valid):
            m.d.sync += [held.eq(Mux(summed["last"], 0, now)), seen.eq(now_bad & ~summed["last"])]
        pipe.keep(summed["last"])
        pipe.finish(sum=now, bad=now_bad)
        return m
