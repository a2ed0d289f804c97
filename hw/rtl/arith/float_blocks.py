"""Floating-point arithmetic as combinational circuits on packed codes; numerics of `workloads.formats.arith.floating`.

Each operation comes whole (`float_add`) and in the pieces between which a caller may put registers: `add_align`, then
`add_aligned`, then `hw.rtl.arith.float_parts.rounded`; `multiply_exact`, then `rounded`; `fma_align`, `fma_add`,
then `rounded`. All results are exact reals rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.utils import bits_for

from hw.rtl.arith.float_parts import (
    Exact,
    Parts,
    Unpacked,
    added,
    float_round,
    rounded,
    shared,
    shift_right,
    signed_range,
    unpack,
    wire,
)
from hw.rtl.arith.stage_blocks import sized
from workloads.formats.arith.floating import canonical_nan
from workloads.formats.golden.floats import FloatFormat

__all__ = [
    "AddAligned",
    "FmaAligned",
    "add_align",
    "add_aligned",
    "exact_integer",
    "exact_value",
    "float_add",
    "float_convert",
    "float_equal",
    "float_fma",
    "float_less",
    "float_maximum",
    "float_multiply",
    "float_negate",
    "float_round",
    "float_subtract",
    "float_unordered",
    "fma_add",
    "fma_align",
    "int_to_float",
    "multiply_exact",
    "rounded",
]


def exact_value(m: Module, code: Value, fmt: FloatFormat) -> Exact:
    """The number of ``code``."""
    parts = unpack(m, code, fmt)
    lowest = fmt.minimum_exponent - fmt.mantissa_bits
    return Exact(parts.sign, parts.exponent, parts.significand, parts.nan, parts.infinite, lowest)


def exact_integer(m: Module, value: Value) -> Exact:
    """The integer ``value``, signed or not."""
    value, width = shared(m, value, "integer"), len(value)
    negative: Value = value[-1] if value.shape().signed else C(0, 1)
    # -(-2^(w-1)) needs the top bit as one of the magnitude: w unsigned bits hold every magnitude.
    magnitude = wire(m, Mux(negative, (-value)[:width], value.as_unsigned()), "size", unsigned(width))
    return Exact(negative, C(0, signed(2)), magnitude, C(0, 1), C(0, 1), 0)


def multiply_exact(m: Module, a: Value, b: Value, fmt: FloatFormat) -> Exact:
    """The product of two codes: 2 * (mantissa_bits + 1) bits of significand."""
    return _product(m, unpack(m, a, fmt), unpack(m, b, fmt), fmt)


def _product(m: Module, a: Unpacked, b: Unpacked, fmt: FloatFormat) -> Exact:
    lowest = 2 * (fmt.minimum_exponent - fmt.mantissa_bits)
    shape = signed_range(lowest, lowest + 2 * ((1 << fmt.exponent_bits) - 2))
    return Exact(
        sign=a.sign ^ b.sign,
        exponent=wire(m, added(a.exponent, b.exponent, shape.width).as_signed(), "product_exponent", shape),
        significand=wire(m, a.significand * b.significand, "product", unsigned(2 * (fmt.mantissa_bits + 1))),
        nan=a.nan | b.nan | (a.infinite & b.zero) | (a.zero & b.infinite),
        infinite=a.infinite | b.infinite,
        lowest=lowest,
    )


def float_multiply(m: Module, a: Value, b: Value, fmt: FloatFormat, into: FloatFormat | None = None) -> Signal:
    """a * b rounded once to ``into`` (``fmt`` when None)."""
    return rounded(m, multiply_exact(m, a, b, fmt), into or fmt)


@dataclass(frozen=True)
class AddAligned(Parts):
    """Two operands ready to be added: ``larger``, and ``smaller`` (not above it) with three bits more below (guard,
    round, sticky); ``exponent`` is that of the larger's lowest bit."""

    sign: Value
    exponent: Value
    larger: Value
    smaller: Value
    subtract: Value
    nan: Value
    infinite: Value
    lowest: int


def add_align(m: Module, a: Value, b: Value, fmt: FloatFormat) -> AddAligned:
    """Operands by size, the smaller shifted to the exponent of the larger.

    Three bits are enough: with exponents that differ by two or more, the sum loses at most one leading bit, so that
    guard and round still stand below the result and sticky only says on which side of a tie it lies.
    """
    a, b = shared(m, a, "a"), shared(m, b, "b")
    swap = wire(m, b[: fmt.bits - 1] > a[: fmt.bits - 1], "swap", unsigned(1))
    x, y = unpack(m, Mux(swap, b, a), fmt), unpack(m, Mux(swap, a, b), fmt)
    distance = added(x.exponent, y.exponent, fmt.exponent_bits, minus=True)
    kept, lost = shift_right(m, y.significand, distance, fmt.mantissa_bits + 3)
    subtract = x.sign ^ y.sign
    return AddAligned(
        sign=x.sign,
        exponent=x.exponent,
        larger=x.significand,
        smaller=Cat(lost, kept),
        subtract=subtract,
        nan=x.nan | y.nan | (x.infinite & y.infinite & subtract),
        infinite=x.infinite | y.infinite,
        lowest=fmt.minimum_exponent - fmt.mantissa_bits,
    )


