"""Canonical Huffman codes over bytes, with a limit on their length.

Lengths come from Huffman's construction; where one exceeds the limit, the counts of the rarest symbols are set to 1,
ever more of them, until none does: the rule of LeanModels/DFloat11 (4577338, dfloat11_utils.py). Codes are canonical:
by rising length, then symbol; the first is all zeros.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Integers, refuse

__all__ = ["HuffmanCode", "canonical_code", "huffman_code", "huffman_lengths", "occurrences"]


@dataclass(frozen=True)
class HuffmanCode:
    """``symbols`` in canonical order with their ``lengths`` in bits and ``words`` (the code's bits as an integer)."""

    symbols: tuple[int, ...]
    lengths: tuple[int, ...]
    words: tuple[int, ...]

    def mean_bits(self, counts: dict[int, int]) -> float:
        """Bits per symbol on average, for symbols as often as ``counts`` says."""
        by_symbol = dict(zip(self.symbols, self.lengths, strict=True))
        return sum(by_symbol[symbol] * count for symbol, count in counts.items()) / sum(counts.values())


def huffman_lengths(counts: dict[int, int]) -> dict[int, int]:
    """Code length of each symbol without a limit; a lone symbol gets one bit.

    >>> huffman_lengths({7: 5, 8: 1, 9: 2})
    {7: 1, 8: 2, 9: 2}
    """
    refuse(not counts or min(counts.values()) < 1, "a count is below 1", "counts of symbols that occur", "counts")
    lengths = dict.fromkeys(sorted(counts), 0)
    if len(counts) == 1:
        return dict.fromkeys(counts, 1)
    # The serial number makes equal counts come out in one order on every run.
    heap = [(count, serial, [symbol]) for serial, (symbol, count) in enumerate(sorted(counts.items()))]
    heapq.heapify(heap)
    serial = len(heap)
    while len(heap) > 1:
        low, _, left = heapq.heappop(heap)
        high, _, right = heapq.heappop(heap)
        for symbol in left + right:
            lengths[symbol] += 1
        heapq.heappush(heap, (low + high, serial, left + right))
        serial += 1
    return lengths


def huffman_code(symbols: ArrayLike, limit: int = 32) -> HuffmanCode:
    """The canonical code for the symbols (bytes) as often as they occur, no code longer than ``limit`` bits."""
    values, occurrences = np.unique(np.asarray(symbols, dtype=np.int64), return_counts=True)
    refuse(values.size == 0, "there are no symbols", "at least one", "symbols")
    refuse(values.size > 1 << min(limit, 30), f"{values.size} symbols", f"at most 2^{limit} for the limit", "limit")
    counts = {int(value): int(count) for value, count in zip(values, occurrences, strict=True)}
    rarest = sorted(counts, key=lambda symbol: (counts[symbol], symbol))
    lengths = huffman_lengths(counts)
    flattened = 1
    while max(lengths.values()) > limit:
        flattened += 1
        lengths = huffman_lengths({**counts, **dict.fromkeys(rarest[:flattened], 1)})
    return canonical_code(lengths)


def canonical_code(lengths: dict[int, int]) -> HuffmanCode:
    """The canonical code with these lengths; `InputError` where no prefix-free code has them (Kraft's inequality).

    >>> canonical_code({7: 1, 9: 2, 8: 2}).words
    (0, 2, 3)
    """
    refuse(not lengths or min(lengths.values()) < 1, "a length is below 1", "lengths of symbols that occur", "lengths")
    longest = max(lengths.values())
    taken = sum(1 << (longest - length) for length in lengths.values())
    refuse(taken > 1 << longest, "the lengths are too short", "lengths whose sum of 2^-length is at most 1", "lengths")
    order = sorted(lengths, key=lambda symbol: (lengths[symbol], symbol))
    words: list[int] = []
    word, previous = 0, lengths[order[0]]
    for symbol in order:
        word <<= lengths[symbol] - previous
        previous = lengths[symbol]
        words.append(word)
        word += 1
    return HuffmanCode(tuple(order), tuple(lengths[symbol] for symbol in order), tuple(words))


def occurrences(symbols: Integers) -> dict[int, int]:
    """How often each symbol occurs."""
    values, counts = np.unique(symbols, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}
