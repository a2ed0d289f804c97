"""Decoder of canonical Huffman codes, several symbols a cycle: the exponents of DFloat11 (arXiv 2504.11651).

A packet is a table (stream ``t``) and the words of the code stream (``i``), the first bit highest; symbols come out on
``o``, ``symbols`` of them a beat, only the packet's last beat holding fewer. ``unused`` says how many of the last
word's lowest bits belong to no code. A packet has at least one symbol; what is no sequence of codes must not be fed.

Canonical codes of one length are consecutive numbers, so a table needs per length L only ``limit``, the first number
of L bits that begins longer codes, and ``offset``, the place of the length's first symbol less its code, modulo 2^place
bits: a window's code has L bits if L is the least for which its first L bits are below the limit, and its symbol lies
at offset + code. Row r of a table carries limit and offset of length r + 1 and the r-th symbol in canonical order
(`table_rows`); there are max(longest, number of symbols) rows, the last marked.

A word is taken whenever fewer bits wait than the longest beat and a word have together. So while no beat is longer
than a word, none waits for bits that could have been there: after a word was refused, a beat's bits remain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.dequant.huffman_contract import HuffmanContract
from hw.rtl.dequant.huffman_packets import Packet, packets_of
from hw.rtl.ports import Beats, Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError
from workloads.formats.golden.dfloat11 import bf16_parts
from workloads.formats.golden.floats import BF16, encode
from workloads.formats.golden.huffman import HuffmanCode, canonical_code, huffman_code

__all__ = ["UNIT", "HuffmanDecode", "code_words", "drawn_packets", "streams_of_packets", "table_rows"]


@dataclass(frozen=True)
class HuffmanDecode:
    """``symbols`` decoded a cycle from codes of at most ``longest`` bits for at most ``entries`` symbols (bytes), out
    of words of ``word`` bits."""

    symbols: int = 2
    longest: int = 32
    entries: int = 256
    word: int = 32

    def __post_init__(self) -> None:
        for name, low, high in (("symbols", 1, 4), ("longest", 2, 32), ("entries", 2, 256), ("word", 4, 64)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)

    @property
    def place_bits(self) -> int:
        """Bits of a symbol's place in the table."""
        return (self.entries - 1).bit_length()

    @property
    def needed(self) -> int:
        """Bits with which a whole beat can surely be decoded."""
        return self.symbols * self.longest

    @property
    def enough(self) -> int:
        """Bits with which no word is taken."""
        return self.needed + self.word

    @property
    def buffer_bits(self) -> int:
        return self.enough - 1 + self.word


def _streams(p: HuffmanDecode) -> tuple[Stream, ...]:
    row = (Field("symbol", 8), Field("limit", p.longest + 1), Field("offset", p.place_bits), Field("last", 1))
    words = (Field("word", p.word), Field("unused", (p.word - 1).bit_length()), Field("last", 1))
    decoded = (Field("symbols", 8, lanes=p.symbols), Field("count", p.symbols.bit_length()), Field("last", 1))
    return Stream("t", "in", row), Stream("i", "in", words), Stream("o", "out", decoded)


def table_rows(p: HuffmanDecode, code: HuffmanCode) -> Beats:
    """The beats of stream ``t`` that load ``code``; `InputError` where its codes or symbols are too long or many."""
    if max(code.lengths) > p.longest:
        raise InputError(f"a code of {max(code.lengths)} bits", f"at most {p.longest}", "longest")
    if len(code.symbols) > p.entries:
        raise InputError(f"{len(code.symbols)} symbols", f"at most {p.entries}", "entries")
    rows = max(p.longest, len(code.symbols))
    symbol, limit, offset, last = (np.zeros(rows, np.int64) for _ in range(4))
    symbol[: len(code.symbols)] = code.symbols
    last[-1] = 1
    before, first = 0, 0
    for length in range(1, p.longest + 1):
        count = code.lengths.count(length)
        limit[length - 1] = first + count
        offset[length - 1] = (before - first) % (1 << p.place_bits)
        before, first = before + count, (first + count) << 1
    return {"symbol": symbol, "limit": limit, "offset": offset, "last": last}


