"""DFloat11 to BF16: exponents out of their Huffman codes, joined with the bytes of sign and mantissa.

arXiv 2504.11651; layout as `workloads.formats.golden.dfloat11`: a value's raw byte has its sign in the highest bit and
its mantissa in the others, its exponent is a code of stream ``i``. Streams ``t`` and ``i`` are those of the unit
huffman-decode, which is the front of this one; a beat of ``s`` holds the raw bytes of a beat of exponents, lane for
lane (those beyond the packet's end are ignored). The join has no registers: a word is given when both halves are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.dequant.huffman_contract import DecoderTiming, HuffmanContract
from hw.rtl.dequant.huffman_decode_model import UNIT as FRONT
from hw.rtl.dequant.huffman_decode_model import HuffmanDecode, drawn_packets, streams_of_packets
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.formats.golden.arrays import refuse
from workloads.formats.golden.dfloat11 import bf16_parts
from workloads.formats.golden.huffman import HuffmanCode, huffman_code

__all__ = ["UNIT", "Dfloat11Contract", "streams_of_weights"]


@dataclass(frozen=True)
class Dfloat11Contract(HuffmanContract):
    """The Huffman decoder's, its output held back until the raw bytes are there; these never are late in `cycles`."""

    @property
    def latency_cycles(self) -> int:
        """From the word that completes a beat's codes; from its raw bytes it is 0."""
        return super().latency_cycles

    def automaton(self, inputs: Streams) -> Automaton:
        return _Joined(DecoderTiming(self, inputs))


class _Joined:
    def __init__(self, front: DecoderTiming) -> None:
        self.front = front

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        raw_there = offered["s"] is not None
        front = self.front.step(offered, {"o": willing["o"] and raw_there})
        exponents_there = front.valid["o"]
        return Handshake(
            ready={**front.ready, "s": willing["o"] and exponents_there}, valid={"o": exponents_there and raw_there}
        )


def _streams(p: HuffmanDecode) -> tuple[Stream, ...]:
    table, words, decoded = FRONT.streams(p)
    raw = Stream("s", "in", (Field("raw", 8, lanes=p.symbols),))
    return table, words, raw, Stream("o", "out", (Field("weights", 16, lanes=p.symbols), *decoded.fields[1:]))


def _golden(p: HuffmanDecode, inputs: Streams) -> Streams:
    decoded = FRONT.golden(p, inputs)["o"]
    raw = inputs["s"]["raw"].astype(np.int64)
    refuse(len(raw) != len(decoded["count"]), f"{len(raw)} beats of bytes", f"{len(decoded['count'])}", "s")
    words = raw // 128 * 32768 + decoded["symbols"] * 128 + raw % 128
    there = np.arange(p.symbols) < decoded["count"][:, None]
    return {"o": {"weights": np.where(there, words, 0), "count": decoded["count"], "last": decoded["last"]}}


def streams_of_weights(p: HuffmanDecode, tensors: list[NDArray[np.uint16]]) -> Streams:
    """Inputs of the unit for tensors of BF16 words, each a packet with a code of its own."""
    packets, raws = [], []
    for tensor in tensors:
        exponents, raw = bf16_parts(tensor.reshape(-1))
        packets.append((huffman_code(exponents, p.longest), exponents))
        raws.append(_lanes(p, raw.astype(np.int64)))
    return {**streams_of_packets(p, packets), "s": {"raw": np.concatenate(raws)}}


def _lanes(p: HuffmanDecode, raw: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.pad(raw, (0, -len(raw) % p.symbols)).reshape(-1, p.symbols)


def _drawn(p: HuffmanDecode, rng: np.random.Generator, beats: int) -> Streams:
    return _with_raw(p, drawn_packets(p, rng, beats), rng)


def _with_raw(
    p: HuffmanDecode, packets: list[tuple[HuffmanCode, NDArray[np.int64]]], rng: np.random.Generator
) -> Streams:
    beats = sum(-(-len(symbols) // p.symbols) for _, symbols in packets)
    return {**streams_of_packets(p, packets), "s": {"raw": rng.integers(0, 256, (beats, p.symbols))}}


def _directed(p: HuffmanDecode) -> list[Streams]:
    """The corners of the Huffman decoder, with every raw byte."""
    cases = []
    for number, case in enumerate(FRONT.directed(p)):
        beats = len(FRONT.golden(p, case)["o"]["count"])
        raw = (np.arange(beats * p.symbols) + 97 * number).reshape(beats, p.symbols) % 256
        cases.append({**case, "s": {"raw": raw}})
    return cases


def _coverage(p: HuffmanDecode, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    weights = outputs["o"]["weights"]
    there = np.arange(p.symbols) < outputs["o"]["count"][:, None]
    found = weights[there]
    decoded = {"o": {"symbols": weights >> 7 & 255, "count": outputs["o"]["count"]}}
    return {
        **FRONT.coverage(p, inputs, decoded),
        "negative": bool((found >> 15 == 1).any()),
        "positive": bool((found >> 15 == 0).any()),
        "lowest mantissa": bool((found & 127 == 0).any()),
        "highest mantissa": bool((found & 127 == 127).any()),
    }


UNIT = Unit(
    name="dfloat11-decode",
    family="dequant",
    summary="DFloat11 to BF16: Huffman-coded exponents joined with bytes of sign and mantissa",
    parameters=HuffmanDecode,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: Dfloat11Contract(p.symbols, p.longest, p.word),
    component="hw.rtl.dequant.dfloat11_decode:Dfloat11DecodeUnit",
    numerics="exact: BF16 comes back bit for bit, NaN and infinity too; lanes beyond the count are zero",
    variants=(
        {"symbols": 1, "longest": 12, "entries": 32, "word": 8},
        {"symbols": 4, "longest": 16, "entries": 64, "word": 64},
    ),
    formal=ReducedWidths(
        {"symbols": 1, "longest": 2, "entries": 2, "word": 4}, "control counts bits, whatever the widths are"
    ),
    synthesis=(
        {"symbols": 2, "longest": 16, "entries": 64},
        {"symbols": 1, "longest": 16, "entries": 64},
        {"symbols": 4, "longest": 16, "entries": 64},
    ),
)
