"""1/x of floating-point codes, correctly rounded, in combinational stages between which a caller may put registers.

Of a significand m in [1, 2) a table gives r near 1/m; Newton's r (2 - m r) squares its relative error and never lies
above 1/m. Once r is within a quarter of the result's last place, the result is r cut off or the number after it, which
the exact product of m and the midpoint between them decides. So every result is the one of
`workloads.formats.arith.reciprocal`, whatever the table holds within its bound.
"""

from __future__ import annotations

from amaranth import Array, Cat, Const, Module, Mux, Value

from hw.rtl.arith.reciprocal_model import LONGEST_WITH_ONE_STEP
from hw.rtl.arith.stage_blocks import Stage, Values, is_infinite, is_nan, named, run_stages, shift_left, sized
from workloads.formats.golden.arrays import refuse
from workloads.formats.golden.floats import FloatFormat

__all__ = ["reciprocal", "reciprocal_error", "reciprocal_stages"]


def reciprocal(m: Module, x: Value, fmt: FloatFormat, result: FloatFormat | None = None) -> Value:
    """1/``x``, a code of ``fmt``, as a code of ``result`` (None: ``fmt``), without a register."""
    found: Value = run_stages(m, reciprocal_stages(fmt, result), {"x": x})["result"]
    return found


def reciprocal_stages(fmt: FloatFormat, result: FloatFormat | None = None) -> tuple[Stage, ...]:
    """Stages from ``{"x": code}`` to ``{"result": code}``: normalise; table and Newton's step; for results of more
    than 10 mantissa bits a second step; choose the nearest; pack. `InputError` for a result format without NaN."""
    into = fmt if result is None else result
    refuse(into.specials == "none", f"1/x into {into.name}, which has no NaN", "a format with NaN", "result")
    steps: list[Stage] = [lambda m, values: _normalise(m, values, fmt), lambda m, values: _first(m, values, fmt, into)]
    if _steps(into) == 2:
        steps.append(lambda m, values: _second(m, values, fmt, into))
    return (
        *steps,
        lambda m, values: _choose(m, values, fmt, into),
        lambda m, values: _pack(m, values, into),
    )


def _steps(result: FloatFormat) -> int:
    return 1 if result.mantissa_bits <= LONGEST_WITH_ONE_STEP else 2


def _index_bits(result: FloatFormat) -> int:
    # The table errs by 1.25 * 2^-(index + 1); one step squares that, two raise it to the fourth power.
    return (result.mantissa_bits + 4) // 2 if _steps(result) == 1 else (result.mantissa_bits + 8) // 4


def _table(result: FloatFormat) -> list[int]:
    """1/m in the middle of each segment, in 2^-(index bits + 2)."""
    bits = _index_bits(result)
    return [round((1 << (2 * bits + 3)) / (2 * (segment + (1 << bits)) + 1)) for segment in range(1 << bits)]


def _fractions(result: FloatFormat) -> tuple[int, ...]:
    """Fraction bits of the approximation after each step, the table's first."""
    last = result.mantissa_bits + 6
    table = _index_bits(result) + 2
    return (table, last) if _steps(result) == 1 else (table, 2 * table - 1, last)


def reciprocal_error(result: FloatFormat) -> float:
    """Bound of 1/m - r before the nearest number is chosen; under a quarter of the last place, 2^-(mantissa bits + 3).

    The table's relative error e is largest at the ends of its segments. A step with f fraction bits leaves e^2, cuts
    1 - m r below 2^-f and the product below 2^-f.
    """
    bits, fractions = _index_bits(result), _fractions(result)
    ends = [(1 + (i + at) / (1 << bits), entry) for i, entry in enumerate(_table(result)) for at in (0, 1)]
    error = max(abs(m * entry / (1 << fractions[0]) - 1) for m, entry in ends)
    for fraction in fractions[1:]:
        error = error * error + 2 * 2 * 2.0**-fraction  # cut twice, each relative to 1/m > 1/2
    return error


def _normalise(m: Module, values: Values, fmt: FloatFormat) -> Values:
    x = Value.cast(values["x"])
    mantissa, field = x[: fmt.mantissa_bits], x[fmt.mantissa_bits : fmt.bits - 1]
    significand: Value = named(m, "rec_significand", Cat(mantissa, field.any()))
    zeros: list[Value] = []
    for power in reversed(range(fmt.mantissa_bits.bit_length())):
        count = 1 << power
        low = ~significand[-count:].any() if count <= fmt.mantissa_bits else Const(0, 1)
        moved = Cat(Const(0, count), significand)[: fmt.mantissa_bits + 1]
        significand = named(m, "rec_normal", Mux(low, moved, significand))
        zeros.insert(0, low)
    bits = fmt.exponent_bits + 4  # 2^-149 to 2^127, with a sign to spare
    place = sized(Mux(field.any(), field, sized(1, len(field))), bits) + sized(
        (fmt.minimum_exponent - 1) % (1 << bits), bits
    )
    exponent = (place[:bits] - sized(Cat(zeros), bits))[:bits].as_signed()
    return {
        "mantissa": significand[: fmt.mantissa_bits],
        "exponent": exponent,
        "sign": x[-1],
        "nan": is_nan(x, fmt),
        "beyond": ~x[: fmt.bits - 1].any(),
        "zero": is_infinite(x, fmt),
    }


