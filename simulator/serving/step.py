"""One step of a serving engine: what it runs, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["StepBatch", "StepCost", "StepTime"]


@dataclass(frozen=True)
class StepBatch:
    """What one step of the model runs together, over all devices of one replica.

    ``chunks`` lists pieces of prompts as (new tokens, tokens whose keys and values are there already), ``ends`` how
    many of them end their prompt and so yield a token. ``decodes`` sequences yield one token each; ``decode_context``
    sums their contexts, the new tokens included. ``context_away`` says how many of these context tokens, and of those
    before the chunks, lie in other tiers than the one that computes. Of the contexts of the decodes the first
    ``shared_context`` tokens are the same ones, kept once, and read once for all of them (RelayAttention).
    """

    chunks: tuple[tuple[int, int], ...] = ()
    ends: int = 0
    decodes: int = 0
    decode_context: int = 0
    context_away: tuple[tuple[str, int], ...] = ()
    shared_context: int = 0

    @property
    def tokens(self) -> int:
        """New tokens that pass through the model."""
        return sum(new for new, _ in self.chunks) + self.decodes


@dataclass(frozen=True)
class StepTime:
    """``parts_s`` adds up to ``seconds``; energy is of all devices of the replica."""

    seconds: float
    energy_j: float
    parts_s: Mapping[str, float] = field(default_factory=dict)


class StepCost(Protocol):
    """What steps cost on one replica; the same batch always costs the same."""

    def step(self, batch: StepBatch) -> StepTime:
        """One step."""
        ...

    def decode_run(self, batch: StepBatch, steps: int) -> StepTime:
        """``steps`` steps of ``batch.decodes`` sequences, each a token longer every step, from ``batch`` on, summed."""
        ...
