"""exp of floating-point numbers, lane by lane.

Numerics, tables and the bound of the error are those of `workloads.formats.arith.exponential`. The stages hold: x times
log2(e), not yet shifted; its integer and fraction; for parabolas the slope; the power of the fraction; the results.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.arith.function_stimulus import FloatFunction, codes_among, function_streams, splits
from hw.rtl.contract import PipelineContract
from hw.rtl.ports import Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.arith.exponential import exponential, exponential_plan
from workloads.formats.golden.floats import decode

__all__ = ["UNIT", "Exponential"]


@dataclass(frozen=True)
class Exponential(FloatFunction):
    """e to the power of each number."""


def _golden(p: Exponential, inputs: Streams) -> Streams:
    return {"o": {"y": exponential(inputs["i"]["x"], *p.formats)}}


def _drawn(p: Exponential, rng: np.random.Generator, beats: int) -> Streams:
    # Arguments whose results fill both formats' ranges, with a margin on either side.
    return {"i": {"x": codes_among(rng, (beats, p.lanes), p.formats[0], *_span(p))}}


def _span(p: Exponential) -> tuple[float, float]:
    result = p.formats[1]
    return np.log(result.smallest) - 3, np.log(result.maximum) + 3


def _directed(p: Exponential) -> list[Streams]:
    """Both sides of where results become infinite, subnormal and zero, and the specials."""
    source, result = p.formats
    edges = np.log([result.maximum, result.smallest_normal, result.smallest, result.smallest / 2])
    return [{"i": {"x": splits(source, p.lanes, edges)}}]


def _coverage(p: Exponential, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    source, result = p.formats
    x, y = decode(inputs["i"]["x"], source), decode(outputs["o"]["y"], result)
    finite = np.isfinite(x)
    goals = {
        "zero": bool((x == 0).any()),
        "result below one": bool(((x < 0) & (y > 0) & (y < 1)).any()),
        "result above one": bool(((y > 1) & np.isfinite(y)).any()),
        "result one from a number": bool(((y == 1) & (x != 0)).any()),
    }
    if source.nan_code is not None:
        goals["NaN"] = bool(np.isnan(x).any())
    if source.specials == "ieee":
        goals |= {"infinity": bool((x == np.inf).any()), "-infinity": bool((x == -np.inf).any())}
    lowest, highest = _span(p)
    if source.maximum > highest:
        goals["overflow"] = bool((finite & (x > 0) & ~np.isfinite(y)).any())
    if source.maximum > -lowest:
        small = (y > 0) & (y < result.smallest_normal)
        goals |= {"subnormal result": bool(small.any()), "underflow": bool((finite & (y == 0)).any())}
    return goals


UNIT = Unit(
    name="exponential",
    family="arith",
    summary="exp of floating-point numbers by a table of powers of two and chords or parabolas between its entries",
    parameters=Exponential,
    streams=function_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=5 if exponential_plan(p.formats[1]).bends else 4),
    component="hw.rtl.arith.exponential:ExponentialUnit",
    numerics=(
        "relative error before the one rounding (nearest even) at most exponential_error(result); subnormals kept; "
        "overflow to infinity"
    ),
    variants=(
        {"source": "fp32", "result": "fp32", "lanes": 2},
        {"source": "fp32", "result": "bf16", "lanes": 2},
        {"source": "fp8_e5m2", "result": "fp16", "lanes": 1},
    ),
    formal=ReducedWidths({"source": "fp8_e5m2", "result": "fp8_e5m2", "lanes": 1}, "control does not depend on data"),
    synthesis=({}, {"lanes": 1}, {"lanes": 2}, {"source": "fp32", "lanes": 1}),
)
