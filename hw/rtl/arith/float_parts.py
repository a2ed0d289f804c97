"""Pieces of floating-point circuits: taking codes apart, and rounding an exact value into a code.

Between the two stands an `Exact`: sign, integer significand and the exponent of its lowest bit, normalised or not. A
unit computes it, may hold it in registers (`named`, `held`), and rounds it once with `rounded`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from amaranth import C, Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.hdl import ValueLike
from amaranth.utils import bits_for

from hw.rtl.arith.stage_blocks import sized
from workloads.formats.arith.floating import canonical_nan
from workloads.formats.golden.floats import FloatFormat

__all__ = [
    "Exact",
    "Parts",
    "Unpacked",
    "added",
    "float_round",
    "leading_zeros",
    "rounded",
    "shared",
    "shift_right",
    "signed_range",
    "unpack",
    "wire",
]

T = TypeVar("T", bound="Parts")


@dataclass(frozen=True)
class Parts:
    """A bundle of values that a pipeline stage can hold."""

    def named(self, prefix: str) -> dict[str, Value]:
        """The values, by names that begin with ``prefix``: arguments of `hw.rtl.stream.pipeline.Pipeline.register`."""
        each = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f"{prefix}_{name}": value for name, value in each.items() if isinstance(value, Value)}

    def held(self: T, registers: Mapping[str, Any], prefix: str) -> T:
        """The same bundle with what ``registers`` hold under `named`'s names."""
        return replace(self, **{name.removeprefix(f"{prefix}_"): registers[name] for name in self.named(prefix)})


@dataclass(frozen=True)
class Unpacked(Parts):
    """A code taken apart: (-1)^sign * significand * 2^exponent; the significand has its hidden bit on top, which is 0
    in subnormals. Of NaN and infinity only the sign and the flag mean anything."""

    sign: Value
    exponent: Value
    significand: Value
    nan: Value
    infinite: Value
    zero: Value


@dataclass(frozen=True)
class Exact(Parts):
    """(-1)^sign * significand * 2^exponent, not rounded; or NaN; or an infinity of that sign.

    ``lowest`` is the least exponent that can occur: it decides whether the rounding must be able to shift right.
    """

    sign: Value
    exponent: Value
    significand: Value
    nan: Value
    infinite: Value
    lowest: int


def shared(m: Module, value: Value, name: str) -> Value:
    """``value`` fit for being used many times: a signal that carries it, unless it is one.

    What is used once stays an expression, since every signal costs a pass of the simulator.
    """
    return value if isinstance(value, Signal) else wire(m, value, name, value.shape())


def wire(m: Module, value: ValueLike, name: str, shape: Shape) -> Signal:
    """A signal of that shape that carries ``value``."""
    signal = Signal(shape, name=name)
    m.d.comb += signal.eq(value)
    return signal


def signed_range(low: int, high: int) -> Shape:
    """The signed shape that holds ``low`` to ``high``."""
    return signed(max(bits_for(low, require_sign_bit=True), bits_for(high, require_sign_bit=True)))


def added(a: ValueLike, b: ValueLike, bits: int, *, minus: bool = False) -> Value:
    """The lowest ``bits`` bits of a + b, or of a - b: unsigned, since where the sign stands is the caller's to know."""
    first, second = (Value.cast(sized(one, bits)).as_unsigned() for one in (a, b))
    return (first - second if minus else first + second)[:bits]


def unpack(m: Module, code: Value, fmt: FloatFormat) -> Unpacked:
    """The parts of ``code``; the exponent is that of the significand's lowest bit."""
    code = shared(m, code, "code")
    mantissa, field, sign = code[: fmt.mantissa_bits], code[fmt.mantissa_bits : fmt.bits - 1], code[fmt.bits - 1]
    least = fmt.minimum_exponent - fmt.mantissa_bits
    shape = signed_range(least, least + (1 << fmt.exponent_bits) - 2)
    steps = added(field, field.any(), shape.width, minus=True)
    exponent = wire(m, added(steps, least, shape.width).as_signed(), "exponent", shape)
    nan: Value = C(0, 1)
    infinite: Value = C(0, 1)
    if fmt.specials == "ieee":
        nan, infinite = field.all() & mantissa.any(), field.all() & ~mantissa.any()
    elif fmt.specials == "nan":
        nan = code[: fmt.bits - 1].all()
    return Unpacked(sign, exponent, Cat(mantissa, field.any()), nan, infinite, ~code[: fmt.bits - 1].any())


def leading_zeros(value: Value) -> Value:
    """How many bits above the highest set one are zero; the width of ``value`` when none is set."""
    width = len(value)
    levels = width.bit_length()
    # Ones below end the count at the width; a power of two in all makes the halves even.
    return _zeros_above(Cat(C(-1, (1 << levels) - width)[:], value), levels)


def _zeros_above(value: Value, levels: int) -> Value:
    if levels == 1:
        return ~value[1]
    half = len(value) // 2
    upper = value[half:].any()
    return Cat(
        Mux(upper, _zeros_above(value[half:], levels - 1), _zeros_above(value[:half], levels - 1)),
        ~upper,
    )


