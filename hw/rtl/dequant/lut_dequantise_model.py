"""4-bit codes looked up in a loaded table and multiplied by the scale of their block: NF4, or any sixteen values.

The stream ``table`` brings the sixteen entries, that of code 0 first; then beats of ``lanes`` codes with their scale
are worked off until one says ``last``, and the next table is loaded. A result is the exact product of entry and scale,
rounded once to nearest even; subnormals and the sign of zeros are kept, overflow is infinite, infinity times zero and
NaN give the positive quiet NaN. With entries and scales in fp32 this is NF4 as QLoRA defines it (arXiv 2305.14314,
appendix E), without a rounding of the table; entries in fp16 cost about a fifth of the multiplier (11 x 11 bits against
24 x 24) and move the table by at most 2^-11 of each value.

Stages: looked up; multiplied; rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.dequant.loaded import LoadedContract, drawn_packets, packet_of_beat
from hw.rtl.dequant.mx_elements import check_range, check_target, rounded_codes, target_format
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.golden.floats import FloatFormat, decode, encode
from workloads.formats.golden.normal_float import NF4_VALUES

__all__ = ["ENTRIES", "UNIT", "LutDequantise"]

ENTRIES = 16


@dataclass(frozen=True)
class LutDequantise:
    """``lanes`` codes a beat; entries in ``entry``, scales in ``scale``, results in ``target``."""

    entry: str = "fp16"
    scale: str = "fp16"
    target: str = "bf16"
    lanes: int = 4

    def __post_init__(self) -> None:
        for field in ("entry", "scale", "target"):
            check_target(getattr(self, field), field)
        check_range(self.lanes, 1, 256, "lanes")


def _streams(p: LutDequantise) -> tuple[Stream, ...]:
    entry, scale, target = (target_format(name).bits for name in (p.entry, p.scale, p.target))
    block = (Field("codes", 4, lanes=p.lanes), Field("scale", scale), Field("last", 1))
    values = (Field("values", target, lanes=p.lanes), Field("last", 1))
    return Stream("table", "in", (Field("entry", entry),)), Stream("i", "in", block), Stream("o", "out", values)


def _golden(p: LutDequantise, inputs: Streams) -> Streams:
    beats, target = inputs["i"], target_format(p.target)
    tables = decode(inputs["table"]["entry"], target_format(p.entry)).reshape(-1, ENTRIES)
    looked_up = tables[packet_of_beat(beats["last"])[:, None], beats["codes"]]
    with np.errstate(invalid="ignore"):  # infinity times zero
        products = looked_up * decode(beats["scale"], target_format(p.scale))[:, None]
    return {"o": {"values": rounded_codes(products, target), "last": beats["last"]}}


def _any_codes(rng: np.random.Generator, fmt: FloatFormat, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Codes with every class among them: zeros, subnormals, NaN and infinities, the largest."""
    codes = rng.integers(0, 1 << fmt.bits, shape)
    small = codes & ((1 << fmt.mantissa_bits) - 1)
    nan, largest = fmt.nan_code or 0, fmt.largest_code
    for value, share in ((small, 0.1), (0, 0.05), (largest, 0.05), (largest + 1, 0.02), (nan, 0.02)):
        codes = np.where(rng.random(shape) < share, value, codes)
    return codes ^ (rng.integers(0, 2, shape) << (fmt.bits - 1))


def _nf4(p: LutDequantise) -> NDArray[np.int64]:
    return encode(NF4_VALUES, target_format(p.entry))


def _drawn(p: LutDequantise, rng: np.random.Generator, beats: int) -> Streams:
    last = drawn_packets(rng, beats)
    scale_format, entry_format = target_format(p.scale), target_format(p.entry)
    tables = _any_codes(rng, entry_format, (int(last.sum()), ENTRIES))
    tables[rng.random(len(tables)) < 0.5] = _nf4(p)
    typical = encode(np.exp(rng.normal(0.0, 4.0, beats)), scale_format)
    scale = np.where(rng.random(beats) < 0.5, typical, _any_codes(rng, scale_format, (beats,)))
    codes = rng.integers(0, ENTRIES, (beats, p.lanes))
    return {"table": {"entry": tables.reshape(-1)}, "i": {"codes": codes, "scale": scale, "last": last}}


def _directed(p: LutDequantise) -> list[Streams]:
    """NF4 with every code under scales of each class, among them the largest and the smallest."""
    fmt = target_format(p.scale)
    scales = np.array([0, 1, 1 << fmt.mantissa_bits, encode(1.0, fmt), fmt.largest_code, fmt.largest_code + 1])
    codes = np.resize(np.arange(ENTRIES), (-(-ENTRIES // p.lanes), p.lanes))
    last = np.zeros(scales.size * len(codes), np.int64)
    last[-1] = 1
    beats = {"codes": np.tile(codes, (scales.size, 1)), "scale": np.repeat(scales, len(codes)), "last": last}
    return [{"table": {"entry": _nf4(p)}, "i": beats}]


def _coverage(p: LutDequantise, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats, words, fmt = inputs["i"], outputs["o"]["values"], target_format(p.target)
    magnitude = words & ((1 << (fmt.bits - 1)) - 1)
    entry_format, scale_format = target_format(p.entry), target_format(p.scale)
    scale = beats["scale"] & ((1 << (scale_format.bits - 1)) - 1)
    lengths = np.diff(np.flatnonzero(beats["last"]), prepend=-1)
    goals = {f"code {code}": bool((beats["codes"] == code).any()) for code in range(ENTRIES)}
    factors = (entry_format, scale_format)
    if sum(f.minimum_exponent - f.mantissa_bits for f in factors) < fmt.minimum_exponent:
        goals["result: subnormal"] = bool(((magnitude > 0) & (magnitude < 1 << fmt.mantissa_bits)).any())
    return goals | {
        "scale: zero": bool((scale == 0).any()),
        "scale: subnormal": bool(((scale > 0) & (scale < 1 << scale_format.mantissa_bits)).any()),
        "scale: NaN": bool((scale > scale_format.largest_code + 1).any()),
        "result: zero": bool((magnitude == 0).any()),
        "result: infinite": bool((magnitude == fmt.largest_code + 1).any()),
        "result: NaN": bool((magnitude > fmt.largest_code + 1).any()),
        "packet of one beat": bool((lengths == 1).any()),
        "several tables": len(lengths) > 1,
    }


UNIT = Unit(
    name="lut-dequantise",
    family="dequant",
    summary="4-bit codes through a loaded table of sixteen floats, times their block's scale",
    parameters=LutDequantise,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: LoadedContract(latency_cycles=3, loads=ENTRIES, loader="table"),
    component="hw.rtl.dequant.lut_dequantise:LutDequantiseUnit",
    numerics="the exact product, rounded once to nearest even; overflow to infinity; one positive quiet NaN",
    variants=(
        {"entry": "fp32", "scale": "fp32", "lanes": 2},
        {"entry": "bf16", "scale": "bf16", "target": "fp16", "lanes": 3},
        {"entry": "fp16", "scale": "fp32", "target": "fp32", "lanes": 1},
    ),
    formal=ReducedWidths({"entry": "bf16", "scale": "bf16", "lanes": 1}, "no number takes part in the handshake"),
    synthesis=({}, {"lanes": 8}, {"entry": "bf16", "scale": "bf16"}, {"entry": "fp32", "scale": "fp32"}),
)
