"""The sequences of a replica that decode: every decode step makes each of them a token longer."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush

from simulator.serving.requests_state import RequestsState
from simulator.serving.step import StepBatch, StepTime

__all__ = ["Decoding", "steps_until"]

Entry = tuple[int, int, int, int]
"""The decode step at which something is due, rank, request, how often the request had begun to decode."""


class Decoding:
    """``members`` decode; ``context`` tokens are read in the next step, its new ones included; ``steps`` are behind.

    Beginning and ending cost the logarithm of their number; a step costs nothing for each.
    """

    def __init__(self, state: RequestsState) -> None:
        self.state = state
        self.members: set[int] = set()
        self.context = 0
        self.asked = 0  # tokens that room was asked for
        self.steps = 0
        self._ends: list[Entry] = []
        self._dues: list[Entry] = []

    def begin(self, number: int) -> None:
        """A request whose tokens but the last one generated are in the cache decodes from now on."""
        state = self.state
        context = state.prompt[number] + state.generated[number]
        state.base[number] = context - self.steps
        state.began[number] += 1
        self.members.add(number)
        self.context += context
        self.asked += state.asked[number]
        end = self.steps + state.output[number] - state.generated[number]
        heappush(self._ends, (end, state.rank[number], number, state.began[number]))
        self.note_due(number)

    def leave(self, number: int) -> None:
        """The request stops decoding, with the tokens it has got."""
        self.state.generated[number] = self.generated(number)
        self.context -= self.state.base[number] + self.steps
        self.asked -= self.state.asked[number]
        self.members.discard(number)

    def generated(self, number: int) -> int:
        """Tokens a request, decoding or not, has got so far."""
        if number not in self.members:
            return self.state.generated[number]
        return self.state.base[number] + self.steps - self.state.prompt[number]

    def first_end(self) -> int:
        """The step before which the first of the members has all its tokens."""
        while self._stale(self._ends[0]):
            heappop(self._ends)
        return self._ends[0][0]

    def advance(self, steps: int) -> list[int]:
        """``steps`` steps are done; returns the requests that have all their tokens now, which stop decoding."""
        self.steps += steps
        self.context += steps * len(self.members)
        ended = []
        while self._ends and self._ends[0][0] <= self.steps:
            entry = heappop(self._ends)
            if not self._stale(entry):
                self.leave(entry[2])
                ended.append(entry[2])
        return ended

    def note_due(self, number: int) -> None:
        """Note when the request will need more room than it has, unless it ends before."""
        state = self.state
        if state.room[number] < state.longest(number):
            due = max(state.room[number] - state.base[number] + 1, self.steps)
            heappush(self._dues, (due, state.rank[number], number, state.began[number]))

    def next_due(self, last: int) -> tuple[int, int] | None:
        """The first step before ``last`` for which room is missing, and the request that needs it."""
        dues = self._dues
        while dues and dues[0][0] < last:
            if not self._stale(dues[0]):
                return dues[0][0], dues[0][2]
            heappop(dues)
        return None

    def drop_due(self) -> None:
        """What `next_due` told has been seen to."""
        heappop(self._dues)

    def _stale(self, entry: Entry) -> bool:
        return self.state.began[entry[2]] != entry[3] or entry[2] not in self.members


def steps_until(
    run: Callable[[StepBatch, int], StepTime], batch: StepBatch, most: int, gap_s: float, step_s: float
) -> tuple[int, StepTime]:
    """The fewest decode steps that take ``gap_s``, or ``most``, and their time.

    Bisection between guesses that take every step to be as long as those around it; ``step_s`` is the first guess.
    """
    if most == 1 or gap_s <= 0:
        return 1, run(batch, 1)
    if gap_s == math.inf:
        return most, run(batch, most)
    short, short_s = 0, 0.0  # takes less than the gap
    enough: tuple[int, StepTime] | None = None
    while True:
        guess = short + math.ceil((gap_s - short_s) / step_s) if step_s > 0 else most
        guess = min(max(guess, short + 1), most if enough is None else enough[0] - 1)
        time = run(batch, guess)
        if time.seconds >= gap_s:
            enough = guess, time
        elif guess == most:
            return guess, time
        else:
            short, short_s = guess, time.seconds
        if enough is not None and enough[0] == short + 1:
            return enough
        step_s = (enough[1].seconds - short_s) / (enough[0] - short) if enough else short_s / short
