"""DFloat11: BF16 without loss in about 11 bits, by Huffman codes for the exponents.

arXiv 2504.11651; layout and decoder after LeanModels/DFloat11 at 4577338 (dfloat11_utils.py, decode.cu), written
afresh. Sign and mantissa of a value share a raw byte (sign highest). Exponents form one bit stream, codes back to
back and most significant bit first. The stream is cut into chunks of 8 bytes, one per thread of the decoder: a 5-bit
gap per chunk says where in it the first code begins, and one 32-bit number per block of 512 chunks how many values
precede it. Codes have at most 32 bits, so a gap is at most 31.

The decoder looks codes up a byte at a time in tables of 256: an entry below 240 is the exponent, one from 240 on
points to table 256 - entry for the next byte, so exponents from 240 on (magnitudes from 2^113, infinity, NaN) are
refused, as are more than 16 pointers; a last table holds the lengths. `decode_dfloat11` runs all chunks in step as
the parallel kernel does: one pass counts, a prefix sum places, a second pass writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workloads.formats.golden.arrays import Integers, refuse
from workloads.formats.golden.huffman import HuffmanCode, huffman_code

__all__ = [
    "CHUNKS_PER_BLOCK",
    "CHUNK_BYTES",
    "DFloat11",
    "bf16_parts",
    "decode_dfloat11",
    "encode_dfloat11",
    "lookup_tables",
]

CHUNK_BYTES = 8
CHUNKS_PER_BLOCK = 512
_CHUNK_BITS = 8 * CHUNK_BYTES
_FIRST_POINTER = 240
_LONGEST = 32

Words16 = NDArray[np.uint16]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class DFloat11:
    """``signs`` and ``stream`` are bytes, ``gaps`` one number per chunk, ``starts`` one per block of 512 chunks.

    ``tables`` (levels + 1, 256) are the decoder's; ``shape`` is that of the values.
    """

    signs: Bytes
    stream: Bytes
    gaps: Integers
    starts: Integers
    tables: Integers
    stream_bits: int
    shape: tuple[int, ...]

    @property
    def storage_bits(self) -> int:
        """Bits of everything stored: raw bytes, padded stream, gaps, block starts and tables."""
        side = self.gaps.size * 5 + self.starts.size * 32 + self.tables.size * 8
        return 8 * (self.signs.size + self.stream.size) + side


def bf16_parts(words: ArrayLike) -> tuple[Integers, Bytes]:
    """Exponent fields, and bytes of sign and mantissa, of BF16 words."""
    values = np.asarray(words, dtype=np.int64)
    refuse((values < 0) | (values > 0xFFFF), "a word has more than 16 bits", "BF16 words", "words")
    return values >> 7 & 0xFF, (values >> 8 & 0x80 | values & 0x7F).astype(np.uint8)


def lookup_tables(code: HuffmanCode) -> Integers:
    """Tables (levels + 1, 256): entry below 240 a symbol, else pointer to table 256 - entry; the last are lengths."""
    refuse(max(code.symbols) >= _FIRST_POINTER, "an exponent field is 240 or more", "magnitudes below 2^113", "words")
    prefixes: dict[str, int] = {"": 0}
    texts = [format(word, f"0{length}b") for word, length in zip(code.words, code.lengths, strict=True)]
    for text in texts:
        for cut in range(8, len(text), 8):
            prefixes.setdefault(text[:cut], len(prefixes))
    refuse(len(prefixes) > 17, f"{len(prefixes)} prefix tables", "at most 17", "words")
    tables = np.zeros((len(prefixes) + 1, 256), dtype=np.int64)
    for prefix, index in prefixes.items():
        if prefix:
            tables[prefixes[prefix[:-8]], int(prefix[-8:], 2)] = 256 - index
    for text, symbol, length in zip(texts, code.symbols, code.lengths, strict=True):
        cut = (len(text) - 1) // 8 * 8
        rest = text[cut:]
        first = int(rest, 2) << (8 - len(rest))
        tables[prefixes[text[:cut]], first : first + (1 << (8 - len(rest)))] = symbol
        tables[-1, symbol] = length
    return tables


def encode_dfloat11(words: ArrayLike) -> DFloat11:
    """BF16 ``words`` (16-bit integers, any shape) compressed; `InputError` for exponent fields of 240 and above."""
    array = np.asarray(words)
    exponents, signs = bf16_parts(array.reshape(-1))
    code = huffman_code(exponents, _LONGEST)
    tables = lookup_tables(code)
    word_of, length_of = np.zeros(256, dtype=np.int64), np.zeros(256, dtype=np.int64)
    word_of[list(code.symbols)], length_of[list(code.symbols)] = code.words, code.lengths
    lengths = length_of[exponents]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    total = int(ends[-1])
    bits = np.zeros(-(-total // _CHUNK_BITS) * _CHUNK_BITS, dtype=np.uint8)
    for place in range(int(lengths.max())):
        here = lengths > place
        bits[starts[here] + place] = word_of[exponents[here]] >> (lengths[here] - 1 - place) & 1
    chunk_starts = np.arange(bits.size // _CHUNK_BITS) * _CHUNK_BITS
    first = np.searchsorted(starts, chunk_starts)
    # Where no code begins in the last chunk, its gap leads to the end, so that its thread finds nothing.
    gaps = np.append(starts, total)[first] - chunk_starts
    return DFloat11(
        signs, np.packbits(bits), gaps, first[::CHUNKS_PER_BLOCK].astype(np.int64), tables, total, array.shape
    )


def decode_dfloat11(tensor: DFloat11) -> Words16:
    """The BF16 words, bit for bit, by the two-pass parallel decoder."""
    symbols, counts = _decode_chunks(tensor)
    before = np.cumsum(counts) - counts
    exponents = np.empty(tensor.signs.size, dtype=np.int64)
    for turn, (active, found) in enumerate(symbols):
        exponents[before[active] + turn] = found
    signs = tensor.signs.astype(np.int64)
    words = (signs & 0x80) << 8 | exponents << 7 | signs & 0x7F
    return words.astype(np.uint16).reshape(tensor.shape)


def _decode_chunks(tensor: DFloat11) -> tuple[list[tuple[Integers, Integers]], Integers]:
    """For each turn, the chunks that still decode and what they find; and how many values each chunk starts."""
    stream = np.concatenate([tensor.stream, np.zeros(CHUNK_BYTES, dtype=np.uint8)]).astype(np.int64)
    lengths = tensor.tables[-1]
    position = tensor.gaps + np.arange(tensor.gaps.size) * _CHUNK_BITS
    end = np.minimum((np.arange(tensor.gaps.size) + 1) * _CHUNK_BITS, tensor.stream_bits)
    counts = np.zeros(tensor.gaps.size, dtype=np.int64)
    turns: list[tuple[Integers, Integers]] = []
    active = np.flatnonzero(position < end)
    while active.size:
        symbol = tensor.tables[0, _byte_at(stream, position[active])]
        for level in range(1, _LONGEST // 8):
            deeper = symbol >= _FIRST_POINTER
            byte = _byte_at(stream, position[active] + 8 * level)
            symbol = np.where(deeper, tensor.tables[np.where(deeper, 256 - symbol, 0), byte], symbol)
        turns.append((active, symbol))
        counts[active] += 1
        position[active] += lengths[symbol]
        active = active[position[active] < end[active]]
    return turns, counts


def _byte_at(stream: Integers, bit: Integers) -> Integers:
    place, shift = bit >> 3, bit & 7
    byte: Integers = (stream[place] << 8 | stream[place + 1]) >> (8 - shift) & 0xFF
    return byte
