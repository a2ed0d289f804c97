"""Circuits of the online-softmax attention engine between its registers; numerics of `online_attention_golden`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth import Array, C, Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.utils import bits_for

from hw.rtl.arith.float_parts import leading_zeros
from hw.rtl.attention.online_attention_parameters import OnlineAttention
from workloads.formats.golden.floats import FloatFormat

__all__ = [
    "Queue",
    "Split",
    "block_layout",
    "counter",
    "divide_step",
    "highest",
    "joined",
    "limited",
    "logarithm",
    "named",
    "position_layout",
    "power",
    "ring",
    "selected",
    "split_code",
    "top_bits",
    "tree_sum",
    "turn",
]


def named(m: Module, value: Value, name: str, shape: Shape | None = None) -> Signal:
    """A signal that carries ``value``, of its shape or another."""
    signal = Signal(value.shape() if shape is None else shape, name=name)
    m.d.comb += signal.eq(value)
    return signal


@dataclass(frozen=True)
class Split:
    """A code's sign, exponent field (at least 1), significand with its hidden bit, and whether it is no number."""

    sign: Value
    field: Value
    significand: Value
    broken: Value


def split_code(m: Module, code: Value, fmt: FloatFormat) -> Split:
    mantissa, field = code[: fmt.mantissa_bits], code[fmt.mantissa_bits : fmt.bits - 1]
    normal = field.any()
    return Split(
        code[fmt.bits - 1],
        named(m, Cat(field[0] | ~normal, field[1:]), "field"),
        named(m, Cat(mantissa, normal), "significand"),
        named(m, code[: fmt.bits - 1] > fmt.largest_code, "broken"),
    )


def limited(m: Module, amount: Value, most: int) -> Signal:
    """The lesser of ``amount`` (not negative) and ``most``: a shift by more than the width is one by the width."""
    return named(m, Mux(amount > most, most, amount), "limited", unsigned(bits_for(most)))


def highest(m: Module, values: Sequence[Value]) -> Value:
    """The largest of unsigned ``values``, by a tree."""
    row = list(values)
    while len(row) > 1:
        pairs = [named(m, Mux(a > b, a, b), "higher", a.shape()) for a, b in zip(row[::2], row[1::2], strict=False)]
        row = pairs + row[2 * len(pairs) :]
    return row[0]


def joined(m: Module, a: Value, a_frame: Value, b: Value, b_frame: Value, width: int) -> tuple[Signal, Signal]:
    """Sum of two signed numbers in the frame of the higher, each floored to it; and that frame."""
    b_higher = named(m, b_frame > a_frame, "b_higher")
    frame = named(m, Mux(b_higher, b_frame, a_frame), "joint_frame", a_frame.shape())
    apart = named(m, Mux(b_higher, b_frame - a_frame, a_frame - b_frame), "apart", unsigned(len(a_frame)))
    shift = limited(m, apart, width)
    # Only one of them moves: one shifter.
    moving = named(m, Mux(b_higher, a, b), "moving", signed(width))
    staying = named(m, Mux(b_higher, b, a), "staying", signed(width))
    return named(m, staying + (moving >> shift), "joint", signed(width)), frame


def logarithm(m: Module, scaled: Value, frame: Value, p: OnlineAttention) -> Signal:
    """The logarithm of a weight in 2^-precision: ``scaled`` on the grid, saturated."""
    width, bits = len(scaled), p.range_bits + p.precision
    beyond = named(m, frame > p.score_anchor, "beyond")
    drop = named(m, Mux(beyond, 0, p.score_anchor - frame), "drop", unsigned(bits_for(p.score_anchor)))
    inside = named(m, scaled >> limited(m, drop, width), "inside", signed(width))
    high = inside[bits - 1 :]
    result = Signal(signed(bits), name="logarithm")
    m.d.comb += result.eq(inside[:bits].as_signed())
    with m.If(scaled[-1] & (beyond | ~high.all())):
        m.d.comb += result.eq(C(-1 << (bits - 1), signed(bits)))
    with m.Elif(~scaled[-1] & (high.any() | (beyond & scaled.any()))):
        m.d.comb += result.eq(C((1 << (bits - 1)) - 1, signed(bits)))
    return result


def power(m: Module, fraction: Value, p: OnlineAttention) -> Signal:
    """2^fraction in 2^-precision, from the table."""
    rest_bits = p.precision - p.segment_bits
    values, rises = p.power_table
    one = 1 << (p.precision + p.table_guard)
    segment, rest = fraction[rest_bits:], fraction[:rest_bits]
    width = bits_for(2 * one)
    value = named(m, Array([C(int(v), width) for v in values])[segment], "point", unsigned(width))
    rise_width = bits_for(int(rises.max()))
    rise = named(m, Array([C(int(r), rise_width) for r in rises])[segment], "rise", unsigned(rise_width))
    cut = rest_bits + p.table_guard
    on_chord = Cat(C(0, rest_bits), value) + rise * rest
    total = named(m, on_chord + (1 << (cut - 1)), "rounded", unsigned(width + rest_bits))
    # The highest fraction gives 2 - 2^-precision * 2 ln 2, which rounds to less than 2.
    return named(m, total[cut:], "weight", unsigned(p.precision + 1))


