"""The cycle contract of a queue: what goes in comes out one cycle later at the earliest, up to so many beats inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Streams, beat_count

__all__ = ["QueueContract"]


@dataclass(frozen=True)
class QueueContract:
    """Ready whenever fewer than ``depth`` beats are inside, valid whenever one is: neither side waits for the other."""

    depth: int
    source: str = "i"
    sink: str = "o"

    @property
    def latency_cycles(self) -> int:
        return 1

    @property
    def interval_cycles(self) -> int:
        """A queue of one beat accepts the next when that one has left."""
        return 1 if self.depth > 1 else 2

    def shape(self, inputs: Streams) -> dict[str, int]:
        return {"beats": beat_count(inputs[self.source])}

    def cycles(self, *, beats: int) -> int:
        return (beats - 1) * self.interval_cycles + 2

    def automaton(self, inputs: Streams) -> Automaton:
        return _Level(self)


class _Level:
    def __init__(self, contract: QueueContract) -> None:
        self.contract, self.level = contract, 0

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        c = self.contract
        ready, valid = self.level < c.depth, self.level > 0
        self.level += (ready and offered[c.source] is not None) - (valid and willing[c.sink])
        return Handshake(ready={c.source: ready}, valid={c.sink: valid})
