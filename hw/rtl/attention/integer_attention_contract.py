"""Timing of the integer attention row: two queues and a divider between the stream of keys and the output."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Streams

__all__ = ["AttentionRowContract"]

SCORE_STAGES = 5
"""Registers from a key's last beat to its weight's place in the queue of weights."""


@dataclass(frozen=True)
class AttentionRowContract:
    """A vector has ``beats`` beats. Two queries are held: one in use, one for the next row. A key is accepted if fewer
    than ``positions`` have been accepted whose values have not; a value, if the weight of its position is known and,
    in a row's last position, if fewer than ``waiting`` beats of accumulators wait for the reciprocal, which takes
    ``digits`` cycles."""

    beats: int
    digits: int

    @property
    def positions(self) -> int:
        """Enough that keys never wait for values that never wait."""
        return 3 + -(-SCORE_STAGES // self.beats)

    @property
    def waiting(self) -> int:
        """Enough for rows of one position: what comes while the reciprocal is under way."""
        return self.beats + self.digits + 4

    @property
    def latency_cycles(self) -> int:
        """From a row's last key beat: score and sum, divider, scale, queue of reciprocals, product, output."""
        return SCORE_STAGES + self.digits + 5

    @property
    def interval_cycles(self) -> int:
        return 1

    def shape(self, inputs: Streams) -> dict[str, int]:
        return {"positions": len(inputs["k"]["last"]) // self.beats}

    def cycles(self, *, positions: int) -> int:
        """The first query goes before; then a key beat a cycle, whatever the rows' lengths; the last row's output."""
        return self.beats * (positions + 2) + self.latency_cycles - 1

    def automaton(self, inputs: Streams) -> Automaton:
        return _Row(self, inputs["k"]["last"][self.beats - 1 :: self.beats])


class _Delay:
    """What is put in comes out ``cycles`` steps later."""

    def __init__(self, cycles: int) -> None:
        self.line: deque[int] = deque([0] * cycles)

    def step(self, put: int) -> int:
        self.line.appendleft(put)
        return self.line.pop()


class _Row:
    def __init__(self, contract: AttentionRowContract, last: NDArray[Any]) -> None:
        self.contract, self.last = contract, [bool(flag) for flag in last]
        self.query_beat = self.queries = 0
        self.key_beat = self.key = self.open_positions = 0
        self.value_beat = self.value = self.weights = self.kept = 0
        self.sums = self.reciprocals = self.output_beat = 0
        self.product = self.valid = False
        self.scoring = _Delay(SCORE_STAGES)
        self.dividing = _Delay(SCORE_STAGES + 2 + contract.digits)
        self.adding = _Delay(1)

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        beats = self.contract.beats
        ready_key = self.queries > 0 and (self.key_beat > 0 or self.open_positions < self.contract.positions)
        ready_value = self.weights > 0 and (not self.last[self.value] or self.kept < self.contract.waiting)
        shown = Handshake(ready={"q": self.queries < 2, "k": ready_key, "v": ready_value}, valid={"o": self.valid})
        takes = False
        if willing["o"] or not self.valid:
            takes = self.reciprocals > 0 and self.sums > 0
            self.valid, self.product = self.product, takes
        took_last = takes and self.output_beat == beats - 1
        self.output_beat = (self.output_beat + takes) % beats

        value_in = offered["v"] is not None and ready_value
        ends_row = value_in and self.last[self.value]
        value_ends = value_in and self.value_beat == beats - 1
        self.value_beat = (self.value_beat + value_in) % beats
        self.value += value_ends

        key_in = offered["k"] is not None and ready_key
        key_begins, key_ends = key_in and self.key_beat == 0, key_in and self.key_beat == beats - 1
        row_ends = key_ends and self.last[self.key]
        self.key_beat = (self.key_beat + key_in) % beats
        self.key += key_ends

        query_in = offered["q"] is not None and self.queries < 2
        query_ends = query_in and self.query_beat == beats - 1
        self.query_beat = (self.query_beat + query_in) % beats
        self.queries += query_ends - row_ends
        self.open_positions += key_begins - value_ends
        self.weights += self.scoring.step(key_ends) - value_ends
        self.kept += ends_row - takes
        self.sums += self.adding.step(ends_row) - takes
        self.reciprocals += self.dividing.step(row_ends) - took_last
        return shown
