"""The elements of the FuseMax-style array: one multiply-add each, and what is around it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from amaranth import Array, C, Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed

from hw.rtl.arith.float_blocks import float_fma, float_maximum, float_negate
from hw.rtl.attention.fusemax_array_golden import STEPS_OF_POWER, power_coefficients, power_reach, scale_code
from workloads.formats.arith.floating import canonical_nan
from workloads.formats.golden.floats import FloatFormat, encode

__all__ = ["Action", "Element", "EndElement", "Instruction", "OwnAction"]


class _Numbered(IntEnum):
    @classmethod
    def signal(cls, name: str | None = None) -> Signal:
        """One that holds any of them."""
        return Signal(range(len(cls)), name=name or "action")


class Action(_Numbered):
    """What runs through the array. POWER is numbered 1 to 6, SCORE and PRODUCT by the element of the head."""

    NONE = 0
    SCORE = 1
    MAXIMUM = 2
    SUBTRACT = 3
    POWER = 4
    SUM = 5
    PRODUCT = 6


class OwnAction(_Numbered):
    """What the 1D elements do while nothing arrives."""

    NONE = 0
    SCALE = 1
    GUESS = 2
    REST = 3
    IMPROVE = 4
    GIVE = 5


class Instruction:
    """An action, its number, and whether it is of the tile's first block."""

    def __init__(self, name: str, head: int) -> None:
        self.action = Action.signal(f"{name}_action")
        self.index = Signal(range(max(head, STEPS_OF_POWER)), name=f"{name}_index", reset_less=True)
        self.first = Signal(name=f"{name}_first", reset_less=True)

    def take(self, other: Instruction) -> list[Any]:
        return [self.action.eq(other.action), self.index.eq(other.index), self.first.eq(other.first)]


@dataclass(frozen=True)
class _Numbers:
    """Constants as codes of ``fmt``."""

    fmt: FloatFormat

    def code(self, value: float) -> Const:
        return C(int(encode(value, self.fmt)), self.fmt.bits)


class _Power:
    """Registers of a power of two under way, and its operands and results around a multiply-add."""

    def __init__(self, m: Module, instruction: Instruction, fmt: FloatFormat) -> None:
        self.m, self.fmt, self.instruction = m, fmt, instruction
        self.reach = power_reach(fmt)
        self.value = Signal(fmt.bits, name="power", reset_less=True)
        self.fraction = Signal(fmt.bits, name="fraction", reset_less=True)
        self.whole = Signal(signed(self.reach + 1), name="whole", reset_less=True)
        self.far = Signal(name="far", reset_less=True)
        first, *others = (C(code, fmt.bits) for code in power_coefficients(fmt))
        begins = instruction.index == 1
        self.factor = Mux(begins, first, self.value)
        # Number 1 adds the coefficient of u^5: index 0 of the array is never asked for.
        self.addend = Array([others[0], *others])[instruction.index]

    def split(self, code: Value) -> None:
        """``code``, not above zero, into fraction and whole; as `fusemax_array_golden.split_power`."""
        m, fmt, below = self.m, self.fmt, self.fmt.mantissa_bits + 2
        assert fmt.bias is not None
        mantissa, field, sign = code[: fmt.mantissa_bits], code[fmt.mantissa_bits : -1], code[-1]
        special = field.all() & mantissa.any()
        lowest, highest = fmt.bias - below, fmt.bias + self.reach
        beyond = field >= highest
        far = sign & beyond & ~special
        shift = Signal(range(below + self.reach), name="split_shift")
        m.d.comb += shift.eq(Mux((field < lowest) | beyond, 0, field - lowest))
        window = Signal(fmt.mantissa_bits + below + self.reach, name="split_window")
        m.d.comb += window.eq(Cat(mantissa, field.any()) << shift)
        kept = window[below:]
        up = window[below - 1] & (window[: below - 1].any() | window[below])
        fixed = Signal(signed(len(kept) + 1), name="split_fixed")
        with m.If(sign & ~far & ~special):
            m.d.comb += fixed.eq(-(kept + up))
        fraction = Cat(fixed[: fmt.mantissa_bits], C(fmt.bias, fmt.exponent_bits), C(0, 1))
        m.d.sync += [
            self.fraction.eq(Mux(special, canonical_nan(fmt), fraction)),
            self.whole.eq(fixed[fmt.mantissa_bits :].as_signed()),
            self.far.eq(far),
        ]

    def hold(self, result: Value, live: Value) -> None:
        """``result`` of a multiply-add, after the last with the whole part in its exponent; 0 where not ``live``."""
        m, fmt = self.m, self.fmt
        field = result[fmt.mantissa_bits : -1]
        moved = Signal(signed(fmt.exponent_bits + 2), name="moved_exponent")
        m.d.comb += moved.eq(field + self.whole)
        scaled = Signal(fmt.bits, name="scaled")
        m.d.comb += scaled.eq(Cat(result[: fmt.mantissa_bits], moved[: fmt.exponent_bits], C(0, 1)))
        with m.If(field.all()):
            m.d.comb += scaled.eq(result)
        with m.Elif(self.far | moved[-1] | ~moved.any()):
            m.d.comb += scaled.eq(0)
        ends = self.instruction.index == STEPS_OF_POWER - 1
        m.d.sync += self.value.eq(Mux(ends, Mux(live, scaled, 0), result))


