"""BitMoD's 3- and 4-bit floats with a special value, times their group's scale, as bf16, fp16 or fp32.

Chen et al., "BitMoD: Bit-serial Mixture-of-Datatype LLM Acceleration", HPCA 2025, arXiv 2411.11745. Its authors state
that the method is subject to a patent application by Cornell University; this is an independent implementation from
the published numerics (abdelfattah-lab/BitMoD-HPCA-25 at e445a5f), and grants no right to the method.

A beat brings ``lanes`` codes, as `workloads.formats.golden.bitmod` has them, with the selector of their group's special
value and its scale in fp16 (a group of 128 is 128 / lanes beats with one of each). Results are the exact product of
value and scale (at most 3 and 11 significant bits), rounded once to nearest even: exact in fp32, and in fp16 but for
what overflows to infinity or has more than 11 bits. Any scale is taken as it stands: subnormal, negative, infinite; a
NaN, and infinity times the value zero, give the positive quiet NaN. Zero times a negative scale is -0.

Stages: value looked up; multiplied; rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.contract import PipelineContract
from hw.rtl.dequant.mx_elements import check_range, check_target, rounded_codes, target_format
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.golden.bitmod import bitmod_values
from workloads.formats.golden.floats import FP16, decode, encode

__all__ = ["UNIT", "BitmodDequantise"]


@dataclass(frozen=True)
class BitmodDequantise:
    """``lanes`` codes of ``bits`` (3 or 4) a beat into ``target``."""

    bits: int = 4
    target: str = "bf16"
    lanes: int = 4

    def __post_init__(self) -> None:
        check_range(self.bits, 3, 4, "bits")
        check_target(self.target, "target")
        check_range(self.lanes, 1, 256, "lanes")


def _streams(p: BitmodDequantise) -> tuple[Stream, ...]:
    group = (Field("codes", p.bits, lanes=p.lanes), Field("selector", 2), Field("scale", FP16.bits))
    values = Field("values", target_format(p.target).bits, lanes=p.lanes)
    return Stream("i", "in", group), Stream("o", "out", (values,))


def _golden(p: BitmodDequantise, inputs: Streams) -> Streams:
    beats = inputs["i"]
    tables = np.stack([bitmod_values(p.bits, selector) for selector in range(4)])
    values = tables[beats["selector"][:, None], beats["codes"]]
    with np.errstate(invalid="ignore"):  # infinity times zero
        products = values * decode(beats["scale"], FP16)[:, None]
    return {"o": {"values": rounded_codes(products, target_format(p.target))}}


def _drawn(p: BitmodDequantise, rng: np.random.Generator, beats: int) -> Streams:
    """Half the scales as of real groups, the others of every class."""
    codes, selector = rng.integers(0, 1 << p.bits, (beats, p.lanes)), rng.integers(0, 4, beats)
    typical = encode(np.exp(rng.normal(-4.0, 2.0, beats)), FP16)
    anything = rng.integers(0, 1 << FP16.bits, beats)
    for value, share in ((0, 0.1), (FP16.largest_code, 0.1), (FP16.largest_code + 1, 0.05)):
        anything = np.where(rng.random(beats) < share, value, anything)
    scale = np.where(rng.random(beats) < 0.5, typical, anything)
    return {"i": {"codes": codes, "selector": selector, "scale": scale}}


def _directed(p: BitmodDequantise) -> list[Streams]:
    """Every code under every selector, with scales of each class."""
    codes = np.resize(np.arange(1 << p.bits), (-(-(1 << p.bits) // p.lanes), p.lanes))
    scales = np.array([0, 1, 0x03FF, 0x0400, 0x3C00, 0x3FFF, 0x7BFF, 0x7C00, 0x7E00, 0x8000, 0xBC01, 0xFC00, 0xFE01])
    rows, selector, scale = (
        part.ravel() for part in np.meshgrid(np.arange(len(codes)), np.arange(4), scales, indexing="ij")
    )
    return [{"i": {"codes": codes[rows], "selector": selector, "scale": scale}}]


def _coverage(p: BitmodDequantise, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats, words, fmt = inputs["i"], outputs["o"]["values"], target_format(p.target)
    magnitude, scale = words & ((1 << (fmt.bits - 1)) - 1), beats["scale"] & 0x7FFF
    special = (beats["codes"] == 1 << (p.bits - 1)).any(axis=1)
    goals = {f"code {code}": bool((beats["codes"] == code).any()) for code in range(1 << p.bits)}
    goals |= {f"special value {n}": bool((special & (beats["selector"] == n)).any()) for n in range(4)}
    if p.target == "fp16":
        goals["result: subnormal"] = bool(((magnitude > 0) & (magnitude < 1 << fmt.mantissa_bits)).any())
    return goals | {
        "scale: zero": bool((scale == 0).any()),
        "scale: subnormal": bool(((scale > 0) & (scale < 0x400)).any()),
        "scale: largest": bool((scale == FP16.largest_code).any()),
        "scale: infinite": bool((scale == 0x7C00).any()),
        "scale: NaN": bool((scale > 0x7C00).any()),
        "scale: negative": bool((beats["scale"] != scale).any()),
        "result: zero": bool((magnitude == 0).any()),
        "result: infinite": bool((magnitude == fmt.largest_code + 1).any()),
        "result: NaN": bool((magnitude > fmt.largest_code + 1).any()),
    }


UNIT = Unit(
    name="bitmod-dequantise",
    family="dequant",
    summary="BitMoD's 3- and 4-bit floats with a special value, times their group's scale, into bf16, fp16 or fp32",
    parameters=BitmodDequantise,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=3),
    component="hw.rtl.dequant.bitmod_dequantise:BitmodDequantiseUnit",
    numerics="the exact product, rounded once to nearest even; overflow to infinity; one positive quiet NaN",
    variants=(
        {"bits": 3},
        {"target": "fp16", "lanes": 2},
        {"bits": 3, "target": "fp32", "lanes": 3},
    ),
    formal=ReducedWidths({"bits": 3, "lanes": 1}, "no number takes part in the handshake"),
    synthesis=({}, {"lanes": 8}, {"bits": 3}, {"target": "fp16"}, {"target": "fp32"}),
)
