"""Products plus addends of floating-point numbers, lane by lane, rounded once: a * b + c.

``a`` and ``b`` are of ``format``, ``c`` and the result of the format ``into``. Numerics, NaN, infinities and signed
zeros are those of `workloads.formats.arith.floating`. Registers stand, with ``stages`` 1, only behind the rounded
results; with 2 also behind the products and the addends aligned to them (the multiplier and the shifter of the addend
work side by side); with 3 also behind the exact sums. Widths: `hw.rtl.arith.float_blocks.fma_align`.
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
from workloads.formats.arith.floating import float_add, float_fma, float_multiply, sum_to_odd
from workloads.formats.golden.floats import FloatFormat, decode

__all__ = ["UNIT", "FpFma"]


@dataclass(frozen=True)
class FpFma:
    """``lanes`` results a beat, in ``stages`` register stages; ``into`` "same" is the operands' ``format``."""

    format: str = "bf16"
    into: str = "fp32"
    lanes: int = 2
    stages: int = 3

    def __post_init__(self) -> None:
        two_formats(self.format, self.into)
        limits(lanes=(self.lanes, 1, 256), stages=(self.stages, 1, 3))

    @property
    def formats(self) -> tuple[FloatFormat, FloatFormat]:
        """Of the factors; of the addend and the result."""
        return two_formats(self.format, self.into)

    @property
    def lossy(self) -> bool:
        """Whether a product may not fit into a number of the result's format."""
        fmt, into = self.formats
        return into.mantissa_bits < 2 * fmt.mantissa_bits + 1 or fmt.smallest**2 < into.smallest


def _streams(p: FpFma) -> tuple[Stream, ...]:
    fmt, into = p.formats
    fields = (("a", fmt), ("b", fmt), ("c", into))
    operands = tuple(Field(name, one.bits, False, p.lanes) for name, one in fields)
    return Stream("i", "in", operands), Stream("o", "out", (Field("sum", into.bits, False, p.lanes),))


def _golden(p: FpFma, inputs: Streams) -> Streams:
    beats = inputs["i"]
    return {"o": {"sum": float_fma(beats["a"], beats["b"], beats["c"], *p.formats)}}


def _drawn(p: FpFma, rng: np.random.Generator, beats: int) -> Streams:
    fmt, into = p.formats
    a = draw_codes(rng, fmt, (beats, p.lanes))
    complement = a ^ (((1 << fmt.exponent_bits) - 1) << fmt.mantissa_bits)
    b = draw_partners(rng, np.where(rng.random(a.shape) < 0.4, complement, a), fmt)
    # Addends around the product, and such as are far above or below it.
    c = draw_partners(rng, float_multiply(a, b, fmt, into), into)
    return {"i": {"a": a, "b": b, "c": c}}


def _directed(p: FpFma) -> list[Streams]:
    """Every triple of a few corners."""
    fmt, into = (corner_codes(one, few=True) for one in p.formats)
    a, b, c = all_tuples([fmt, fmt, into], p.lanes)
    return [{"i": {"a": a, "b": b, "c": c}}]


def _coverage(p: FpFma, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    fmt, into = p.formats
    a, b, c = (inputs["i"][name] for name in "abc")
    total = outputs["o"]["sum"]
    x, y, z = decode(a, fmt), decode(b, fmt), decode(c, into)
    with np.errstate(invalid="ignore"):
        product = x * y
    goals = result_goals(sum_to_odd(product, z), total, into)
    twice = float_add(float_multiply(a, b, fmt, into), c, into)
    finite = np.isfinite(product) & np.isfinite(z)
    goals["numbers that cancel"] = bool(((product == -z) & (z != 0.0) & finite).any())
    goals["product absorbed"] = bool(((total == c) & (product != 0.0) & finite).any())
    goals["zero product, number added"] = bool(((product == 0.0) & (z != 0.0)).any())
    if p.lossy:
        goals["two roundings would differ"] = bool((finite & (twice != total)).any())
    if fmt.mantissa_bits:
        goals["subnormal factor"] = bool((is_subnormal(a, fmt) & (product != 0.0)).any())
    if into.mantissa_bits:
        goals["subnormal addend"] = bool((is_subnormal(c, into) & (product != 0.0)).any())
    if fmt.specials == "ieee":
        goals["zero times infinity"] = bool((np.isinf(x) & (y == 0.0)).any())
        if into.specials == "ieee":
            goals["infinities of two signs"] = bool((np.isinf(product) & (product == -z)).any())
    return goals


UNIT = Unit(
    name="fp-fma",
    family="arith",
    summary="fused multiply-add of floating-point numbers, rounded once",
    parameters=FpFma,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=p.stages),
    component="hw.rtl.arith.fp_fma:FpFmaUnit",
    numerics="exact a * b + c rounded to nearest, ties to even; subnormals kept; one canonical NaN",
    variants=(
        {"format": "fp32", "into": "same", "lanes": 1},
        {"into": "same", "lanes": 2, "stages": 2},
        {"format": "fp8_e4m3", "into": "fp16", "stages": 1},
    ),
    formal=ReducedWidths(
        {"format": "fp4_e2m1", "into": "same", "lanes": 1}, "control and handshake do not depend on the format"
    ),
    synthesis=(
        {},
        {"lanes": 1},
        {"into": "same", "lanes": 1},
        {"format": "fp16", "into": "same", "lanes": 1},
        {"format": "fp32", "into": "same", "lanes": 1},
        {"format": "fp8_e4m3", "into": "fp16", "lanes": 1},
    ),
)
