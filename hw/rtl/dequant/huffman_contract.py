"""Timing of the Huffman decoder. It depends on the data: on the lengths of the codes and nothing else of them.

A packet's table takes a cycle a row. From then on words are taken while fewer bits wait than symbols * longest and a
word have together, and a beat is decoded in every cycle in which all its codes are there (of the packet's last, when
the last word is). Two registers stand behind the decoding: places in the table, symbols. The next table is taken once
no place is pending.

A beat of S symbols of b bits on average needs S b bits, and at most a word of W bits comes a cycle, so no more than
min(S, W / b) symbols leave a cycle; `HuffmanContract.most_symbols_per_cycle` is that bound, `cycles` the exact time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.dequant.huffman_packets import Packet, packets_of
from hw.rtl.ports import Streams

__all__ = ["DecoderTiming", "HuffmanContract"]


@dataclass(frozen=True)
class HuffmanContract:
    """``symbols`` a beat, codes of at most ``longest`` bits, words of ``word`` bits."""

    symbols: int
    longest: int
    word: int

    @property
    def latency_cycles(self) -> int:
        return 3

    @property
    def interval_cycles(self) -> int:
        return 1

    @property
    def enough(self) -> int:
        """Bits with which no word is taken."""
        return self.symbols * self.longest + self.word

    def most_symbols_per_cycle(self, mean_bits: float) -> float:
        """No more symbols than this leave a cycle, for codes of ``mean_bits`` on average."""
        return min(float(self.symbols), self.word / mean_bits)

    def shape(self, inputs: Streams) -> dict[str, Any]:
        packets = packets_of(self.word, inputs)
        return {"packets": tuple((packet.rows, tuple(packet.lengths)) for packet in packets)}

    def cycles(self, *, packets: tuple[tuple[int, tuple[int, ...]], ...]) -> int:
        """``packets``: rows of the table and lengths of the codes, of each. Between a packet's last decoding and the
        first row of the next table lies one cycle; behind the last packet's, the two registers."""
        return sum(rows + self._last_decoding(lengths) + 2 for rows, lengths in packets) + 1

    def _last_decoding(self, lengths: tuple[int, ...]) -> int:
        """Cycle in which a packet's last beat is decoded, its first word being taken in cycle 0: the least times under
        which a beat follows the one before it and its own last word, and a word the beats that must make room for it.
        """
        total = np.cumsum(lengths)
        ends = [0, *total[self.symbols - 1 :: self.symbols].tolist()]
        if len(lengths) % self.symbols:
            ends.append(int(total[-1]))
        decoded = [-1]
        taken: list[int] = []
        freed = 0
        for end in ends[1:]:
            while len(taken) * self.word < end:
                while len(taken) * self.word - ends[freed] >= self.enough:
                    freed += 1
                room = decoded[freed] + 1 if freed else 0
                taken.append(max(room, taken[-1] + 1 if taken else 0))
            decoded.append(max(decoded[-1] + 1, taken[-1] + 1))
        return decoded[-1]

    def automaton(self, inputs: Streams) -> Automaton:
        return DecoderTiming(self, inputs)


class DecoderTiming:
    """The decoder cycle by cycle."""

    def __init__(self, contract: HuffmanContract, inputs: Streams) -> None:
        self.of, self.inputs, self.enough = contract, inputs, contract.enough
        self.packets: list[Packet] = packets_of(contract.word, inputs)
        self.ends = [np.cumsum(packet.lengths).tolist() for packet in self.packets]
        self.packet = 0
        self.placed = self.given = False
        self._begin()

    def _begin(self) -> None:
        self.loading, self.complete = True, False
        self.came = self.left = self.done = 0

    def _next(self) -> int:
        """How many symbols can be decoded in this cycle."""
        if self.loading:
            return 0
        ends = self.ends[self.packet]
        until = self.done + self.of.symbols
        if until <= len(ends):
            return self.of.symbols if ends[until - 1] <= self.came else 0
        return len(ends) - self.done if self.complete else 0

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        valid = self.given
        row_ready = self.loading and not self.placed
        waiting = self.came - self.left
        word_ready = not self.loading and not self.complete and waiting < self.enough
        count = self._next()
        ends_packet = False
        if willing["o"] or not valid:
            self.given, self.placed = self.placed, count > 0
            if count:
                self.done += count
                self.left = self.ends[self.packet][self.done - 1]
                ends_packet = self.complete and self.done == len(self.ends[self.packet])
        word = offered["i"]
        if word_ready and word is not None:
            self.came += self.of.word - int(self.inputs["i"]["unused"][word])
            self.complete = bool(self.inputs["i"]["last"][word])
        row = offered["t"]
        if row_ready and row is not None and self.inputs["t"]["last"][row]:
            self.loading = False
        if ends_packet:
            self.packet += 1
            self._begin()
        return Handshake(ready={"t": row_ready, "i": word_ready}, valid={"o": valid})
