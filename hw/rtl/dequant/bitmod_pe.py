"""Processing element of BitMoD: terms of weights, shifted activations, a group's sum, its scale bit by bit, rounding.

BitMoD is subject to a patent application by Cornell University, as its authors state: see `bitmod_pe_model`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from hw.rtl.dequant.bitmod_pe_model import UNIT, BitmodPe
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["BitmodPeUnit"]

_BASE_TERMS = {
    3: ((), (0,), (1,), (2,)),
    4: ((), (0,), (1,), (1, 0), (2,), (2, 1), (3,), (3, 2)),
}
"""Powers of two whose sum is the magnitude of a code without its sign bit."""

_SPECIAL_TERMS = {
    3: ((False, (1, 0)), (True, (1, 0)), (False, (2, 1)), (True, (2, 1))),
    4: ((False, (3, 1)), (True, (3, 1)), (False, (4,)), (True, (4,))),
}
"""Sign and powers of two of the special value that each selector names."""

_NAN = 0x7FC0_0000


class BitmodPeUnit(wiring.Component):
    """See `hw.rtl.dequant.bitmod_pe_model`."""

    def __init__(self, parameters: BitmodPe) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        held = Signal(self.i.payload.shape(), reset_less=True)
        occupied = Signal()
        term = Signal(range(max(2, p.terms)))
        final_term, adder_moves = Signal(), Signal()
        m.d.comb += [
            final_term.eq(term == p.terms - 1),
            self.i.ready.eq(~occupied | (final_term & adder_moves)),
        ]
        with m.If(occupied & adder_moves):
            m.d.sync += term.eq(term + 1)
        with m.If(self.i.ready):
            m.d.sync += [held.eq(self.i.payload), occupied.eq(self.i.valid), term.eq(0)]

        adding = Signal()
        ends, last, broken = (Signal(reset_less=True, name=f"adding_{name}") for name in ("ends", "last", "broken"))
        scale = Signal(p.scale_bits, reset_less=True)
        lanes = [_lane(m, p, held, lane, term) for lane in range(p.lanes)]
        products = [Signal(signed(p.product_width), name=f"product{n}", reset_less=True) for n in range(p.lanes)]
        with m.If(adder_moves):
            m.d.sync += [
                adding.eq(occupied),
                ends.eq(final_term & (held.end | held.last)),
                last.eq(held.last),
                scale.eq(held.scale),
                broken.eq(Cat(special for _, special in lanes).any()),
                *(product.eq(value) for product, (value, _) in zip(products, lanes, strict=True)),
            ]

        group, group_total = (Signal(signed(p.group_width), name=name) for name in ("group", "group_total"))
        was_broken = Signal()
        m.d.comb += group_total.eq(_tree([group, *products], p.group_width))
        takes, closes = Signal(), Signal()
        m.d.comb += [closes.eq(adding & ends), adder_moves.eq(~closes | takes)]
        with m.If(adding & adder_moves):
            m.d.sync += [
                group.eq(Mux(ends, 0, group_total)),
                was_broken.eq((was_broken | broken) & ~(ends & last)),
            ]

        scaling, step = Signal(), Signal(range(max(2, p.scale_bits)))
        multiplicand = Signal(signed(p.group_width + p.scale_bits - 1), reset_less=True)
        multiplier = Signal(p.scale_bits, reset_less=True)
        gives, nan = Signal(reset_less=True), Signal(reset_less=True)
        total, total_next = (Signal(signed(p.sum_width), name=name) for name in ("total", "total_next"))
        summed = SimpleNamespace(valid=Signal(name="summed_valid"), ready=Signal(name="summed_ready"))
        final_bit, scaled = Signal(), Signal()
        m.d.comb += [
            total_next.eq(total + Mux(multiplier[0], multiplicand, Const(0, multiplicand.shape()))),
            final_bit.eq(scaling & (step == p.scale_bits - 1)),
            summed.valid.eq(final_bit & gives),
            scaled.eq(final_bit & (~gives | summed.ready)),
            takes.eq(~scaling | scaled),
        ]
        with m.If(scaling & (~final_bit | scaled)):
            m.d.sync += [
                step.eq(step + 1),
                multiplicand.eq(multiplicand << 1),
                multiplier.eq(multiplier >> 1),
                total.eq(Mux(scaled & gives, 0, total_next)),
            ]
        with m.If(scaled):
            m.d.sync += scaling.eq(0)
        with m.If(closes & takes):
            m.d.sync += [
                scaling.eq(1),
                step.eq(0),
                multiplicand.eq(group_total),
                multiplier.eq(scale),
                gives.eq(last),
                nan.eq(was_broken | broken),
            ]
        _round(m, p, Pipeline(m, summed, self.o), total_next, nan)
        return m


def _lane(m: Module, p: BitmodPe, beat: Any, lane: int, term: Value) -> tuple[Value, Value]:
    """The product of a lane's present term and its activation, and whether the activation is infinite or NaN."""
    word, code = beat.activation[lane], beat.weight[lane]
    mantissa = word[: p.mantissa_bits]
    exponent = word[p.mantissa_bits : p.mantissa_bits + p.exponent_bits]
    normal = exponent.any()
    there, negative, power = _float_term(p, code, beat.selector, term) if p.is_float else _booth_digit(p, code, term)
    there, negative = _named(m, f"there{lane}", 1, there), _named(m, f"negative{lane}", 1, negative)
    # Subnormals stand where exponent field 1 does.
    width = ((1 << p.exponent_bits) - 4 + p.largest_weight.bit_length()).bit_length()
    amount = _named(m, f"amount{lane}", width, exponent + power - normal)
    shifted: Value = Mux(there, Cat(mantissa, normal), 0)
    for bit in range(len(amount)):
        shifted = _named(m, f"shift{lane}_{bit}", p.product_width - 1, shifted)
        shifted = Mux(amount[bit], Cat(Const(0, 1 << bit), shifted), shifted)
    shifted = _named(m, f"shift{lane}", p.product_width - 1, shifted)
    product = Signal(signed(p.product_width), name=f"shifted{lane}")
    m.d.comb += product.eq(Mux(negative ^ word[-1], -shifted, shifted))
    return product, exponent.all()


