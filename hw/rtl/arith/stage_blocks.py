"""Functions split into combinational stages, and what their codes' classes are told by.

A stage takes named values and gives named values, so that ``pipe.register(**values)`` holds what lies between two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned

from hw.rtl.stream.pipeline import Pipeline
from workloads.formats.golden.floats import FloatFormat

__all__ = ["Stage", "Values", "is_infinite", "is_nan", "named", "pipelined_lanes", "run_stages", "shift_left", "sized"]

Values = dict[str, Any]
Stage = Callable[[Module, Values], Values]


def run_stages(m: Module, stages: Sequence[Stage], values: Values) -> Values:
    """What the last of ``stages`` gives, without a register between them."""
    for stage in stages:
        values = stage(m, values)
    return values


def pipelined_lanes(m: Module, pipe: Pipeline, stages: Sequence[Stage], xs: Sequence[Any]) -> list[Value]:
    """What ``stages`` make of each of ``xs``, registers of ``pipe`` between them; none behind the last."""
    lanes: list[Values] = [{"x": x} for x in xs]
    for number, stage in enumerate(stages):
        if number:
            flat = {f"{name}{lane}": value for lane, values in enumerate(lanes) for name, value in values.items()}
            held = pipe.register(**flat)
            lanes = [{name: held[f"{name}{lane}"] for name in values} for lane, values in enumerate(lanes)]
        lanes = [stage(m, values) for values in lanes]
    return [values["result"] for values in lanes]


def named(m: Module, name: str, value: Any) -> Signal:
    """A signal of the value's shape that carries it: computed once, however often it is used."""
    carrier = Signal(Value.cast(value).shape(), name=name)
    m.d.comb += carrier.eq(value)
    return carrier


def sized(value: Any, bits: int) -> Value:
    """``value`` with its sign in ``bits`` bits, extended or cut, so that operands have one width."""
    whole = Value.cast(value)
    if isinstance(value, int):
        return Const(value, signed(bits) if value < 0 else unsigned(bits))
    more = bits - len(whole)
    if not whole.shape().signed:
        return Cat(whole, Const(0, more)) if more > 0 else whole[:bits]
    return (Cat(whole, whole[-1].replicate(more)) if more > 0 else whole[:bits]).as_signed()


def shift_left(m: Module, value: Any, amount: Any, bits: int) -> Value:
    """The lowest ``bits`` bits of ``value`` shifted up by ``amount``."""
    moved: Value = sized(value, bits)
    for number, bit in enumerate(Value.cast(amount)):
        moved = named(m, "moved", Mux(bit, Cat(Const(0, 1 << number), moved)[:bits], moved))
    return moved


def is_nan(code: Value, fmt: FloatFormat) -> Value:
    """Whether a code is NaN."""
    if fmt.specials == "none":
        return Const(0, 1)
    if fmt.specials == "nan":
        return code[: fmt.bits - 1].all()
    return code[fmt.mantissa_bits : fmt.bits - 1].all() & code[: fmt.mantissa_bits].any()


def is_infinite(code: Value, fmt: FloatFormat) -> Value:
    """Whether a code is an infinity of either sign."""
    if fmt.specials != "ieee":
        return Const(0, 1)
    return code[fmt.mantissa_bits : fmt.bits - 1].all() & ~code[: fmt.mantissa_bits].any()
