"""Cycle contracts: what a unit promises about time, in a form that the RTL is held to and the simulator reads.

A contract says three things, each checked against the next. `CycleContract.cycles` is a closed form: cycles from the
first beat accepted to the last beat given, both counted, when nothing idles or blocks. Its automaton says in every
single cycle which inputs the unit accepts and which outputs it offers, whatever the neighbours do; and the RTL does the
same as the automaton in every cycle. Neither reads data, unless the timing of the unit depends on data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from hw.rtl.ports import Streams, beat_count

__all__ = ["Automaton", "CycleContract", "Handshake", "PipelineContract"]


@dataclass(frozen=True)
class Handshake:
    """One cycle at the ports: which inputs are ready, which outputs are valid."""

    ready: Mapping[str, bool]
    valid: Mapping[str, bool]


class Automaton(Protocol):
    """The unit's timing, cycle by cycle, out of reset."""

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        """One cycle: ``offered`` names, for each input, the number of the beat on offer (None: not valid);
        ``willing``, for each output, whether its consumer is ready."""
        ...


class CycleContract(Protocol):
    """``latency_cycles``: from the cycle in which the beat that completes an output is accepted to the cycle in which
    that output is first valid. ``interval_cycles``: between accepted beats, at best."""

    @property
    def latency_cycles(self) -> int: ...

    @property
    def interval_cycles(self) -> int: ...

    def shape(self, inputs: Streams) -> dict[str, Any]:
        """What of ``inputs`` the closed form depends on, as the keywords of `cycles`."""
        ...

    def cycles(self, *shape: Any, **named: Any) -> int:
        """First beat accepted to last beat given, inclusive, with neighbours always valid and ready; takes `shape`'s
        keywords."""
        ...

    def automaton(self, inputs: Streams) -> Automaton:
        """The timing of a unit that will be offered ``inputs``."""
        ...


@dataclass(frozen=True)
class PipelineContract:
    """A pipeline of ``latency_cycles`` register stages that all move together unless its last holds a beat not taken.

    With ``closes``, the name of a one-bit field, only beats that have it set give an output (they close a sum).
    """

    latency_cycles: int
    source: str = "i"
    sink: str = "o"
    closes: str | None = None

    @property
    def interval_cycles(self) -> int:
        return 1

    def shape(self, inputs: Streams) -> dict[str, int]:
        return {"beats": beat_count(inputs[self.source])}

    def cycles(self, *, beats: int) -> int:
        """``beats`` accepted in consecutive cycles, the last of which gives an output."""
        return beats + self.latency_cycles

    def automaton(self, inputs: Streams) -> Automaton:
        gives = None if self.closes is None else inputs[self.source][self.closes]
        return _Stages(self.latency_cycles, self.source, self.sink, gives)


class _Stages:
    def __init__(self, stages: int, source: str, sink: str, gives: NDArray[Any] | None) -> None:
        self.full = [False] * stages
        self.source, self.sink, self.gives = source, sink, gives

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        valid = self.full[-1]
        moves = willing[self.sink] or not valid
        if moves:
            beat = offered[self.source]
            enters = beat is not None and (self.gives is None or bool(self.gives[beat]))
            self.full = [enters, *self.full[:-1]]
        return Handshake(ready={self.source: moves}, valid={self.sink: valid})
