"""The KV memory as a replica uses it: requests by number, and an account of what they asked for and must wait for."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.serving.decoding import Decoding
from simulator.serving.kv.memory import Grant, KvMemory
from simulator.serving.requests_state import RequestsState

__all__ = ["Room"]


class Room:
    """Room of the requests of one replica in ``memory``; ``wait_s`` must pass before the next step can begin.

    Tokens of a sequence that lie in other tiers are asked for when it is granted room: in between they do not change.
    ``moved`` says whether the last grant changed them.
    """

    def __init__(self, memory: KvMemory, state: RequestsState, decoding: Decoding) -> None:
        self.memory, self.state, self.decoding = memory, state, decoding
        self.wait_s = 0.0
        self.moved = False
        self._asked = 0
        self._away: dict[int, tuple[tuple[str, int], ...]] = {}

    def take(self, number: int) -> Grant | None:
        """Room for a request that waits, new or moved out; raises `InfeasibleError` where it would not fit alone."""
        memory, state = self.memory, self.state
        if state.parked[number]:
            grant = memory.unpark(number)
        else:
            state.asked[number] = state.target[number]
            grant = memory.admit(number, state.target[number], state.longest(number), state.blocks[number])
        if grant is not None:
            self._asked += state.asked[number]
            self._granted(number, grant)
        return grant

    def extend(self, number: int, tokens: int) -> Grant | None:
        """Room for ``tokens`` tokens in all of a request that decodes."""
        grant = self.memory.extend(number, tokens)
        if grant is not None:
            more = tokens - self.state.asked[number]
            self.state.asked[number] = tokens
            self._asked += more
            self.decoding.asked += more
            self._granted(number, grant)
        return grant

    def free(self, number: int) -> None:
        """The request needs its room no more."""
        self.memory.free(number)
        self._left(number)

    def park(self, number: int) -> bool:
        """Move the request out; False where there is no place to move it to."""
        seconds = self.memory.park(number)
        if seconds is None:
            return False
        self.wait_s += seconds
        self._left(number)
        return True

    def waited(self) -> float:
        """What must be waited for now, once."""
        wait_s, self.wait_s = self.wait_s, 0.0
        return wait_s

    def away(self, prefilling: Sequence[int], decoding: bool) -> tuple[tuple[str, int], ...]:
        """Tokens by tier that a step reads from elsewhere."""
        if not self._away:
            return ()
        found: dict[str, int] = {}
        for number, tiers in self._away.items():
            if (decoding and number in self.decoding.members) or number in prefilling:
                for tier, tokens in tiers:
                    found[tier] = found.get(tier, 0) + tokens
        return tuple(sorted(found.items()))

    def used_and_held_bytes(self, stepping: bool) -> tuple[float, float]:
        """Bytes taken, and of these what keys and values of running requests are, in a step that decodes or not.

        The memory knows what was asked for last. Sequences that decode have grown within their room since, or have
        not yet filled it. Prompts count from when they are given room.
        """
        used = self.memory.used_bytes
        if not self._asked:
            return used, 0.0
        grown = self.decoding.context - self.decoding.asked
        if not stepping:
            grown -= len(self.decoding.members)
        return used, min(used, self.memory.held_bytes * (1 + grown / self._asked))

    def _granted(self, number: int, grant: Grant) -> None:
        self.state.room[number] = grant.tokens
        self.wait_s += grant.wait_s
        away = self.memory.away_tokens(number)
        self.moved = bool(away) and away != self._away.get(number)
        if away:
            self._away[number] = away

    def _left(self, number: int) -> None:
        self._asked -= self.state.asked[number]
        self._away.pop(number, None)
