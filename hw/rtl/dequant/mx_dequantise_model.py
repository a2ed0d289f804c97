"""Elements of the OCP Microscaling formats, with the E8M0 scale of their block, as bf16, fp16 or fp32.

A beat brings ``lanes`` elements and the scale of the block they lie in (a block of 32 is 32 / lanes beats with one
scale). Results are the exact product element * 2^(scale - 127), rounded once to nearest even: subnormals are kept,
what rounds beyond the largest number becomes infinity. A NaN scale or element gives the positive quiet NaN, an
infinite element of E5M2 an infinity; zeros keep the sign of the element, INT8 has only +0. Into fp32 only overflow is
inexact: the smallest product, 2^-16 * 2^-127 of E5M2, is a subnormal of fp32.

Two stages: element taken apart and exponents added; rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.contract import PipelineContract
from hw.rtl.dequant.mx_elements import (
    check_element,
    check_range,
    check_target,
    classes_seen,
    drawn_elements,
    element_bits,
    element_values,
    one_exponent,
    rounded_codes,
    target_format,
)
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.golden.microscaling import E8M0_NAN, decode_e8m0

__all__ = ["UNIT", "MxDequantise"]


@dataclass(frozen=True)
class MxDequantise:
    """``lanes`` elements of ``element`` a beat into ``target``."""

    element: str = "mxfp8_e4m3"
    target: str = "bf16"
    lanes: int = 4

    def __post_init__(self) -> None:
        check_element(self.element, "element")
        check_target(self.target, "target")
        check_range(self.lanes, 1, 256, "lanes")


def _streams(p: MxDequantise) -> tuple[Stream, ...]:
    block = (Field("codes", element_bits(p.element), lanes=p.lanes), Field("scale", 8))
    values = Field("values", target_format(p.target).bits, lanes=p.lanes)
    return Stream("i", "in", block), Stream("o", "out", (values,))


def _golden(p: MxDequantise, inputs: Streams) -> Streams:
    codes, scales, target = inputs["i"]["codes"], inputs["i"]["scale"], target_format(p.target)
    products = element_values(p.element, codes) * decode_e8m0(scales)[:, None]
    return {"o": {"values": rounded_codes(products, target)}}


def _drawn(p: MxDequantise, rng: np.random.Generator, beats: int) -> Streams:
    shares = {"zero": 0.1, "subnormal": 0.1, "largest": 0.1, "infinite": 0.03, "nan": 0.02}
    codes = drawn_elements(rng, p.element, (beats, p.lanes), shares)
    # A third anywhere, a third about the ends of the target's exponents, a third in the middle; some NaN.
    fmt = target_format(p.target)
    near = rng.choice([fmt.minimum_exponent, fmt.maximum_exponent], beats) + rng.integers(-24, 25, beats) + 127
    scales = np.choose(rng.integers(0, 3, beats), [rng.integers(0, 255, beats), near, rng.integers(117, 138, beats)])
    return {"i": {"codes": codes, "scale": np.where(rng.random(beats) < 0.02, E8M0_NAN, np.clip(scales, 0, 254))}}


def _directed(p: MxDequantise) -> list[Streams]:
    """Every code, with the scales at either end, in the middle and NaN."""
    codes = np.arange(1 << element_bits(p.element))
    rows = np.resize(codes, (-(-codes.size // p.lanes), p.lanes))
    scales = (0, 1, 126, 127, 128, 253, 254, 255)
    return [{"i": {"codes": np.tile(rows, (8, 1)), "scale": np.repeat(scales, len(rows))}}]


def _coverage(p: MxDequantise, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    codes, scales, words = inputs["i"]["codes"], inputs["i"]["scale"], outputs["o"]["values"]
    fmt = target_format(p.target)
    magnitude = words & ((1 << (fmt.bits - 1)) - 1)
    exact = _golden(MxDequantise(p.element, "fp32", p.lanes), inputs)["o"]["values"]
    goals = {f"element: {kind}": seen for kind, seen in classes_seen(p.element, codes).items()}
    goals |= {f"scale {code}": bool((scales == code).any()) for code in (0, 254, E8M0_NAN)}
    goals |= {
        "result: zero": bool((magnitude == 0).any()),
        "result: subnormal": bool(((magnitude > 0) & (magnitude < 1 << fmt.mantissa_bits)).any()),
        "result: infinite": bool((magnitude == fmt.largest_code + 1).any()),
        "result: NaN": bool((magnitude > fmt.largest_code + 1).any()),
        "result: negative": bool((words > magnitude).any()),
    }
    if one_exponent(p.element) - 127 < fmt.minimum_exponent - fmt.mantissa_bits - 1:
        finite = (exact & 0x7FFFFFFF) < 0x7F800000
        nonzero = (exact & 0x7FFFFFFF) > 0
        goals["underflow to zero"] = bool((finite & nonzero & (magnitude == 0)).any())
    return goals


UNIT = Unit(
    name="mx-dequantise",
    family="dequant",
    summary="OCP Microscaling elements and their E8M0 scale into bf16, fp16 or fp32",
    parameters=MxDequantise,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=2),
    component="hw.rtl.dequant.mx_dequantise:MxDequantiseUnit",
    numerics="the exact product, rounded once to nearest even; overflow to infinity; one positive quiet NaN",
    variants=(
        {"element": "mxfp4", "target": "fp16"},
        {"element": "mxfp8_e5m2", "target": "fp32", "lanes": 2},
        {"element": "mxfp8_e5m2", "target": "bf16"},
        {"element": "mxfp6_e3m2", "target": "fp16", "lanes": 3},
        {"element": "mxfp6_e2m3", "target": "bf16"},
        {"element": "mxint8", "target": "bf16"},
    ),
    formal=ReducedWidths({"element": "mxfp4", "lanes": 1}, "no lane and no width takes part in the handshake"),
    synthesis=({}, {"lanes": 8}, {"element": "mxfp4"}, {"element": "mxint8"}, {"target": "fp32"}),
)