def shift_right(m: Module, value: Value, amount: Value, width: int) -> tuple[Value, Value]:
    """``value``, in the top of ``width`` bits, shifted right by ``amount``; and whether ones were shifted out.

    Unlike Amaranth's shift, whatever the amount, no wider than ``width`` and one value.
    """
    enough = bits_for(width)
    amount = sized(amount, max(len(amount), enough))
    limited = Mux(amount > sized(width, len(amount)), sized(width, enough), amount[:enough])
    padded = Cat(C(0, 2 * width - len(value)), value)
    shifted = wire(m, padded >> limited, "shifted", unsigned(2 * width))
    return shifted[width:], shifted[:width].any()


def float_round(
    m: Module,
    sign: Value,
    exponent: Value,
    significand: Value,
    sticky: Value,
    fmt: FloatFormat,
    *,
    nan: Value | None = None,
    infinite: Value | None = None,
    saturate: bool = False,
    lowest: int | None = None,
) -> Signal:
    """The code nearest to (-1)^sign * (significand + s) * 2^exponent, where 0 < s < 1 if ``sticky`` is set and else 0;
    ties to even, subnormals kept. ``significand`` is unsigned, of any width, normalised or not.

    With ``sticky`` set the significand must have at least two bits more than the result keeps of it, or the whole must
    lie below a quarter of the smallest subnormal: else what s hides would matter. ``lowest`` is the least exponent
    that occurs (None: that of its shape). Overflow, ``nan`` and ``infinite`` as in `workloads.formats.arith.floating`.
    """
    width, kept = len(significand), fmt.mantissa_bits + 1
    padding = max(0, kept + 1 - width)
    whole = shared(m, Cat(C(0, padding), significand) if padding else significand, "whole")
    width += padding
    shape = exponent.shape()
    least = -(1 << (shape.width - 1)) if shape.signed else 0
    most = (1 << (shape.width - shape.signed)) - 1
    lowest = least if lowest is None else max(lowest, least)
    # Places between the significand's highest bit and the hidden bit of subnormals: never shift left beyond.
    offset = width - 1 - padding - fmt.minimum_exponent
    room_shape = signed_range(least + offset, most + offset)
    room = wire(m, added(exponent, offset, room_shape.width).as_signed(), "room", room_shape)
    zeros, enough = leading_zeros(whole), bits_for(width)
    both = max(len(room), len(zeros) + 1)
    limited = sized(zeros, both).as_signed() > sized(room, both).as_signed()
    shift = wire(m, Mux(limited, sized(room, enough), sized(zeros, enough)), "left", unsigned(enough))
    field_bits = bits_for(max(1, most + offset))
    field = Mux(whole.any(), added(room, shift, field_bits, minus=True), sized(0, field_bits))
    # To the left by s is to the left by all ones, then to the right by the complement of s: no wider than it need be.
    moved: Value = (Cat(C(0, (1 << enough) - 1), whole) >> ~shift)[:width]
    lost: Value = C(0, 1)
    if lowest + offset < 0:
        under = room[-1]
        right, out = shift_right(m, whole, (-room)[: len(room)], width)
        moved, lost, field = Mux(under, right, moved), under & out, Mux(under, sized(0, field_bits), field)
    normalised = wire(m, moved, "normalised", unsigned(width))
    top = normalised[width - kept :]
    half = normalised[width - kept - 1]
    rest = normalised[: width - kept - 1].any() | lost | sticky
    # The hidden one adds a whole exponent step, so subnormals, normals and carries need no cases.
    steps = Cat(C(0, fmt.mantissa_bits), field)
    size = max(fmt.bits, fmt.mantissa_bits + field_bits + 1)
    code = wire(m, added(added(steps, top, size), half & (rest | top[0]), size), "magnitude", unsigned(size))
    beyond = code > sized(fmt.largest_code, size)
    if infinite is not None:
        beyond = beyond | infinite
    number = Mux(beyond, _beyond(sign, fmt, saturate), Cat(code[: fmt.bits - 1], sign))
    if nan is not None:
        number = Mux(nan, C(canonical_nan(fmt), fmt.bits), number)
    return wire(m, number, "rounded", unsigned(fmt.bits))


def _beyond(sign: Value, fmt: FloatFormat, saturate: bool) -> Value:
    if saturate or fmt.specials == "none":
        return Cat(C(fmt.largest_code, fmt.bits - 1), sign)
    if fmt.specials == "ieee":
        return Cat(C(fmt.largest_code + 1, fmt.bits - 1), sign)
    return C(canonical_nan(fmt), fmt.bits)


def rounded(m: Module, value: Exact, fmt: FloatFormat, *, saturate: bool = False) -> Signal:
    """`float_round` of ``value``."""
    return float_round(
        m,
        value.sign,
        value.exponent,
        value.significand,
        C(0, 1),
        fmt,
        nan=value.nan,
        infinite=value.infinite,
        saturate=saturate,
        lowest=value.lowest,
    )
