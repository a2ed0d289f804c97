"""exp of floating-point codes in combinational stages between which a caller may put registers.

The numerics are those of `workloads.formats.arith.exponential`. A stage takes named values and gives named values, so
that ``pipe.register(**values)`` holds what lies between two of them.
"""

from __future__ import annotations

from amaranth import Array, Cat, Const, Module, Mux, Value

from hw.rtl.arith.stage_blocks import Stage, Values, is_infinite, is_nan, named, run_stages, sized
from workloads.formats.arith.exponential import ExponentialPlan, exponential_plan
from workloads.formats.golden.floats import FloatFormat

__all__ = ["exponential", "exponential_stages"]


def exponential(m: Module, x: Value, source: FloatFormat, result: FloatFormat) -> Value:
    """exp of the code ``x`` of ``source`` as a code of ``result``, without a register."""
    found: Value = run_stages(m, exponential_stages(source, result), {"x": x})["result"]
    return found


def exponential_stages(source: FloatFormat, result: FloatFormat) -> tuple[Stage, ...]:
    """Stages from ``{"x": code}`` to ``{"result": code}``: multiply by log2(e); shift into fixed point; for
    parabolas the slope at the place; power of the fraction; round. `InputError` as `exponential_plan`."""
    plan = exponential_plan(result)
    return (
        lambda m, values: _scale(m, values, source, plan),
        lambda m, values: _split(m, values, plan),
        *_power_stages(plan),
        lambda m, values: _round(m, values, result, plan),
    )


def _scaled_bits(plan: ExponentialPlan) -> int:
    # |y| < 2^reach log2(e) < 2^(reach + 1).
    return plan.fraction_bits + plan.reach + 1


def _scale(m: Module, values: Values, source: FloatFormat, plan: ExponentialPlan) -> Values:
    x, mantissa_bits = Value.cast(values["x"]), source.mantissa_bits
    mantissa, field = x[:mantissa_bits], x[mantissa_bits : source.bits - 1]
    product = named(m, "exp_product", Cat(mantissa, field.any()) * Const(plan.scale))
    # Of the largest exponent that is computed, the product needs mantissa_bits + 2 fewer places; smaller ones, more.
    kept = product[mantissa_bits + 2 :][: _scaled_bits(plan)]
    top = plan.reach - source.minimum_exponent  # exponent field of that largest one
    place = named(m, "exp_place", Mux(field.any(), field, sized(1, len(field))))
    places = max(source.exponent_bits, top.bit_length())
    down = named(m, "exp_down", (sized(top, places) - sized(place, places))[:places])
    bits = _scaled_bits(plan).bit_length()
    return {
        "product": Mux(down[bits:].any(), sized(0, len(kept)), kept) if len(down) > bits else kept,
        "down": down[:bits],
        "negative": x[-1],
        "nan": is_nan(x, source),
        "far": (sized(place, places) > sized(top, places)) | is_infinite(x, source),
    }


def _split(m: Module, values: Values, plan: ExponentialPlan) -> Values:
    magnitude = named(m, "exp_magnitude", values["product"] >> values["down"])
    exponent = named(m, "exp_y", Mux(values["negative"], -magnitude, magnitude)[: _scaled_bits(plan) + 1])
    return {
        "whole": exponent[plan.fraction_bits :].as_signed(),
        "fraction": exponent[: plan.fraction_bits],
        **{name: values[name] for name in ("negative", "nan", "far")},
    }


def _power_stages(plan: ExponentialPlan) -> tuple[Stage, ...]:
    def looked_up(m: Module, values: Values) -> Values:
        return _slope(m, values, plan)

    def raised(m: Module, values: Values) -> Values:
        return _power(m, values, plan)

    # Chords need nothing computed between table and product: one stage.
    return (looked_up, raised) if plan.bends else (lambda m, values: raised(m, looked_up(m, values)),)


def _slope(m: Module, values: Values, plan: ExponentialPlan) -> Values:
    fraction = values["fraction"]
    place, segment = fraction[: plan.place_bits], fraction[plan.place_bits :]
    tables = (tuple(start - (1 << plan.fraction_bits) for start in plan.starts), plan.rises, plan.bends)
    widths = [max(table, default=0).bit_length() for table in tables]
    words = [
        a | b << widths[0] | c << (widths[0] + widths[1])
        for a, b, c in zip(*tables[:2], plan.bends or (0,) * len(plan.starts), strict=True)
    ]
    entry = named(m, "exp_entry", Array(Const(word, sum(widths)) for word in words)[segment])
    start, slope, bend = entry[: widths[0]], entry[widths[0] : widths[0] + widths[1]], entry[widths[0] + widths[1] :]
    if plan.bends:
        left = ~place[plan.place_bits - plan.curve_bits :]
        less = named(m, "exp_less", (bend * left)[plan.curve_bits :])
        slope = named(m, "exp_slope", (slope - sized(less, widths[1]))[: widths[1]])
    kept = {name: values[name] for name in ("whole", "negative", "nan", "far")}
    return {"start": start, "slope": slope, "place": place, **kept}


def _power(m: Module, values: Values, plan: ExponentialPlan) -> Values:
    risen = named(m, "exp_risen", (values["slope"] * values["place"])[plan.place_bits :])
    # Below 2 for any place in the last segment: a power never reaches its segment's end.
    power = named(m, "exp_power", (values["start"] + sized(risen, plan.fraction_bits))[: plan.fraction_bits])
    return {"power": power, **{name: values[name] for name in ("whole", "negative", "nan", "far")}}


def _round(m: Module, values: Values, result: FloatFormat, plan: ExponentialPlan) -> Values:
    mantissa_bits = result.mantissa_bits
    whole = values["whole"]
    bits = max(len(whole), result.exponent_bits) + 2
    # Signed; below 0 the result is subnormal.
    above = named(m, "exp_above", (sized(whole, bits) - sized(result.minimum_exponent, bits))[:bits])
    small, most = above[-1], mantissa_bits + 2  # a number below a quarter of the last place rounds to 0
    deep = named(m, "exp_deep", (-above)[:bits])
    limit = Mux(deep > sized(most, bits), sized(most, bits), deep)
    down = named(m, "exp_denormal", Mux(small, limit, sized(0, bits))[: most.bit_length()])
    whole_power = Cat(Const(0, most), values["power"], Const(1, 1))
    shifted = named(m, "exp_shifted", whole_power >> down)
    cut = most + plan.fraction_bits - mantissa_bits
    kept, guard, sticky = shifted[cut:], shifted[cut - 1], shifted[: cut - 1].any()
    field = Mux(small, sized(0, bits), above)[: bits - 1]
    wide = mantissa_bits + bits - 1
    up = guard & (sticky | kept[0])
    code = named(m, "exp_code", (Cat(Const(0, mantissa_bits), field) + sized(kept, wide) + sized(up, wide + 1))[:wide])
    beyond = Const(result.largest_code + 1, result.bits)
    assert result.nan_code is not None
    finite = Mux(code > sized(result.largest_code, wide), beyond, code[: result.bits])
    far = Mux(values["negative"], Const(0, result.bits), beyond)
    number = Mux(values["far"], far, finite)
    return {"result": named(m, "exp_result", Mux(values["nan"], Const(result.nan_code, result.bits), number))}
