"""Blocks of the integer softmax: distances in octaves, weights, the sum that is shifted down, the reciprocal.

The numerics are those of `workloads.formats.arith.integer_softmax`.
"""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value

from hw.rtl.arith.stage_blocks import named, sized

__all__ = ["divider_stages", "octaves", "running_sum", "weight"]


def octaves(m: Module, above: Value, below: Value, fraction: int) -> Value:
    """``above`` - ``below`` over 2^``fraction``, rounded half up: signed, of one width, ``above`` not the lower.

    The width of the result is that of the scores less ``fraction`` plus one.
    """
    bits = len(above)
    difference = (above - below)[:bits]
    if not fraction:
        return named(m, "octaves", Cat(difference, Const(0, 1)))
    return named(m, "octaves", (difference + sized(1 << (fraction - 1), bits))[fraction : bits + 1])


def weight(m: Module, down: Value, bits: int) -> Value:
    """2^``bits`` shifted down: one bit, or none beyond ``bits`` octaves."""
    return Cat(*(down == bits - n for n in range(bits)), ~down.any())


def running_sum(m: Module, terms: Value, rise: Value, valid: Value, last: Value, width: int) -> Value:
    """The sum of a row with the ``terms`` of this cycle in it; it begins anew after a ``last``."""
    held, total = Signal(width), Signal(width)
    most = width.bit_length()
    all_out = rise[most:].any() if len(rise) > most else Const(0, 1)
    kept = Mux(all_out, sized(0, width), held >> rise[:most])
    m.d.comb += total.eq(kept + terms)
    with m.If(valid):
        m.d.sync += held.eq(Mux(last, 0, total))
    return total


def divider_stages(
    m: Module, total: Value, beside: Value, valid: Value, start: int, digits: int
) -> tuple[Value, Value, Value]:
    """floor(``start`` 2^``digits`` / ``total``) for sums above ``start``, and 2^``digits`` - 1 for one equal to it;
    ``beside`` as it came with the sum, and validity: one register stage, and one for each digit of the quotient."""
    rest: Value = Const(start, len(total))
    divisor: Value = Signal.like(total, reset_less=True)
    passed: Value = Signal.like(beside, reset_less=True)
    there: Value = Signal()
    quotient: Value = Const(0, 0)
    m.d.sync += [divisor.eq(total), passed.eq(beside), there.eq(valid)]
    for digit in range(digits):
        doubled = named(m, f"doubled{digit}", Cat(Const(0, 1), rest))
        less = named(m, f"less{digit}", doubled - divisor)
        fits = ~less[-1]
        following = [
            Signal(len(total), name=f"rest{digit}", reset_less=True),
            Signal.like(divisor, name=f"divisor{digit}", reset_less=True),
            Signal.like(passed, name=f"passed{digit}", reset_less=True),
            Signal(digit + 1, name=f"quotient{digit}", reset_less=True),
            Signal(name=f"there{digit}"),
        ]
        values = (Mux(fits, less, doubled), divisor, passed, Cat(fits, quotient), there)
        m.d.sync += [register.eq(value) for register, value in zip(following, values, strict=True)]
        rest, divisor, passed, quotient, there = following
    return quotient, passed, there
