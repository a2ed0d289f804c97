"""NVFP4 into bf16, fp16 or fp32: E2M1 elements, an E4M3 scale for each 16 of them, an FP32 scale for the tensor.

The stream ``tensor`` brings the tensor's scale; then beats of ``lanes`` elements with the scale of their block (16 are
16 / lanes beats with one scale) are worked off until one says ``last``, and the next tensor's scale is loaded. A result
is the exact product element * block scale * tensor scale (2 + 4 + 24 significant bits), rounded once to nearest even:
no order of multiplication shows. A kernel that rounds block scale * tensor scale to FP32 first may differ in the last
place. Subnormals are kept, signs multiply (block scales of the format are positive; a negative code is taken as it
stands), overflow is infinite, infinity times zero and NaN give the positive quiet NaN.

Stages: scales multiplied, once a beat; that product P and 3 P shortened to what rounding can see (the element's
significand is 1 or 3); the seven magnitudes 0.5 to 6 rounded; each lane picks one. The number of roundings does not
depend on the lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.dequant.loaded import LoadedContract, drawn_packets, packet_of_beat
from hw.rtl.dequant.mx_elements import check_range, check_target, rounded_codes, target_format
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.golden.floats import E2M1, E4M3, FP32, decode, encode

__all__ = ["UNIT", "Nvfp4Dequantise"]


@dataclass(frozen=True)
class Nvfp4Dequantise:
    """``lanes`` elements a beat into ``target``."""

    target: str = "bf16"
    lanes: int = 8

    def __post_init__(self) -> None:
        check_target(self.target, "target")
        check_range(self.lanes, 1, 256, "lanes")


def _streams(p: Nvfp4Dequantise) -> tuple[Stream, ...]:
    block = (Field("codes", 4, lanes=p.lanes), Field("scale", 8), Field("last", 1))
    values = (Field("values", target_format(p.target).bits, lanes=p.lanes), Field("last", 1))
    return Stream("tensor", "in", (Field("scale", 32),)), Stream("i", "in", block), Stream("o", "out", values)


def _golden(p: Nvfp4Dequantise, inputs: Streams) -> Streams:
    beats, target = inputs["i"], target_format(p.target)
    tensor = decode(inputs["tensor"]["scale"], FP32)[packet_of_beat(beats["last"])]
    with np.errstate(invalid="ignore"):  # infinity times zero
        products = decode(beats["codes"], E2M1) * (decode(beats["scale"], E4M3) * tensor)[:, None]
    return {"o": {"values": rounded_codes(products, target), "last": beats["last"]}}


def _tensor_scales(p: Nvfp4Dequantise, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """A third as of real tensors, two thirds about the ends of the target's range."""
    fmt = target_format(p.target)
    ends = np.array([fmt.minimum_exponent - fmt.mantissa_bits, fmt.minimum_exponent, fmt.maximum_exponent])
    exponents = np.where(rng.random(count) < 0.33, -10.0, rng.choice(ends, count)) + rng.normal(0.0, 4.0, count)
    return encode(np.ldexp(rng.uniform(1.0, 2.0, count), exponents.astype(np.int32)), FP32, saturate=True)


def _drawn(p: Nvfp4Dequantise, rng: np.random.Generator, beats: int) -> Streams:
    last = drawn_packets(rng, beats)
    codes, scale = rng.integers(0, 16, (beats, p.lanes)), rng.integers(1, 127, beats)
    scale = np.where(rng.random(beats) < 0.05, rng.choice([0, 1, 7, 8, 126, 127], beats), scale)
    scale |= (rng.random(beats) < 0.05).astype(np.int64) << 7
    tensor = {"scale": _tensor_scales(p, rng, int(last.sum()))}
    return {"tensor": tensor, "i": {"codes": codes, "scale": scale, "last": last}}


def _directed(p: Nvfp4Dequantise) -> list[Streams]:
    """Every element code with scales of each class, under tensor scales of each class."""
    scales = np.array([0, 1, 7, 8, 56, 126, 127, 255])
    tensors = np.array([0, 1, 1 << 31, 0x007FFFFF, 0x00800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000])
    codes = np.resize(np.arange(16), (-(-16 // p.lanes), p.lanes))
    one = np.tile(codes, (scales.size, 1)), np.repeat(scales, len(codes))
    last = np.zeros(len(one[1]), np.int64)
    last[-1] = 1
    count = tensors.size
    beats = {"codes": np.tile(one[0], (count, 1)), "scale": np.tile(one[1], count), "last": np.tile(last, count)}
    return [{"tensor": {"scale": tensors}, "i": beats}]


def _coverage(p: Nvfp4Dequantise, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats, words, fmt = inputs["i"], outputs["o"]["values"], target_format(p.target)
    magnitude, tensor = words & ((1 << (fmt.bits - 1)) - 1), inputs["tensor"]["scale"]
    lengths = np.diff(np.flatnonzero(beats["last"]), prepend=-1)
    goals = {f"code {code}": bool((beats["codes"] == code).any()) for code in range(16)}
    goals |= {f"scale {code}": bool((beats["scale"] == code).any()) for code in (0, 1, 7, 8, 126, 127)}
    return goals | {
        "negative scale": bool((beats["scale"] > 128).any()),
        "tensor scale: subnormal": bool(((tensor > 0) & (tensor < 1 << 23)).any()),
        "tensor scale: infinite": bool((tensor == 0x7F800000).any()),
        "tensor scale: NaN": bool((tensor > 0x7F800000).any()),
        "result: zero": bool((magnitude == 0).any()),
        "result: subnormal": bool(((magnitude > 0) & (magnitude < 1 << fmt.mantissa_bits)).any()),
        "result: infinite": bool((magnitude == fmt.largest_code + 1).any()),
        "result: NaN": bool((magnitude > fmt.largest_code + 1).any()),
        "packet of one beat": bool((lengths == 1).any()),
        "several tensors": len(lengths) > 1,
    }


UNIT = Unit(
    name="nvfp4-dequantise",
    family="dequant",
    summary="NVFP4 (E2M1 elements, E4M3 block scales, FP32 tensor scale) into bf16, fp16 or fp32",
    parameters=Nvfp4Dequantise,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: LoadedContract(latency_cycles=4, loads=1, loader="tensor"),
    component="hw.rtl.dequant.nvfp4_dequantise:Nvfp4DequantiseUnit",
    numerics="the exact product of three, rounded once to nearest even; overflow to infinity; one positive quiet NaN",
    variants=({"target": "fp16", "lanes": 16}, {"target": "fp32", "lanes": 3}),
    formal=ReducedWidths({"lanes": 1}, "no number takes part in the handshake"),
    synthesis=({}, {"lanes": 4}, {"lanes": 16}, {"target": "fp32"}),
)