class Element(Elaboratable):
    """One query and one key of a block.

    ``q``, ``passing`` and the instruction come from the column before and go on to the next one cycle later.
    """

    def __init__(self, head: int, fmt: FloatFormat) -> None:
        self.fmt = fmt
        self.instruction = Instruction("now", head)
        self.q, self.q_on = Signal(fmt.bits), Signal(fmt.bits, reset_less=True)
        self.passing, self.passing_on = Signal(fmt.bits), Signal(fmt.bits, reset_less=True)
        self.operand, self.live = Signal(fmt.bits), Signal()

    def elaborate(self, platform: Any) -> Module:
        m, fmt, numbers, now = Module(), self.fmt, _Numbers(self.fmt), self.instruction
        power = _Power(m, now, fmt)
        score, live = Signal(fmt.bits, reset_less=True), Signal(reset_less=True)
        a, b, c = (Signal(fmt.bits, name=name) for name in "abc")
        result = float_fma(m, a, b, c, fmt)
        m.d.sync += self.q_on.eq(self.q)
        with m.Switch(now.action):
            with m.Case(Action.SCORE):
                m.d.comb += [a.eq(self.q), b.eq(self.operand), c.eq(Mux(~now.index.any(), 0, score))]
                m.d.sync += [score.eq(result), live.eq(self.live)]
            with m.Case(Action.MAXIMUM):
                m.d.sync += self.passing_on.eq(Mux(live, float_maximum(m, score, self.passing, fmt), self.passing))
            with m.Case(Action.SUBTRACT):
                m.d.comb += [a.eq(self.passing), b.eq(numbers.code(-1.0)), c.eq(score)]
                m.d.sync += self.passing_on.eq(self.passing)
                power.split(result)
            with m.Case(Action.POWER):
                m.d.comb += [a.eq(power.factor), b.eq(power.fraction), c.eq(power.addend)]
                power.hold(result, live)
            with m.Case(Action.SUM, Action.PRODUCT):
                one = numbers.code(1.0)
                m.d.comb += [a.eq(power.value), b.eq(Mux(now.action == Action.SUM, one, self.operand))]
                m.d.comb += c.eq(self.passing)
                m.d.sync += self.passing_on.eq(result)
        return m


class EndElement(Elaboratable):
    """The 1D element of a query: running maximum, sum and numerators, and what comes before and after the keys.

    ``maximum`` is RM; ``result`` the multiply-add's (the scaled query goes out by it); ``given`` holds AV.
    """

    def __init__(self, head: int, fmt: FloatFormat) -> None:
        self.head, self.fmt = head, fmt
        self.instruction = Instruction("now", head)
        self.own, self.own_index = OwnAction.signal("own"), Signal(range(head))
        self.passing, self.query = Signal(fmt.bits), Signal(fmt.bits)
        self.maximum, self.result = Signal(fmt.bits, reset_less=True), Signal(fmt.bits)
        self.given = Signal(fmt.bits, reset_less=True)

    def elaborate(self, platform: Any) -> Module:
        m, fmt, now = Module(), self.fmt, self.instruction
        power = _Power(m, now, fmt)
        before, total, guess = (Signal(fmt.bits, name=name, reset_less=True) for name in ("before", "total", "guess"))
        numerators = Array(Signal(fmt.bits, name=f"numerator{n}", reset_less=True) for n in range(self.head))
        a, b, c = (Signal(fmt.bits, name=name) for name in "abc")
        m.d.comb += self.result.eq(float_fma(m, a, b, c, fmt))
        number = Mux(self.own == OwnAction.GIVE, self.own_index, now.index)
        numerator = numerators[number]
        with m.Switch(now.action):
            with m.Case(Action.MAXIMUM):
                risen = float_maximum(m, self.maximum, self.passing, fmt)
                m.d.sync += self.maximum.eq(Mux(now.first, self.passing, risen))
                m.d.sync += before.eq(Mux(now.first, self.passing, self.maximum))
            with m.Case(Action.SUBTRACT):
                m.d.comb += [a.eq(self.maximum), b.eq(_Numbers(fmt).code(-1.0)), c.eq(before)]
                power.split(self.result)
            with m.Case(Action.POWER):
                m.d.comb += [a.eq(power.factor), b.eq(power.fraction), c.eq(power.addend)]
                power.hold(self.result, C(1, 1))
            with m.Case(Action.SUM):
                m.d.comb += [a.eq(Mux(now.first, 0, total)), b.eq(power.value), c.eq(self.passing)]
                m.d.sync += total.eq(self.result)
            with m.Case(Action.PRODUCT):
                m.d.comb += [a.eq(Mux(now.first, 0, numerator)), b.eq(power.value), c.eq(self.passing)]
                m.d.sync += numerator.eq(self.result)
        self._act_alone(m, power, a, b, c, total, guess, numerator)
        return m

    def _act_alone(
        self, m: Module, power: _Power, a: Signal, b: Signal, c: Signal, total: Signal, guess: Signal, numerator: Value
    ) -> None:
        fmt, numbers = self.fmt, _Numbers(self.fmt)
        assert fmt.bias is not None
        nothing = numbers.code(-0.0)  # x + -0 is x, also where x is -0
        with m.Switch(self.own):
            with m.Case(OwnAction.SCALE):
                m.d.comb += [a.eq(self.query), b.eq(C(scale_code(self.head, fmt), fmt.bits)), c.eq(nothing)]
            with m.Case(OwnAction.GUESS):
                m.d.sync += guess.eq((2 * fmt.bias << fmt.mantissa_bits) - total)
            with m.Case(OwnAction.REST):
                m.d.comb += [a.eq(float_negate(total, fmt)), b.eq(guess), c.eq(numbers.code(1.0))]
                m.d.sync += power.value.eq(self.result)
            with m.Case(OwnAction.IMPROVE):
                m.d.comb += [a.eq(guess), b.eq(power.value), c.eq(guess)]
                m.d.sync += guess.eq(self.result)
            with m.Case(OwnAction.GIVE):
                m.d.comb += [a.eq(numerator), b.eq(guess), c.eq(nothing)]
                m.d.sync += self.given.eq(self.result)
