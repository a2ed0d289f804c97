"""What the streams of a Huffman decoder mean, read the slow way: one bit after another, with a dictionary of codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.ports import Beats, Streams
from workloads.formats.golden.arrays import refuse

__all__ = ["Packet", "packets_of"]


@dataclass(frozen=True)
class Packet:
    """``symbols`` and the ``lengths`` of their codes; how many ``rows`` and symbols (``entries``) the table has."""

    symbols: list[int]
    lengths: list[int]
    rows: int
    entries: int


def packets_of(word: int, inputs: Streams) -> list[Packet]:
    """The packets of streams ``t`` and ``i`` with words of ``word`` bits; `InputError` where bits are no codes."""
    tables, texts = _cut(inputs["t"]), _cut(inputs["i"])
    refuse(len(tables) != len(texts), f"{len(tables)} tables and {len(texts)} packets", "as many", "t")
    return [_packet(word, table, text) for table, text in zip(tables, texts, strict=True)]


def _cut(beats: Beats) -> list[Beats]:
    ends = np.flatnonzero(beats["last"]) + 1
    return [
        {name: values[start:end] for name, values in beats.items()}
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]


def _book(table: Beats) -> dict[str, int]:
    """Symbol of each code, the code as text: codes of one length follow each other, and a longer length begins where
    the shorter one ended."""
    book: dict[str, int] = {}
    code = 0
    for length, limit in enumerate(table["limit"].tolist(), 1):
        code *= 2
        while code < limit and len(book) < len(table["symbol"]):
            book[format(code, f"0{length}b")] = int(table["symbol"][len(book)])
            code += 1
    return book


def _packet(word: int, table: Beats, text: Beats) -> Packet:
    book = _book(table)
    bits = "".join(format(number & ((1 << word) - 1), f"0{word}b") for number in text["word"].tolist())
    bits = bits[: len(bits) - int(text["unused"][-1])]
    symbols, lengths, begin = [], [], 0
    for end in range(1, len(bits) + 1):
        symbol = book.get(bits[begin:end])
        if symbol is not None:
            symbols.append(symbol)
            lengths.append(end - begin)
            begin = end
    refuse(begin != len(bits), "a packet ends within a code", "a sequence of codes", "i")
    return Packet(symbols, lengths, len(table["last"]), len(book))
