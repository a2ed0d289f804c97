"""Conversion between floating-point formats, lane by lane: rounded once to nearest, ties to even, in one stage.

Numerics are those of `workloads.formats.arith.floating`: with ``saturate`` what overflows, and infinity, becomes the
largest number of its sign, else infinity or, without one, NaN; NaN into a format without NaN is -0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.arith.float_operands import (
    all_tuples,
    corner_codes,
    draw_codes,
    is_subnormal,
    limits,
    result_goals,
)
from hw.rtl.arith.function_stimulus import float_parameter
from hw.rtl.contract import PipelineContract
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.arith.floating import float_convert
from workloads.formats.golden.arrays import Integers
from workloads.formats.golden.floats import FloatFormat, decode, encode

__all__ = ["UNIT", "FpConvert"]


@dataclass(frozen=True)
class FpConvert:
    """``lanes`` numbers a beat, from the format ``source`` to the format ``target``."""

    source: str = "fp32"
    target: str = "bf16"
    saturate: bool = False
    lanes: int = 4

    def __post_init__(self) -> None:
        float_parameter(self.source, "source")
        float_parameter(self.target, "target")
        limits(lanes=(self.lanes, 1, 256))

    @property
    def formats(self) -> tuple[FloatFormat, FloatFormat]:
        """Source and target."""
        return float_parameter(self.source, "source"), float_parameter(self.target, "target")

    @property
    def reaches_largest(self) -> bool:
        """Whether any number becomes the largest of the target: by saturation or because one rounds to it."""
        source, target = self.formats
        beyond = source.maximum > target.maximum or source.specials == "ieee"
        rounds = source.mantissa_bits >= target.mantissa_bits and source.maximum >= target.maximum
        return rounds or (beyond and (self.saturate or target.specials == "none"))


def _streams(p: FpConvert) -> tuple[Stream, ...]:
    source, target = p.formats
    return (
        Stream("i", "in", (Field("x", source.bits, False, p.lanes),)),
        Stream("o", "out", (Field("y", target.bits, False, p.lanes),)),
    )


def _golden(p: FpConvert, inputs: Streams) -> Streams:
    return {"o": {"y": float_convert(inputs["i"]["x"], *p.formats, saturate=p.saturate)}}


def _edges(p: FpConvert) -> Integers:
    """Codes of the source around numbers of the target and half-way between them: ties, the limits of its range."""
    source, target = p.formats
    smallest, step = target.smallest, 2.0**-target.mantissa_bits
    marks = [1.0, 1.0 + step / 2, 1.0 + 1.5 * step, target.smallest_normal, smallest, smallest / 2, 1.5 * smallest]
    marks += [target.maximum, target.maximum * (1.0 + step / 4)]
    codes = encode(np.clip(marks, -source.maximum, source.maximum), source)
    around = np.concatenate([np.clip(codes + n, 0, source.largest_code) for n in (-1, 0, 1)])
    return np.concatenate([around, around | 1 << (source.bits - 1)])


def _drawn(p: FpConvert, rng: np.random.Generator, beats: int) -> Streams:
    source, target = p.formats
    shape = (beats, p.lanes)
    inside = decode(draw_codes(rng, target, shape), target)
    with np.errstate(invalid="ignore"):
        inside = np.where(np.isfinite(inside), inside * rng.choice([1.0, 1.25, 1.0 + 2.0**-20], shape), 1.0)
    codes = encode(np.clip(inside, -source.maximum, source.maximum), source)
    codes = np.where(rng.random(shape) < 0.2, rng.choice(_edges(p), shape), codes)
    return {"i": {"x": np.where(rng.random(shape) < 0.4, draw_codes(rng, source, shape), codes)}}


def _directed(p: FpConvert) -> list[Streams]:
    """The corners of the source, and numbers at the edges of the target's range."""
    (x,) = all_tuples([np.concatenate([corner_codes(p.formats[0]), _edges(p)])], p.lanes)
    return [{"i": {"x": x}}]


def _coverage(p: FpConvert, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    source, target = p.formats
    x, y = inputs["i"]["x"], outputs["o"]["y"]
    exact = decode(x, source)
    goals = result_goals(exact, y, target)
    finer = source.mantissa_bits > target.mantissa_bits or source.smallest < target.smallest
    beyond = source.maximum > target.maximum
    possible = {
        "tie rounded outward": finer,
        "tie rounded inward": finer,
        "inexact": finer or beyond,
        "overflow": beyond,
        "largest number": p.reaches_largest,
        "subnormal result": source.smallest < target.smallest_normal,
        "NaN": source.nan_code is not None or (beyond and target.specials == "nan" and not p.saturate),
        "both infinities": not p.saturate and (beyond or source.specials == "ieee"),
    }
    goals = {name: hit for name, hit in goals.items() if possible.get(name, True)}
    if source.nan_code is not None:
        goals["NaN in"] = bool(np.isnan(exact).any())
    if source.specials == "ieee":
        goals["infinities in"] = bool((exact == np.inf).any() and (exact == -np.inf).any())
    if source.mantissa_bits:
        goals["subnormal in"] = bool(is_subnormal(x, source).any())
    if source.smallest < target.smallest / 2:
        goals["underflow to zero"] = bool(((exact != 0.0) & (decode(y, target) == 0.0)).any())
    return goals


UNIT = Unit(
    name="fp-convert",
    family="arith",
    summary="conversion between floating-point formats, rounded once",
    parameters=FpConvert,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=1),
    component="hw.rtl.arith.fp_convert:FpConvertUnit",
    numerics="rounded to nearest, ties to even; subnormals kept; overflow saturates on request; one canonical NaN",
    variants=(
        {"source": "bf16", "target": "fp8_e4m3", "saturate": True},
        {"source": "bf16", "target": "fp16"},
        {"source": "fp8_e5m2", "target": "fp32"},
        {"source": "fp16", "target": "fp4_e2m1"},
    ),
    formal=ReducedWidths(
        {"source": "fp6_e2m3", "target": "fp4_e2m1", "lanes": 1}, "control and handshake do not depend on the formats"
    ),
    synthesis=(
        {},
        {"lanes": 1},
        {"source": "bf16", "target": "fp8_e4m3"},
        {"source": "fp8_e4m3", "target": "bf16"},
        {"source": "fp16", "target": "fp32"},
    ),
)
