"""GGUF blocks to floats: the bytes of a file in, float32 weights out, bit for bit what ggml computes.

Blocks of Q4_0, Q8_0 or Q4_K (`workloads.formats.golden.gguf`) come as they lie in a file, ``bytes`` a beat: a header
of half-precision scales (and of 6-bit ones in Q4_K), which gives no output, then codes. A beat of codes gives a beat of
weights at once, without waiting for the block: the low nibbles of its bytes in the order of the bytes, then their high
nibbles; `places` says which of the block's weights these are.

Numerics: a significand has 11 bits. Q4_0 and Q8_0: d times a code of 4 or 8 bits, 15 or 19 bits: exact in float32.
Q4_K: d sc q has 11 + 6 + 4 = 21 bits and dmin m 17, so ggml's products in float32 are exact and only its difference is
rounded, to nearest even. Both are multiples of 2^-24, the smallest half-precision number, and below 2^26 and 2^22: the
difference is taken in fixed point of 51 bits and rounded once, which is the same. Infinities and NaN in d and dmin act
as in IEEE 754, NaN being the positive quiet one; a difference of exactly zero is +0 unless it is -0 - 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.rtl.contract import Automaton, PipelineContract
from hw.rtl.ports import Field, Stream, Streams, beat_count
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError, unknown_name
from workloads.formats.arith.floating import canonical_nan
from workloads.formats.golden.arrays import Floats
from workloads.formats.golden.floats import FP16, FP32, encode
from workloads.formats.golden.gguf import decode_q4_0, decode_q4_k, decode_q8_0

__all__ = ["UNIT", "GgufContract", "GgufDequantise", "beats_of_blocks", "places"]


@dataclass(frozen=True)
class _Layout:
    """``header`` and ``codes`` in bytes; ``half``: of how many bytes the low nibbles come before their high ones, 0
    where a byte is one code; ``stages`` of registers."""

    header: int
    codes: int
    half: int
    stages: int
    decode: Callable[[ArrayLike], Floats]


_LAYOUTS = {
    "q4_0": _Layout(2, 16, 16, 3, decode_q4_0),
    "q8_0": _Layout(2, 32, 0, 3, decode_q8_0),
    "q4_k": _Layout(16, 128, 32, 5, decode_q4_k),
}


@dataclass(frozen=True)
class GgufDequantise:
    """``bytes`` a beat of blocks in ``encoding``: q4_0, q8_0 or q4_k."""

    encoding: str = "q4_k"
    bytes: int = 2

    def __post_init__(self) -> None:
        if self.encoding not in _LAYOUTS:
            raise unknown_name("encoding", self.encoding, _LAYOUTS, field="encoding")
        if self.bytes < 1 or self.layout.header % self.bytes:
            raise InputError(f"{self.bytes} bytes a beat", f"a divisor of the header's {self.layout.header}", "bytes")

    @property
    def layout(self) -> _Layout:
        return _LAYOUTS[self.encoding]

    @property
    def header_beats(self) -> int:
        return self.layout.header // self.bytes

    @property
    def block_beats(self) -> int:
        """Beats of a block, its header included."""
        return (self.layout.header + self.layout.codes) // self.bytes

    @property
    def lanes(self) -> int:
        """Weights a beat of codes gives."""
        return self.bytes * (2 if self.layout.half else 1)


def places(p: GgufDequantise) -> NDArray[np.int64]:
    """Which weight of the block each lane of each beat of codes is: (beats, lanes)."""
    number = np.arange(p.layout.codes).reshape(-1, p.bytes)
    half = p.layout.half
    if not half:
        return number
    low = number // half * 2 * half + number % half
    return np.concatenate([low, low + half], axis=1)


@dataclass(frozen=True)
class GgufContract:
    """A pipeline in which beats of the header end."""

    header_beats: int
    block_beats: int
    latency_cycles: int

    @property
    def interval_cycles(self) -> int:
        return 1

    def shape(self, inputs: Streams) -> dict[str, int]:
        return {"beats": beat_count(inputs["i"])}

    def cycles(self, *, beats: int) -> int:
        """``beats`` of whole blocks, one a cycle."""
        return beats + self.latency_cycles

    def automaton(self, inputs: Streams) -> Automaton:
        codes = np.arange(beat_count(inputs["i"])) % self.block_beats >= self.header_beats
        return PipelineContract(self.latency_cycles, closes="codes").automaton({"i": {"codes": codes}})


def _streams(p: GgufDequantise) -> tuple[Stream, ...]:
    return (
        Stream("i", "in", (Field("bytes", 8, lanes=p.bytes),)),
        Stream("o", "out", (Field("weights", 32, lanes=p.lanes),)),
    )


def beats_of_blocks(p: GgufDequantise, blocks: NDArray[np.uint8]) -> Streams:
    """Inputs of the unit for blocks (n, bytes of a block)."""
    return {"i": {"bytes": blocks.reshape(-1, p.bytes).astype(np.int64)}}


def _blocks(p: GgufDequantise, inputs: Streams) -> NDArray[np.uint8]:
    return inputs["i"]["bytes"].astype(np.uint8).reshape(-1, p.layout.header + p.layout.codes)


def _golden(p: GgufDequantise, inputs: Streams) -> Streams:
    blocks = _blocks(p, inputs)
    with np.errstate(invalid="ignore"):
        values = p.layout.decode(blocks).reshape(len(blocks), -1)[:, places(p)]
    # The sign of a NaN that arises is the processor's affair.
    codes = np.where(np.isnan(values), canonical_nan(FP32), encode(values, FP32))
    return {"o": {"weights": codes.reshape(-1, p.lanes)}}


_CORNERS = (
    (0x0000, 0x0000),  # zeros of either sign
    (0x8000, 0x0000),
    (0x0001, 0x83FF),  # subnormals
    (0x0400, 0x3C00),
    (0xBC01, 0x7BFF),
    (0x7BFF, 0xFBFF),  # the largest, whose difference is a sum
    (0x7C00, 0x7C00),  # infinities, of which equal ones make NaN
    (0x7C00, 0xFC00),
    (0xFC00, 0x3C00),
    (0x3C00, 0x7C00),
    (0x7E00, 0x3C00),  # NaN
    (0x3C00, 0xFC01),
    (0x3C00, 0x3C00),  # one and one: differences of zero
)
"""FP16 codes of d and dmin."""


def _with_scales(p: GgufDequantise, blocks: NDArray[np.uint8], scales: NDArray[np.int64]) -> NDArray[np.uint8]:
    """``blocks`` under ``scales`` (n, 2) of d and dmin, FP16 codes; only Q4_K has the latter."""
    count = 2 if p.encoding == "q4_k" else 1
    blocks[:, : 2 * count] = np.ascontiguousarray(scales[:, :count]).astype("<u2").view(np.uint8)
    return blocks


def _drawn(p: GgufDequantise, rng: np.random.Generator, beats: int) -> Streams:
    count = max(1, beats // p.block_beats)
    blocks = rng.integers(0, 256, (count, p.layout.header + p.layout.codes), dtype=np.uint8)
    usual = encode(rng.standard_normal((count, 2)) * np.exp2(rng.integers(-22, 14, (count, 1))), FP16)
    odd = rng.choice(np.array(_CORNERS), count)
    return beats_of_blocks(p, _with_scales(p, blocks, np.where(rng.random((count, 1)) < 0.3, odd, usual)))


def _directed(p: GgufDequantise) -> list[Streams]:
    """All bytes under each kind of scale; in Q4_K scales and minima of 0, 1 and 63, and differences of zero."""
    count = max(256 // p.layout.codes, len(_CORNERS))
    blocks = np.zeros((count, p.layout.header + p.layout.codes), np.uint8)
    blocks[:, p.layout.header :] = np.arange(count * p.layout.codes).reshape(count, -1) % 256
    blocks[:, 4 : p.layout.header] = np.random.default_rng(0).choice([0, 1, 63, 255], (count, 1))
    blocks[12, 4 : p.layout.header] = 5  # 1 sc q - 1 m, which is zero now and then
    scales = np.array([_CORNERS[n % len(_CORNERS)] for n in range(count)])
    return [beats_of_blocks(p, _with_scales(p, blocks, scales)), beats_of_blocks(p, blocks[1:2])]


def _coverage(p: GgufDequantise, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    blocks, found = _blocks(p, inputs), outputs["o"]["weights"]
    d = np.ascontiguousarray(blocks[:, :2]).view("<u2").astype(np.int64)
    magnitude, codes = d & 0x7FFF, blocks[:, p.layout.header :]
    bins = {
        "zero scale": bool((magnitude == 0).any()),
        "subnormal scale": bool(((magnitude > 0) & (magnitude < 0x400)).any()),
        "negative scale": bool((d > 0x8000).any()),
        "infinite scale": bool((magnitude == 0x7C00).any()),
        "NaN scale": bool((magnitude > 0x7C00).any()),
        "weight +0": bool((found == 0).any()),
        "weight -0": bool((found == 1 << 31).any()),
        "infinite weight": bool(((found & 0x7FFFFFFF) == 0x7F800000).any()),
        "NaN weight": bool((found == canonical_nan(FP32)).any()),
        "lowest byte": bool((codes == 0).any()),
        "highest byte": bool((codes == 255).any()),
        "several blocks": len(blocks) > 1,
    }
    if p.encoding == "q4_k":
        middle = blocks[:, 4:16]
        bins["upper bits of scales"] = bool((middle[:, :4] >> 6).any())
        bins["upper bits of minima"] = bool((middle[:, 4:8] >> 6).any())
        bins["last place in use"] = bool((found & 1).any())
    return bins


def _contract(p: GgufDequantise) -> GgufContract:
    return GgufContract(p.header_beats, p.block_beats, p.layout.stages)


UNIT = Unit(
    name="gguf-dequantise",
    family="dequant",
    summary="GGUF blocks (Q4_0, Q8_0, Q4_K) as they lie in a file to float32",
    parameters=GgufDequantise,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=_contract,
    component="hw.rtl.dequant.gguf_dequantise:GgufDequantiseUnit",
    numerics="bit for bit ggml's float32: exact products, one difference rounded to nearest even; NaN positive, quiet",
    variants=({"encoding": "q4_0"}, {"encoding": "q8_0"}, {"encoding": "q4_0", "bytes": 1}, {"bytes": 4}),
    formal=ReducedWidths({"encoding": "q4_0", "bytes": 2}, "control counts beats, whatever they hold"),
    synthesis=({}, {"encoding": "q4_0"}, {"encoding": "q8_0"}, {"bytes": 4}, {"bytes": 1}),
)
