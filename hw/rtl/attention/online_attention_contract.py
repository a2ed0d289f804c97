"""The timing of the online-softmax attention engine.

A row is one group of queries with the context it attends to. Queries are loaded first; then a key beat is accepted in
each cycle; values are accepted when the maximum of their block is known, one beat a cycle; after the last the sums are
divided and given. The next row's queries are taken as soon as the last value beat has been, so that loading and the
first scores of a row overlap the division and output of the row before; its sums wait until those have left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hw.rtl.attention.online_attention_parameters import OnlineAttention
from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Streams

__all__ = [
    "OUTPUT_STAGES",
    "SCORE_STAGES",
    "VALUE_STAGES",
    "OnlineAttentionContract",
    "block_slots",
    "division_cycles",
    "position_slots",
]

SCORE_STAGES = 6
"""Multiply, align, add, join beats, scale, place on the grid; then the weight is written to the queue."""
VALUE_STAGES = 2
"""Multiply by the weight, align; then the sum is updated."""
OUTPUT_STAGES = 4
"""Select, normalise, multiply by the reciprocal, round."""


def position_slots(p: OnlineAttention) -> int:
    """Positions that wait between scores and values: two blocks, so that one fills while the other is used."""
    return max(4, 2 * p.block)


def block_slots(p: OnlineAttention) -> int:
    """Maxima that wait. Never short: with two blocks of positions in the queue only the row's last, cut one is more."""
    return min(position_slots(p), position_slots(p) // p.block + 1)


def division_cycles(p: OnlineAttention) -> int:
    """Normalise the denominators, then a quotient bit a cycle."""
    return 1 + p.quotient_bits + 1


@dataclass(frozen=True)
class OnlineAttentionContract:
    parameters: OnlineAttention

    @property
    def latency_cycles(self) -> int:
        """From a row's last value beat to its first output beat."""
        return VALUE_STAGES + 1 + division_cycles(self.parameters) + OUTPUT_STAGES

    @property
    def interval_cycles(self) -> int:
        return 1

    @property
    def query_beats(self) -> int:
        """Beats that one group of queries takes, and its rows again at the output."""
        return self.parameters.group * self.parameters.parts

    def shape(self, inputs: Streams) -> dict[str, Any]:
        last = inputs["k"]["last"][self.parameters.parts - 1 :: self.parameters.parts]
        return {"lengths": tuple(np.diff(np.flatnonzero(last), prepend=-1).tolist())}

    def cycles(self, *, lengths: Sequence[int]) -> int:
        """First query beat accepted to last output beat given, for rows of so many positions one after another.

        Row by row: its values begin when the first block's scores are known, and are used from two cycles later, or
        from when the row before has left the sums (until then two beats are taken and wait).
        """
        p, loads = self.parameters, self.query_beats
        start = free = 0
        for length in lengths:
            beats = length * p.parts
            values = start + loads + min(p.block, length) * p.parts + SCORE_STAGES
            used = max(values + VALUE_STAGES, free)
            last = values + beats - 1 if beats <= VALUE_STAGES else used + beats - 1 - VALUE_STAGES
            start = last + 1
            free = used + beats + division_cycles(p) + loads
        return free + OUTPUT_STAGES

    def key_to_output_cycles(self, length: int) -> int:
        """First key beat accepted to last output beat given, for one row alone."""
        return self.cycles(lengths=(length,)) - self.query_beats

    def row_interval_cycles(self, length: int) -> int:
        """Between the first query beats of rows of ``length`` positions that follow one another.

        The row, and what no key or value beat overlaps: the longer of refilling (queries, first block, score stages)
        and emptying the sums (division, output).
        """
        p, beats = self.parameters, length * self.parameters.parts
        refill = self.query_beats + min(p.block, length) * p.parts + SCORE_STAGES
        empty = division_cycles(p) + self.query_beats
        if beats <= VALUE_STAGES:
            return max(refill + beats, beats + empty)
        return beats + max(refill, empty)

    def utilisation(self, length: int) -> float:
        """Share of the cycles of `key_to_output_cycles` in which each lane has a key (and, later, a value) to work
        on: useful lane-cycles / (lanes * cycles)."""
        return length * self.parameters.parts / self.key_to_output_cycles(length)

    def automaton(self, inputs: Streams) -> Automaton:
        return _Engine(self.parameters, inputs["k"]["last"].astype(bool).tolist())


class _Engine:
    """Occupancies only. A pipeline's entry is None, or whether its position is the row's last (a beat that does not
    complete a position leaves the score pipeline: it is None from the start)."""

    def __init__(self, p: OnlineAttention, last: list[bool]) -> None:
        self.p, self.last, self.loads = p, last, p.group * p.parts
        self.loaded, self.closed, self.key_part, self.value_part = 0, False, 0, 0
        self.scores: list[bool | None] = [None] * SCORE_STAGES
        self.values: list[bool | None] = [None] * VALUE_STAGES
        self.outputs = [False] * OUTPUT_STAGES
        self.filling: list[bool] = []  # positions of the block whose maximum is not known yet
        self.known: list[bool] = []
        self.dividing = self.draining = 0

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        p = self.p
        full = len(self.filling) + len(self.known) == position_slots(p)
        scores_move = self.scores[-1] is None or not full
        busy = self.dividing > 0 or self.draining > 0
        values_move = self.values[-1] is None or not busy
        ready = {
            "q": self.loaded < self.loads,
            "k": self.loaded == self.loads and not self.closed and scores_move,
            "v": bool(self.known) and values_move,
        }
        valid = {"o": self.outputs[-1]}
        taken = {name: offered[name] if ready[name] else None for name in ready}

        if willing["o"] or not self.outputs[-1]:
            self.outputs = [self.dividing == 0 and self.draining > 0, *self.outputs[:-1]]
            if self.dividing == 0 and self.draining:
                self.draining -= 1
        self.dividing = max(0, self.dividing - 1)
        if values_move:
            if self.values[-1]:
                self.dividing, self.draining = division_cycles(p), self.loads
            self.values = [None if taken["v"] is None else self._value(), *self.values[:-1]]
        if scores_move:
            if self.scores[-1] is not None:
                self.filling.append(self.scores[-1])
                if self.scores[-1] or len(self.filling) == p.block:
                    self.known, self.filling = self.known + self.filling, []
            self.scores = [None if taken["k"] is None else self._key(taken["k"]), *self.scores[:-1]]
        if taken["q"] is not None:
            self.loaded += 1
        return Handshake(ready, valid)

    def _key(self, beat: int) -> bool | None:
        self.key_part = (self.key_part + 1) % self.p.parts
        if self.key_part:
            return None
        self.closed = self.last[beat]
        return self.last[beat]

    def _value(self) -> bool:
        self.value_part = (self.value_part + 1) % self.p.parts
        if self.value_part:
            return False
        ends_row = self.known.pop(0)
        if ends_row:
            self.loaded, self.closed = 0, False
        return ends_row