def code_words(p: HuffmanDecode, code: HuffmanCode, symbols: NDArray[np.int64]) -> Beats:
    """The beats of stream ``i`` that hold ``symbols``, at least one."""
    book = {s: format(w, f"0{n}b") for s, w, n in zip(code.symbols, code.words, code.lengths, strict=True)}
    text = "".join(book[symbol] for symbol in symbols.tolist())
    count = -(-len(text) // p.word)
    filled = text.ljust(count * p.word, "0")
    numbers = [int(filled[at : at + p.word], 2) for at in range(0, len(filled), p.word)]
    last, unused = np.zeros(count, np.int64), np.zeros(count, np.int64)
    last[-1], unused[-1] = 1, len(filled) - len(text)
    return {"word": np.array(numbers, np.uint64).view(np.int64), "unused": unused, "last": last}


def streams_of_packets(p: HuffmanDecode, packets: list[tuple[HuffmanCode, NDArray[np.int64]]]) -> Streams:
    """Inputs of the unit: each code with the symbols it encodes."""
    tables = [table_rows(p, code) for code, _ in packets]
    words = [code_words(p, code, symbols) for code, symbols in packets]
    return {"t": _joined(tables), "i": _joined(words)}


def _joined(parts: list[Beats]) -> Beats:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _beats(p: HuffmanDecode, packet: Packet) -> Beats:
    symbols = np.array(packet.symbols, np.int64)
    count = -(-len(symbols) // p.symbols)
    lanes = np.pad(symbols, (0, count * p.symbols - len(symbols))).reshape(count, p.symbols)
    counts, last = np.full(count, p.symbols), np.zeros(count, np.int64)
    counts[-1], last[-1] = len(symbols) - (count - 1) * p.symbols, 1
    return {"symbols": lanes, "count": counts, "last": last}


def _golden(p: HuffmanDecode, inputs: Streams) -> Streams:
    return {"o": _joined([_beats(p, packet) for packet in packets_of(p.word, inputs)])}


def _code(p: HuffmanDecode, rng: np.random.Generator, kind: int) -> tuple[HuffmanCode, NDArray[np.float64]]:
    """A code of some kind, and with which probability each of its symbols, in canonical order, is to be drawn."""
    if kind == 0:  # exponents of normal weights
        weights = rng.standard_normal(4000) * 2.0 ** -float(rng.integers(1, 12))
        exponents = bf16_parts(encode(weights, BF16))[0]
        values, counts = np.unique(exponents, return_counts=True)
        kept = np.argsort(-counts)[: p.entries]
        code = huffman_code(np.repeat(values[kept], counts[kept]), p.longest)
        return code, np.exp2(-np.array(code.lengths, np.float64))
    if kind == 1:  # a code for every length up to the longest, all as often as each other
        steps = min(p.longest, p.entries - 1)
        names = rng.permutation(256)[: steps + 1]
        lengths = np.append(np.arange(1, steps + 1), steps)
        code = canonical_code(dict(zip(names.tolist(), lengths.tolist(), strict=True)))
        return code, np.ones(steps + 1)
    if kind == 2:  # one symbol alone
        return huffman_code([int(rng.integers(256))]), np.ones(1)
    if kind == 3:  # as many symbols as there may be, or as there can be
        size = min(p.entries, 1 << p.longest)
        code = huffman_code(rng.permutation(256)[:size], p.longest)
        return code, np.ones(size)
    drawn = rng.integers(0, 256, int(rng.integers(2, p.entries + 1))) ** 2 >> 8
    kept_symbols = np.unique(drawn)[: min(p.entries, 1 << p.longest)]
    code = huffman_code(np.concatenate([drawn[np.isin(drawn, kept_symbols)], kept_symbols]), p.longest)
    return code, np.exp2(-np.array(code.lengths, np.float64))


def drawn_packets(
    p: HuffmanDecode, rng: np.random.Generator, beats: int
) -> list[tuple[HuffmanCode, NDArray[np.int64]]]:
    """Packets of about ``beats`` beats of symbols in all, with codes of every kind."""
    packets = []
    while beats > 0:
        size = (1, beats, int(rng.integers(1, beats + 1)))[rng.integers(3)]
        code, odds = _code(p, rng, int(rng.integers(5)))
        count = max(1, size * p.symbols - int(rng.integers(p.symbols)))
        packets.append((code, rng.choice(np.array(code.symbols), count, p=odds / odds.sum())))
        beats -= size
    return packets


def _drawn(p: HuffmanDecode, rng: np.random.Generator, beats: int) -> Streams:
    return streams_of_packets(p, drawn_packets(p, rng, beats))


def _directed(p: HuffmanDecode) -> list[Streams]:
    """The longest codes one after another, the shortest, one of each number of symbols, words filled to the bit."""
    rng = np.random.default_rng(0)
    stairs, _ = _code(p, rng, 1)
    shortest, longest = stairs.symbols[0], stairs.symbols[-1]
    alternating = [symbol for pair in zip(stairs.symbols, reversed(stairs.symbols), strict=True) for symbol in pair]
    texts = ([longest] * (3 * p.symbols + 1), [shortest] * p.word, alternating, list(stairs.symbols))
    cases = [[(stairs, np.array(text))] for text in texts]
    lone, _ = _code(p, rng, 2)
    cases.append([(lone, np.repeat(lone.symbols[0], count)) for count in range(1, p.symbols + 2)])
    full, _ = _code(p, rng, 3)
    cases.append([(full, np.array(full.symbols)[:64])])
    return [streams_of_packets(p, case) for case in cases]


def _coverage(p: HuffmanDecode, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    packets = packets_of(p.word, inputs)
    counts = outputs["o"]["count"]
    lengths = [length for packet in packets for length in packet.lengths]
    unused = inputs["i"]["unused"][inputs["i"]["last"] == 1]
    longest = min(p.longest, p.entries - 1)
    return {
        "code of one bit": 1 in lengths,
        "longest code": longest in lengths,
        "a whole beat of longest codes": any(
            packet.lengths[at : at + p.symbols] == [longest] * p.symbols
            for packet in packets
            for at in range(0, len(packet.lengths), p.symbols)
        ),
        "code for one symbol": any(packet.entries == 1 for packet in packets),
        "code for as many symbols as are held": any(
            packet.entries == min(p.entries, 1 << p.longest) for packet in packets
        ),
        "packet of one symbol": any(len(packet.symbols) == 1 for packet in packets),
        "several packets": len(packets) > 1,
        "last word filled": bool((unused == 0).any()),
        "last word not filled": bool((unused > 0).any()),
        **{f"beat of {n}": bool((counts == n).any()) for n in range(1, p.symbols + 1)},
    }


UNIT = Unit(
    name="huffman-decode",
    family="dequant",
    summary="canonical Huffman codes to symbols, several a cycle; the table is loaded by a stream",
    parameters=HuffmanDecode,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: HuffmanContract(p.symbols, p.longest, p.word),
    component="hw.rtl.dequant.huffman_decode:HuffmanDecodeUnit",
    numerics="exact: symbols are bytes, nothing is rounded; lanes beyond the count are zero",
    variants=(
        {"symbols": 1, "longest": 12, "entries": 32, "word": 8},
        {"symbols": 4, "longest": 16, "entries": 64, "word": 64},
        {"symbols": 3, "longest": 5, "entries": 20, "word": 16},
    ),
    formal=ReducedWidths(
        {"symbols": 1, "longest": 2, "entries": 2, "word": 4}, "control counts bits, whatever the widths are"
    ),
    synthesis=(
        {"symbols": 2, "longest": 16, "entries": 64},
        {"symbols": 1, "longest": 16, "entries": 64},
        {"symbols": 4, "longest": 16, "entries": 64},
        {"symbols": 2, "longest": 32, "entries": 64},
        {"symbols": 2, "longest": 16, "entries": 32},
    ),
)