def _named(m: Module, name: str, width: int, value: Value) -> Signal:
    """``value`` as a signal: an expression that is used twice would be written out twice."""
    signal = Signal(width, name=name)
    m.d.comb += signal.eq(value)
    return signal


def _float_term(p: BitmodPe, code: Value, selector: Value, term: Value) -> tuple[Value, Value, Value]:
    """Whether term ``term`` of a float is there, its sign, its power of two."""
    bits = p.weight_bits
    width = p.largest_weight.bit_length().bit_length()
    base = Array(_term_words(_BASE_TERMS[bits], width))[code[:-1]]
    special = Array(_term_words([powers for _, powers in _SPECIAL_TERMS[bits]], width))[selector]
    special_sign = Array(Const(int(sign), 1) for sign, _ in _SPECIAL_TERMS[bits])[selector]
    is_special = code == 1 << (bits - 1)
    both = Mux(is_special, special, base)
    word = Mux(term[0], both[width + 1 :], both[: width + 1])
    return word[width], Mux(is_special, special_sign, code[-1]), word[:width]


def _term_words(table: Any, width: int) -> list[Const]:
    """Two terms each: power of two in the low bits, then whether it is there."""
    words = []
    for powers in table:
        fields = [(1 << width) | power for power in powers] + [0] * (2 - len(powers))
        words.append(Const(fields[0] | fields[1] << (width + 1), 2 * (width + 1)))
    return words


def _booth_digit(p: BitmodPe, code: Value, term: Value) -> tuple[Value, Value, Value]:
    """Radix-4 Booth digit ``term``, from the lowest: whether it is not zero, its sign, its power of two."""
    padded = Cat(Const(0, 1), code)
    three = Array(padded[2 * n : 2 * n + 3] for n in range(p.terms))[term]
    one = three[0] ^ three[1]
    two = (three[2] ^ three[1]) & ~one
    return one | two, three[2], Cat(two, term)


def _tree(terms: list[Value], width: int) -> Value:
    """Sum of signed ``terms``, which ``width`` bits hold."""
    while len(terms) > 1:
        pairs = [terms[n : n + 2] for n in range(0, len(terms), 2)]
        terms = [(pair[0] + pair[1])[:width].as_signed() if len(pair) == 2 else pair[0] for pair in pairs]
    return terms[0]


def _round(m: Module, p: BitmodPe, pipe: Pipeline, total: Value, nan: Value) -> None:
    """Three stages from the sum in fixed point to binary32: magnitude, leading one at the top, nearest even."""
    width = max(p.sum_width - 1, 26)
    magnitude = Signal(width)
    m.d.comb += magnitude.eq(Mux(total[-1], -total, total))
    first = pipe.register(magnitude=magnitude, sign=total[-1], nan=nan)
    shifted: Value = first["magnitude"]
    zeros: list[Value] = []
    for bit in reversed(range((width - 1).bit_length())):
        distance = 1 << bit
        empty = _named(m, f"empty{distance}", 1, ~shifted[-distance:].any())
        shifted = _named(m, f"left{distance}", width, Mux(empty, Cat(Const(0, distance), shifted), shifted))
        zeros.insert(0, empty)
    second = pipe.register(
        number=shifted, zeros=Cat(*zeros), sign=first["sign"], nan=first["nan"], zero=~first["magnitude"].any()
    )
    number = second["number"]
    kept, guard, rest = number[-24:], number[-25], number[:-25].any()
    up = guard & (rest | kept[0])
    exponent = _named(
        m, "exponent", 8, Const(127 + width - 1 + p.unit_exponent, 8) - _named(m, "zeros", 8, second["zeros"])
    )
    # A carry out of the mantissa raises the exponent by itself.
    rounded = (Cat(kept[:-1], exponent) + up)[:31]
    value = Mux(second["zero"], 0, Cat(rounded, second["sign"]))
    pipe.finish(sum=Mux(second["nan"], Const(_NAN, 32), value))