def add_aligned(m: Module, aligned: AddAligned) -> Exact:
    """The sum; what was shifted out stays in its lowest bit."""
    extra = len(aligned.smaller) - len(aligned.larger)
    larger, width = Cat(C(0, extra), aligned.larger), len(aligned.smaller) + 1
    # One adder: a - b = a + ~b + 1.
    other = Cat(Mux(aligned.subtract, ~aligned.smaller, aligned.smaller), aligned.subtract)
    total = wire(m, added(added(larger, other, width), aligned.subtract, width), "total", unsigned(width))
    # An exact zero out of different signs is +0 in round to nearest.
    sign = aligned.sign & ~(aligned.subtract & ~total.any() & ~aligned.infinite)
    lowest = aligned.lowest - extra
    bits = max(len(aligned.exponent), 3) + 1
    exponent = wire(m, added(aligned.exponent, -extra, bits).as_signed(), "sum_exponent", signed(bits))
    return Exact(sign, exponent, total, aligned.nan, aligned.infinite, lowest)


def float_add(m: Module, a: Value, b: Value, fmt: FloatFormat) -> Signal:
    """a + b rounded once."""
    return rounded(m, add_aligned(m, add_align(m, a, b, fmt)), fmt)


def float_negate(a: Value, fmt: FloatFormat) -> Value:
    """-a; a NaN keeps its code but for the sign, so use it on operands only."""
    return Cat(a[: fmt.bits - 1], ~a[fmt.bits - 1])


def float_subtract(m: Module, a: Value, b: Value, fmt: FloatFormat) -> Signal:
    """a - b rounded once."""
    return float_add(m, a, float_negate(b, fmt), fmt)


@dataclass(frozen=True)
class FmaAligned(Parts):
    """Product and addend in one window of bits, the addend's lost bits in its lowest (sticky) one."""

    product_sign: Value
    addend_sign: Value
    exponent: Value
    product: Value
    addend: Value
    nan: Value
    infinite: Value
    infinite_sign: Value
    lowest: int


def fma_guard_bits(fmt: FloatFormat, into: FloatFormat) -> int:
    """Bits needed below the product so that losing lower bits of the addend never shows but as sticky.

    With g of them the addend loses bits only when below 2^(into.m - g) of the product's lowest bit. If one factor is
    normal the product is at least 2^m of these, so into.m - m + 2 bits leave the rounding position in the window even
    when the sum loses a leading bit. If both are subnormal the product may be 1, which needs into.m + 2 bits, or as
    many as reach the addend's lowest possible bit.
    """
    one_normal = into.mantissa_bits - fmt.mantissa_bits + 2
    product, addend = 2 * (fmt.minimum_exponent - fmt.mantissa_bits), into.minimum_exponent - into.mantissa_bits
    return max(0, one_normal, min(into.mantissa_bits + 2, product - addend))


def fma_align(m: Module, a: Value, b: Value, c: Value, fmt: FloatFormat, into: FloatFormat | None = None) -> FmaAligned:
    """The product of ``a`` and ``b``, and ``c`` shifted against it.

    The window holds, from its top: the addend's bits, two guards, the product, `fma_guard_bits`. An addend above that
    keeps the top and the product stands too high, but still below the addend's second guard, where it only decides on
    which side of a tie the sum lies.
    """
    result = into or fmt
    x, y, addend = unpack(m, a, fmt), unpack(m, b, fmt), unpack(m, c, result)
    product = _product(m, x, y, fmt)
    size, guards = len(product.significand), fma_guard_bits(fmt, result)
    width = result.mantissa_bits + 1 + 2 + size + guards
    span = size + 2
    # Two exponents and the width of the window: their sum of magnitudes fits with two bits more than the longest.
    reach = max(len(product.exponent), len(addend.exponent), bits_for(width, True)) + 2
    apart = added(product.exponent, addend.exponent, reach, minus=True)
    distance = wire(m, added(apart, span, reach), "distance", unsigned(reach))
    above = wire(m, distance[-1] | x.zero | y.zero, "addend_above", unsigned(1))
    kept, lost = shift_right(m, addend.significand, Mux(above, C(0, reach - 1), distance[:-1]), width)
    base = Mux(above, added(addend.exponent, -span, reach), sized(product.exponent, reach).as_unsigned())
    return FmaAligned(
        product_sign=product.sign,
        addend_sign=addend.sign,
        exponent=wire(m, added(base, -(guards + 1), reach).as_signed(), "window_exponent", signed(reach)),
        product=product.significand,
        addend=Cat(lost, kept),
        nan=product.nan | addend.nan | (product.infinite & addend.infinite & (product.sign ^ addend.sign)),
        infinite=product.infinite | addend.infinite,
        infinite_sign=Mux(product.infinite, product.sign, addend.sign),
        lowest=result.minimum_exponent - result.mantissa_bits - (span + guards + 1),
    )


