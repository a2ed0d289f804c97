"""Products of floating-point numbers, lane by lane: the exact product, rounded once to nearest, ties to even.

Numerics, NaN, infinities and signed zeros are those of `workloads.formats.arith.floating`. An exact product has
2 * (mantissa bits + 1) bits. Registers stand, with ``stages`` 1, only behind the rounded products; with 2 also behind
the exact ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.arith.float_operands import (
    all_tuples,
    corner_codes,
    draw_codes,
    draw_partners,
    is_subnormal,
    limits,
    result_goals,
    two_formats,
)
from hw.rtl.contract import PipelineContract
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.arith.floating import float_multiply
from workloads.formats.golden.floats import FloatFormat, decode

__all__ = ["UNIT", "FpMultiply"]


@dataclass(frozen=True)
class FpMultiply:
    """``lanes`` products a beat of numbers of ``format``, rounded to the format ``into``, in ``stages`` stages."""

    format: str = "bf16"
    into: str = "same"
    lanes: int = 4
    stages: int = 2

    def __post_init__(self) -> None:
        two_formats(self.format, self.into)
        limits(lanes=(self.lanes, 1, 256), stages=(self.stages, 1, 2))

    @property
    def formats(self) -> tuple[FloatFormat, FloatFormat]:
        """Of the operands, of the product."""
        return two_formats(self.format, self.into)


def _streams(p: FpMultiply) -> tuple[Stream, ...]:
    fmt, into = p.formats
    operands = (Field("a", fmt.bits, False, p.lanes), Field("b", fmt.bits, False, p.lanes))
    return Stream("i", "in", operands), Stream("o", "out", (Field("product", into.bits, False, p.lanes),))


def _golden(p: FpMultiply, inputs: Streams) -> Streams:
    return {"o": {"product": float_multiply(inputs["i"]["a"], inputs["i"]["b"], *p.formats)}}


def _drawn(p: FpMultiply, rng: np.random.Generator, beats: int) -> Streams:
    fmt = p.formats[0]
    a = draw_codes(rng, fmt, (beats, p.lanes))
    # The complement of an exponent brings the product near one, so subnormal operands meet large ones.
    complement = a ^ (((1 << fmt.exponent_bits) - 1) << fmt.mantissa_bits)
    b = draw_partners(rng, np.where(rng.random(a.shape) < 0.5, complement, a), fmt)
    return {"i": {"a": a, "b": b}}


def _directed(p: FpMultiply) -> list[Streams]:
    """Every pair of corners."""
    a, b = all_tuples([corner_codes(p.formats[0])] * 2, p.lanes)
    return [{"i": {"a": a, "b": b}}]


def _coverage(p: FpMultiply, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    fmt, into = p.formats
    a, b, product = inputs["i"]["a"], inputs["i"]["b"], outputs["o"]["product"]
    x, y = decode(a, fmt), decode(b, fmt)
    with np.errstate(invalid="ignore"):
        exact = x * y
    goals = result_goals(exact, product, into)
    if into == fmt:
        goals["underflow to zero"] = bool(((exact != 0.0) & (decode(product, into) == 0.0)).any())
    else:  # a wider result may hold every product: then these cannot occur
        possible = _possible(fmt, into)
        goals = {name: hit for name, hit in goals.items() if possible.get(name, True)}
    if fmt.mantissa_bits:
        normal = ~(is_subnormal(a, fmt) | is_subnormal(b, fmt))
        goals["subnormal operand, normal result"] = bool(
            (~normal & np.isfinite(exact) & (np.abs(exact) >= into.smallest_normal)).any()
        )
    if fmt.specials == "ieee":
        goals["zero times infinity"] = bool((np.isinf(x) & (y == 0.0)).any())
    return goals


def _possible(fmt: FloatFormat, into: FloatFormat) -> dict[str, bool]:
    fits = into.mantissa_bits >= 2 * fmt.mantissa_bits + 1
    low = fmt.smallest**2 < into.smallest
    high = fmt.maximum**2 > into.maximum
    rounds = not fits or low
    subnormal = fmt.smallest**2 < into.smallest_normal
    return {
        "tie rounded outward": rounds,
        "tie rounded inward": rounds,
        "inexact": rounds or high,
        "overflow": high,
        "largest number": high and not fits,
        "subnormal result": subnormal,
        "NaN": fmt.nan_code is not None,
        "both infinities": fmt.specials == "ieee" or high,
    }


UNIT = Unit(
    name="fp-multiply",
    family="arith",
    summary="products of floating-point numbers, rounded once",
    parameters=FpMultiply,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=p.stages),
    component="hw.rtl.arith.fp_multiply:FpMultiplyUnit",
    numerics="exact product rounded to nearest, ties to even; subnormals kept; one canonical NaN; 0 * infinity is NaN",
    variants=(
        {"format": "fp32", "lanes": 2},
        {"format": "fp16", "into": "fp32", "lanes": 2},
        {"format": "fp8_e4m3", "stages": 1},
    ),
    formal=ReducedWidths({"format": "fp4_e2m1", "lanes": 1}, "control and handshake do not depend on the format"),
    synthesis=(
        {},
        {"lanes": 1},
        {"format": "fp32", "lanes": 1},
        {"format": "fp16", "lanes": 1},
        {"lanes": 1, "into": "fp32"},
        {"format": "fp8_e4m3"},
    ),
)