def top_bits(m: Module, value: Value, bits: int) -> tuple[Signal, Signal]:
    """The highest ``bits`` bits of unsigned ``value``, and how many it has."""
    zeros = named(m, leading_zeros(value), "zeros")
    length = named(m, len(value) - zeros, "bit_length", unsigned(bits_for(len(value))))
    padded = Cat(C(0, max(0, bits - len(value))), value)
    shifted = named(m, padded << zeros, "to_top", unsigned(len(padded)))
    return named(m, shifted[len(padded) - bits :], "highest_bits", unsigned(bits)), length


def divide_step(m: Module, rest: Value, divisor: Value) -> tuple[Value, Signal]:
    """One quotient bit, and what is left, doubled for the next step."""
    fits = named(m, rest >= divisor, "fits")
    return fits, named(m, Mux(fits, rest - divisor, rest) << 1, "rest", unsigned(len(rest)))


def selected(number: Value, values: Sequence[Value]) -> Value:
    """``values[number]``."""
    row, bit = list(values), 0
    while len(row) > 1:
        pairs = [Mux(number[bit], odd, even) for even, odd in zip(row[::2], row[1::2], strict=False)]
        row, bit = pairs + row[2 * len(pairs) :], bit + 1
    return row[0]


def tree_sum(terms: Sequence[Value]) -> Value:
    """Sum of signed terms, each level a bit wider."""
    row = list(terms)
    while len(row) > 1:
        row = [sum(row[n + 1 : n + 2], row[n]) for n in range(0, len(row), 2)]
    return row[0]


def counter(m: Module, most: int, moves: Value, name: str) -> tuple[Value, Value]:
    """Counts ``moves`` round and round to ``most``: whether it stands at the first, at the last."""
    if most == 1:
        return C(1, 1), C(1, 1)
    number = Signal(range(most), name=name)
    ends = named(m, number == most - 1, f"{name}_ends")
    with m.If(moves):
        m.d.sync += number.eq(Mux(ends, 0, number + 1))
    return named(m, ~number.any(), f"{name}_begins"), ends


def ring(shape: Any, places: int, name: str) -> list[Signal]:
    """Registers that `turn` shifts; what enters comes to the front after ``places`` turns."""
    return [Signal(shape, name=f"{name}_{n}", reset_less=True) for n in range(places)]


def turn(m: Module, registers: list[Signal], entering: Value) -> None:
    following = [*registers[1:], entering]
    m.d.sync += [held.eq(value) for held, value in zip(registers, following, strict=True)]


def position_layout(p: OnlineAttention) -> data.StructLayout:
    """A position in the queue: for each query the weight as 2^whole * weight, and what `Scores` says with it."""
    flags = dict.fromkeys(("counts", "first", "ends_row", "ends_block"), unsigned(1))
    weight = data.ArrayLayout(unsigned(p.precision + 1), p.group)
    whole = data.ArrayLayout(signed(p.range_bits), p.group)
    return data.StructLayout({"weight": weight, "whole": whole, "broken": unsigned(p.group), **flags})


def block_layout(p: OnlineAttention) -> data.StructLayout:
    """The maximum after a block, and by how much the block raised it, for each query."""
    peak = data.ArrayLayout(signed(p.range_bits), p.group)
    return data.StructLayout({"peak": peak, "rise": data.ArrayLayout(unsigned(p.range_bits), p.group)})


class Queue:
    """First in, first out, of ``slots`` words; ``level`` words stand in it. The head can be read in the same cycle."""

    def __init__(self, m: Module, layout: data.StructLayout, slots: int, name: str) -> None:
        self.memory = memory = Memory(shape=layout, depth=slots, init=[])
        m.submodules[name] = memory
        self._write, self._read = memory.write_port(), memory.read_port(domain="comb")
        self.push, self.pop = Signal(name=f"{name}_push"), Signal(name=f"{name}_pop")
        self.level = Signal(range(slots + 1), name=f"{name}_level")
        self.word: Any = self._write.data
        self.head: Any = self._read.data
        m.d.comb += self._write.en.eq(self.push)
        m.d.sync += self.level.eq(self.level + self.push - self.pop)
        for port, moves in ((self._write, self.push), (self._read, self.pop)):
            if slots > 1:
                with m.If(moves):
                    m.d.sync += port.addr.eq(Mux(port.addr == slots - 1, 0, port.addr + 1))