def fma_add(m: Module, aligned: FmaAligned, fmt: FloatFormat, into: FloatFormat | None = None) -> Exact:
    """The sum of product and addend, as sign and magnitude."""
    width = len(aligned.addend)
    subtract = wire(m, aligned.product_sign ^ aligned.addend_sign, "subtract", unsigned(1))
    product = Cat(C(0, fma_guard_bits(fmt, into or fmt) + 1), aligned.product)
    other = Cat(Mux(subtract, ~aligned.addend, aligned.addend), subtract)
    # The window has room for the sum of magnitudes: its top bit is only ever the sign of a difference.
    total = wire(m, added(added(product, other, width + 1), subtract, width + 1), "total", unsigned(width + 1))
    negative = total[-1]
    magnitude = wire(m, Mux(negative, (-total)[:width], total[:width]), "size", unsigned(width))
    # An exact zero out of different signs is +0 in round to nearest.
    sign = Mux(subtract, (aligned.product_sign ^ negative) & total.any(), aligned.product_sign)
    sign = Mux(aligned.infinite, aligned.infinite_sign, sign)
    return Exact(sign, aligned.exponent, magnitude, aligned.nan, aligned.infinite, aligned.lowest)


def float_fma(m: Module, a: Value, b: Value, c: Value, fmt: FloatFormat, into: FloatFormat | None = None) -> Signal:
    """a * b + c rounded once; ``a`` and ``b`` in ``fmt``, ``c`` and the result in ``into`` (``fmt`` when None)."""
    return rounded(m, fma_add(m, fma_align(m, a, b, c, fmt, into), fmt, into), into or fmt)


def _is_nan(code: Value, fmt: FloatFormat) -> Value:
    if fmt.specials == "none":
        return C(0, 1)
    return code[: fmt.bits - 1] > C(fmt.largest_code + (fmt.specials == "ieee"), fmt.bits - 1)


def _below(a: Value, b: Value, fmt: FloatFormat) -> Value:
    """Whether a comes before b in the order of codes, -0 before +0."""
    a_sign, b_sign = a[fmt.bits - 1], b[fmt.bits - 1]
    a_size, b_size = a[: fmt.bits - 1], b[: fmt.bits - 1]
    return Mux(a_sign ^ b_sign, a_sign, Mux(a_sign, a_size > b_size, a_size < b_size))


def float_maximum(m: Module, a: Value, b: Value, fmt: FloatFormat) -> Signal:
    """The larger with -0 < +0; NaN if either is NaN."""
    a, b = shared(m, a, "a"), shared(m, b, "b")
    larger = Mux(_below(a, b, fmt), b, a)
    nan = _is_nan(a, fmt) | _is_nan(b, fmt)
    return wire(m, Mux(nan, C(canonical_nan(fmt), fmt.bits), larger), "maximum", unsigned(fmt.bits))


def float_less(m: Module, a: Value, b: Value, fmt: FloatFormat) -> Signal:
    """Whether a < b: of NaN never, nor of two zeros."""
    a, b = shared(m, a, "a"), shared(m, b, "b")
    zeros = ~(a[: fmt.bits - 1].any() | b[: fmt.bits - 1].any())
    return wire(m, _below(a, b, fmt) & ~zeros & ~_is_nan(a, fmt) & ~_is_nan(b, fmt), "less", unsigned(1))


def float_equal(m: Module, a: Value, b: Value, fmt: FloatFormat) -> Signal:
    """Whether a = b: of NaN never, of two zeros always."""
    a, b = shared(m, a, "a"), shared(m, b, "b")
    zeros = ~(a[: fmt.bits - 1].any() | b[: fmt.bits - 1].any())
    return wire(m, ((a == b) | zeros) & ~_is_nan(a, fmt) & ~_is_nan(b, fmt), "equal", unsigned(1))


def float_unordered(m: Module, a: Value, b: Value, fmt: FloatFormat) -> Signal:
    """Whether either is NaN: then neither is less, nor are they equal."""
    return wire(m, _is_nan(a, fmt) | _is_nan(b, fmt), "unordered", unsigned(1))


def float_convert(m: Module, a: Value, source: FloatFormat, target: FloatFormat, saturate: bool = False) -> Signal:
    """The number of ``a`` rounded to ``target``; ``saturate`` as in `workloads.formats.arith.floating`."""
    same_range = source.exponent_bits == target.exponent_bits and source.bias == target.bias
    more = target.mantissa_bits - source.mantissa_bits
    if same_range and more >= 0 and source.specials == target.specials and not saturate:
        # Every code of the source is one of the target with zeros below: nothing to normalise.
        a = shared(m, a, "a")
        wider = Mux(_is_nan(a, source), C(canonical_nan(target), target.bits), Cat(C(0, more), a))
        return wire(m, wider, "widened", unsigned(target.bits))
    return rounded(m, exact_value(m, a, source), target, saturate=saturate)


def int_to_float(m: Module, value: Value, fmt: FloatFormat) -> Signal:
    """An integer, signed or not, rounded to ``fmt``."""
    return rounded(m, exact_integer(m, value), fmt)
