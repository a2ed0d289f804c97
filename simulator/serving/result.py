"""What a serving simulation found: a column for each time of the requests, a timeline, and totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["ServingResult", "Timeline"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Timeline:
    """State of one replica from each ``time_s`` on until the next one.

    ``running`` counts sequences that have room, ``waiting`` those that arrived and have none; ``used_bytes`` and
    ``held_bytes`` are the KV memory's, ``capacity_bytes`` its room.
    """

    time_s: Floats
    running: Integers
    waiting: Integers
    used_bytes: Floats
    held_bytes: Floats
    capacity_bytes: float
    end_s: float

    def mean(self, column: str) -> float:
        """Mean of a column over time, from the first sample to the end."""
        lengths = np.diff(np.append(self.time_s, self.end_s))
        total = float(lengths.sum())
        return float((getattr(self, column) * lengths).sum()) / total if total > 0 else 0.0

    def peak(self, column: str) -> float:
        """Largest value of a column."""
        return float(getattr(self, column).max()) if len(self.time_s) else 0.0


@dataclass(frozen=True, eq=False)
class ServingResult:
    """Times of requests, in the order of the trace; NaN where one has not got so far.

    ``start_s`` is when a request first got room, ``first_s`` when its first token was there, ``last_s`` when its last
    one was. ``produced`` counts tokens a request has got; ``rejected`` marks those that would not fit even alone.
    ``parts_s`` is where all replicas' time went (what steps consist of, ``kv wait``, ``idle``), ``steps`` counts steps
    of the model and ``events`` what was simulated one by one. ``computed_tokens`` passed through the model,
    ``reused_tokens`` of prompts did not have to. ``gap_tokens`` tokens came ``gap_s`` after the one before them in
    their sequence. ``wall_seconds`` is this computer's time.
    """

    name: str
    arrival_s: Floats
    prompt_tokens: Integers
    output_tokens: Integers
    start_s: Floats
    first_s: Floats
    last_s: Floats
    produced: Integers
    preempted: Integers
    rejected: NDArray[np.bool_]
    energy_j: float
    parts_s: Mapping[str, float]
    steps: int
    events: int
    computed_tokens: int
    reused_tokens: int
    gap_s: Floats
    gap_tokens: Integers
    timelines: tuple[Timeline, ...]
    wall_seconds: float
    interrupted: bool = False
    replica: Integers = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def completed(self) -> NDArray[np.bool_]:
        """Requests that have got all their tokens."""
        return ~np.isnan(self.last_s)

    @property
    def makespan_s(self) -> float:
        """From the start of the clock to the end of what has been simulated."""
        return max((timeline.end_s for timeline in self.timelines), default=0.0)

    @property
    def preemptions(self) -> int:
        """How often a sequence had to give way."""
        return int(self.preempted.sum())

    @property
    def ttft_s(self) -> Floats:
        """Time to first token of every request that has one: from arrival."""
        return (self.first_s - self.arrival_s)[~np.isnan(self.first_s)]

    @property
    def tpot_s(self) -> Floats:
        """Time per output token after the first, of every completed request of two tokens and more."""
        some = self.completed & (self.output_tokens > 1)
        return (self.last_s - self.first_s)[some] / (self.output_tokens[some] - 1)

    @property
    def e2e_s(self) -> Floats:
        """From arrival to the last token, of every completed request."""
        return (self.last_s - self.arrival_s)[self.completed]

    @property
    def normalised_s(self) -> Floats:
        """End to end over the number of output tokens, of every completed request (Orca, vLLM)."""
        return self.e2e_s / self.output_tokens[self.completed]