def _step(m: Module, mantissa: Value, near: Value, fraction: int, finer: int, error_bits: int) -> Value:
    """r + r (1 - m r) cut to ``finer`` fraction bits; |1 - m r| <= 2^-``error_bits``."""
    width = len(mantissa)
    product = Cat(mantissa, Const(1, 1)) * near
    # 1 - m r is so small that the low bits of m r tell it.
    error = named(m, "rec_error", (-product)[: width + fraction - error_bits + 1].as_signed())
    surplus = width + fraction - finer
    cut = named(
        m, "rec_cut", error[surplus:].as_signed() if surplus > 0 else Cat(Const(0, -surplus), error).as_signed()
    )
    change = named(m, "rec_change", (near * cut)[fraction:].as_signed())
    return named(m, "rec_near", (Cat(Const(0, finer - fraction), near) + sized(change, finer + 1)[:])[: finer + 1])


def _first(m: Module, values: Values, fmt: FloatFormat, result: FloatFormat) -> Values:
    bits, fractions, mantissa = _index_bits(result), _fractions(result), values["mantissa"]
    segment = Cat(Const(0, bits), mantissa)[-bits:]
    entries = Array(Const(entry, bits + 3) for entry in _table(result))
    near = _step(m, mantissa, named(m, "rec_entry", entries[segment]), fractions[0], fractions[1], bits)
    return {**values, "near": near}


def _second(m: Module, values: Values, fmt: FloatFormat, result: FloatFormat) -> Values:
    fractions = _fractions(result)
    # The first step leaves e^2 + 4 * 2^-f, below 2^-(f - 3) for the table's 1.25 * 2^-(index + 1).
    near = _step(m, values["mantissa"], values["near"], fractions[1], fractions[2], fractions[1] - 3)
    return {**values, "near": near}


def _choose(m: Module, values: Values, fmt: FloatFormat, result: FloatFormat) -> Values:
    places = result.mantissa_bits + 1  # fraction bits of r that a normal result keeps, as r > 1/2
    cut = values["near"][len(values["near"]) - 1 - places :]
    # 1/x = 2r * 2^(-exponent - 1)
    bits = max(len(values["exponent"]), result.exponent_bits) + 2
    most = sized(-1 - result.minimum_exponent, bits)
    above = named(m, "rec_above", (most - sized(values["exponent"], bits)[:])[:bits])
    deepest = min(places + 1, max(0, result.minimum_exponent + 1 + fmt.maximum_exponent))
    deep, small = named(m, "rec_deep", (-above)[:bits]), above[-1]
    limit = Mux(deep > sized(deepest, bits), sized(deepest, bits), deep)
    down = named(m, "rec_denormal", Mux(small, limit, sized(0, bits))[: max(1, deepest.bit_length())])
    kept = named(m, "rec_kept", cut >> down)
    middle = named(m, "rec_middle", shift_left(m, Cat(Const(1, 1), kept), down, places + 2))
    product = Cat(values["mantissa"], Const(1, 1)) * middle
    one = fmt.mantissa_bits + places + 1
    # The midpoint is within 2^(down + 1) of its units from 1/m; times m that fits so many signed bits.
    signed_bits = fmt.mantissa_bits + deepest + 3
    below = product[signed_bits - 1] if signed_bits <= one else ~product[one:].any()
    field = Mux(small, sized(0, bits), above)[: bits - 1]
    return {
        "kept": kept,
        "up": below,
        "field": field,
        **{name: values[name] for name in ("sign", "nan", "beyond", "zero")},
    }


def _pack(m: Module, values: Values, result: FloatFormat) -> Values:
    base = Cat(Const(0, result.mantissa_bits), values["field"])
    wide = len(base)
    code = named(m, "rec_code", (base + sized(values["kept"], wide) + sized(values["up"], wide + 1))[:wide])
    beyond = Const(result.largest_code + 1, result.bits - 1)
    number = Mux(values["beyond"] | (code > sized(result.largest_code, wide)), beyond, code[: result.bits - 1])
    assert result.nan_code is not None
    signed = Cat(Mux(values["zero"], sized(0, result.bits - 1), number), values["sign"])
    return {"result": named(m, "rec_result", Mux(values["nan"], Const(result.nan_code, result.bits), signed))}
