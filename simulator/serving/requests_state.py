"""What a replica knows about each of its requests: one list for each fact, by the request's number."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["RequestsState"]


class RequestsState:
    """Facts handed in, and how far each request has got.

    ``generated`` is as of when the sequence last began to decode; while it decodes, its context in decode step ``d`` of
    the replica is ``base + d``. ``done`` of ``target`` tokens are prefilled; of ``room`` tokens, ``asked`` were asked
    for last. ``token_s`` is when a sequence that gave way had got its last token. ``began`` counts how often it began
    to decode, so that what was noted for an earlier time can be told.
    """

    def __init__(self) -> None:
        self.arrival_s: list[float] = []
        self.prompt: list[int] = []
        self.output: list[int] = []
        self.rank: list[int] = []
        self.blocks: list[Sequence[int]] = []
        self.prefilled: list[bool] = []
        self.parked: list[bool] = []
        self.generated: list[int] = []
        self.done: list[int] = []
        self.target: list[int] = []
        self.base: list[int] = []
        self.began: list[int] = []
        self.room: list[int] = []
        self.asked: list[int] = []
        self.start_s: list[float] = []
        self.first_s: list[float] = []
        self.last_s: list[float] = []
        self.token_s: list[float] = []
        self.preempted: list[int] = []
        self.reused: list[int] = []
        self.rejected: list[bool] = []

    def add(
        self, arrival_s: float, prompt: int, output: int, rank: int, blocks: Sequence[int], first_s: float | None
    ) -> int:
        """A new request and its number; it brings its prompt's keys where it had its first token at ``first_s``."""
        self.arrival_s.append(arrival_s)
        self.prompt.append(prompt)
        self.output.append(output)
        self.rank.append(rank)
        self.blocks.append(blocks)
        self.prefilled.append(first_s is not None)
        self.parked.append(False)
        self.generated.append(0 if first_s is None else 1)
        self.done.append(0 if first_s is None else prompt)
        self.target.append(prompt)
        self.base.append(0)
        self.began.append(0)
        self.room.append(0)
        self.asked.append(0)
        self.start_s.append(math.nan)
        self.first_s.append(math.nan if first_s is None else first_s)
        self.last_s.append(math.nan)
        self.token_s.append(math.nan if first_s is None else first_s)
        self.preempted.append(0)
        self.reused.append(0)
        self.rejected.append(False)
        return len(self.arrival_s) - 1

    def longest(self, number: int) -> int:
        """Tokens whose keys and values a request needs at most: the last token's are never read."""
        return self.prompt[number] + self.output[number] - 1
