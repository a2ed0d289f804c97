"""One run of a unit: what its neighbours offer and take, cycle by cycle, and what was seen at its ports.

The same `Neighbours` stand around the automaton of the contract and around the RTL in every simulator, so that what
was seen can be compared cycle by cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import CycleContract
from hw.rtl.ports import Streams

__all__ = ["Job", "Neighbours", "Packed", "Trace", "play_contract"]

_DRAIN = 16
"""Cycles watched after the last expected beat: nothing more may come."""


@dataclass(frozen=True)
class Job:
    """``offers`` and ``takes`` are patterns over cycles, used again from their start when they end: whether a source
    begins to offer its next beat (once offered it stays), and whether a consumer is ready.

    In cycle ``reset_at`` reset is high; all begins anew after it. The run is given up after ``limit`` cycles.
    """

    name: str
    inputs: Streams
    offers: Mapping[str, NDArray[np.bool_]]
    takes: Mapping[str, NDArray[np.bool_]]
    reset_at: int | None = None
    limit: int = 1_000_000


@dataclass(frozen=True)
class Packed:
    """A job in packed words, as a simulator needs it: ``words`` of the inputs, how many beats are ``expected``."""

    words: Mapping[str, list[int]]
    offers: Mapping[str, list[bool]]
    takes: Mapping[str, list[bool]]
    expected: Mapping[str, int]
    reset_at: int | None
    limit: int


@dataclass
class Trace:
    """What was seen: ``accepted`` and ``given`` are the cycles of the transfers of each stream since the last reset.

    ``outputs`` are the words given; ``before_reset`` those given, and ``accepted_before_reset`` when others were
    accepted, before a reset. ``handshakes`` is one integer a cycle, a bit for each ready of an input and valid of an
    output; ``faults`` say what broke the rules of streams.
    """

    cycles: int = 0
    accepted: dict[str, list[int]] = field(default_factory=dict)
    given: dict[str, list[int]] = field(default_factory=dict)
    outputs: dict[str, list[int]] = field(default_factory=dict)
    before_reset: dict[str, list[int]] = field(default_factory=dict)
    accepted_before_reset: dict[str, list[int]] = field(default_factory=dict)
    handshakes: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Neighbours:
    """Sources and consumers of one job, and the monitor between them and the unit."""

    def __init__(self, job: Packed) -> None:
        self.job, self.trace, self.cycle = job, Trace(), 0
        self.counts = {name: len(words) for name, words in job.words.items()}
        self._begin()

    def _begin(self) -> None:
        self.next = dict.fromkeys(self.counts, 0)
        self.offering = dict.fromkeys(self.counts, False)
        self.held: dict[str, int | None] = dict.fromkeys(self.job.expected)
        self.trace.before_reset, self.trace.outputs = self.trace.outputs, {name: [] for name in self.job.expected}
        self.trace.accepted_before_reset = self.trace.accepted
        self.trace.accepted = {name: [] for name in self.counts}
        self.trace.given = {name: [] for name in self.job.expected}
        self.quiet = 0

    @property
    def done(self) -> bool:
        return self.quiet > _DRAIN or self.cycle >= self.job.limit

    @property
    def resets(self) -> bool:
        """Whether reset is high in this cycle."""
        return self.cycle == self.job.reset_at

    def offered(self) -> dict[str, int | None]:
        """Number of the beat that each source offers in this cycle."""
        numbers: dict[str, int | None] = {}
        for name, count in self.counts.items():
            pattern = self.job.offers[name]
            if not self.offering[name] and self.next[name] < count and pattern[self.cycle % len(pattern)]:
                self.offering[name] = True
            numbers[name] = self.next[name] if self.offering[name] else None
        return numbers

    def willing(self) -> dict[str, bool]:
        """Whether each consumer is ready in this cycle."""
        return {name: pattern[self.cycle % len(pattern)] for name, pattern in self.job.takes.items()}

    def seen(
        self,
        willing: Mapping[str, bool],
        ready: Mapping[str, bool],
        valid: Mapping[str, bool],
        payload: Mapping[str, int] | None = None,
    ) -> None:
        """End of this cycle; ``payload`` of the valid outputs, None where only time is simulated."""
        bits = 0
        for at, flag in enumerate((*ready.values(), *valid.values())):
            bits |= flag << at
        self.trace.handshakes.append(bits)
        if self.resets:
            self.cycle += 1
            self._begin()
            return
        for name, taken in ready.items():
            if taken and self.offering[name]:
                self.trace.accepted[name].append(self.cycle)
                self.offering[name] = False
                self.next[name] += 1
        for name, given in valid.items():
            word = payload[name] if given and payload is not None else 0
            if self.held[name] is not None and (not given or word != self.held[name]):
                self.trace.faults.append(f"cycle {self.cycle}: {name} changed while it waited to be taken")
            self.held[name] = word if given and not willing[name] else None
            if given and willing[name]:
                self.trace.given[name].append(self.cycle)
                self.trace.outputs[name].append(word)
        self.cycle += 1
        self.trace.cycles = self.cycle
        whole = all(self.next[n] == c for n, c in self.counts.items()) and all(
            len(self.trace.outputs[n]) >= c for n, c in self.job.expected.items()
        )
        self.quiet = self.quiet + 1 if whole else 0


def play_contract(contract: CycleContract, inputs: Streams, job: Packed) -> Trace:
    """The trace that ``contract`` promises for ``job``: times only, all words zero."""
    around = Neighbours(job)
    unit = contract.automaton(inputs)
    while not around.done:
        willing = around.willing()
        handshake = unit.step(around.offered(), willing)
        if around.resets:
            unit = contract.automaton(inputs)
        around.seen(willing, handshake.ready, handshake.valid)
    return around.trace
