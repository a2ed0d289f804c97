"""1/x of floating-point numbers, lane by lane, correctly rounded.

The stages hold: the normalised significand; the table's value after a step of Newton's; for results of more than 10
mantissa bits after a second; the candidate and the sign of its midpoint's product; the packed results.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.arith.function_stimulus import FloatFunction, codes_among, function_streams, splits
from hw.rtl.contract import PipelineContract
from hw.rtl.ports import Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.arith.reciprocal import reciprocal
from workloads.formats.golden.floats import decode

__all__ = ["LONGEST_WITH_ONE_STEP", "UNIT", "Reciprocal"]

LONGEST_WITH_ONE_STEP = 10
"""Mantissa bits of a result for which one step of Newton's suffices."""


@dataclass(frozen=True)
class Reciprocal(FloatFunction):
    """One over each number."""


def _golden(p: Reciprocal, inputs: Streams) -> Streams:
    return {"o": {"y": reciprocal(inputs["i"]["x"], *p.formats)}}


def _contract(p: Reciprocal) -> PipelineContract:
    return PipelineContract(latency_cycles=4 if p.formats[1].mantissa_bits <= LONGEST_WITH_ONE_STEP else 5)


def _drawn(p: Reciprocal, rng: np.random.Generator, beats: int) -> Streams:
    return {"i": {"x": codes_among(rng, (beats, p.lanes), p.formats[0], -4.0, 4.0)}}


def _directed(p: Reciprocal) -> list[Streams]:
    """Powers of two and both neighbours, the specials, both ends of the ranges."""
    source, result = p.formats
    exponents = np.arange(source.minimum_exponent - source.mantissa_bits, source.maximum_exponent + 1)
    edges = 1 / np.array([result.maximum, result.smallest_normal, result.smallest])
    powers = np.ldexp(1.0, exponents[:: max(1, len(exponents) // 60)].astype(np.int32))
    return [{"i": {"x": splits(source, p.lanes, np.concatenate([edges, powers, -powers, [source.smallest_normal]]))}}]


def _coverage(p: Reciprocal, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    source, result = p.formats
    x, y = decode(inputs["i"]["x"], source), decode(outputs["o"]["y"], result)
    finite = np.isfinite(x)
    goals = {
        "zero": bool((x == 0).any()),
        "negative": bool((x < 0).any()),
        "power of two": bool((finite & (x != 0) & (np.frexp(np.where(finite, x, 0))[0] == 0.5)).any()),
        "subnormal": bool(((x != 0) & (np.abs(x) < source.smallest_normal)).any()),
    }
    if source.nan_code is not None:
        goals["NaN"] = bool(np.isnan(x).any())
    if source.specials == "ieee":
        goals["infinity"] = bool(np.isinf(x).any())
    if 1 / source.maximum < result.smallest_normal:
        goals["subnormal result"] = bool(((y != 0) & (np.abs(y) < result.smallest_normal)).any())
    if 1 / source.smallest > 2 * result.maximum:
        goals["overflow"] = bool((finite & (x != 0) & ~np.isfinite(y)).any())
    if 1 / source.maximum < result.smallest / 2:
        goals["underflow"] = bool((finite & (y == 0)).any())
    return goals


UNIT = Unit(
    name="reciprocal",
    family="arith",
    summary="1/x of floating-point numbers, correctly rounded, by a table and Newton's iteration",
    parameters=Reciprocal,
    streams=function_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=_contract,
    component="hw.rtl.arith.reciprocal:ReciprocalUnit",
    numerics="correctly rounded to nearest even; subnormals kept; 1/0 is an infinity",
    variants=(
        {"source": "fp32", "result": "fp32", "lanes": 2},
        {"source": "fp32", "result": "bf16", "lanes": 2},
        {"source": "fp32", "result": "fp16", "lanes": 1},
    ),
    formal=ReducedWidths({"source": "fp8_e5m2", "result": "fp8_e5m2", "lanes": 1}, "control does not depend on data"),
    synthesis=({}, {"lanes": 1}, {"lanes": 2}, {"source": "fp32", "lanes": 1}),
)
