"""What a serving engine asks of its KV memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Grant", "KvMemory"]


@dataclass(frozen=True)
class Grant:
    """Room given to a sequence.

    It may hold ``tokens`` tokens in all before it asks again. ``reused_tokens`` of its prompt were there already and
    need no prefill (never the whole prompt: its last token is computed). ``wait_s`` passes before the room can be used,
    beside what is hidden behind computing.
    """

    tokens: int
    reused_tokens: int = 0
    wait_s: float = 0.0


class KvMemory(Protocol):
    """Room for keys and values of sequences, which the engine numbers. No call gives more room than there is."""

    @property
    def capacity_bytes(self) -> float:
        """Room there is in the tier that computes, over all devices of a replica."""
        ...

    @property
    def used_bytes(self) -> float:
        """Bytes taken there from the pool, whether they hold keys and values of running sequences or not."""
        ...

    @property
    def held_bytes(self) -> float:
        """Bytes of keys and values that running sequences have there: ``used`` less what is lost or only kept."""
        ...

    @property
    def shared_tokens(self) -> int:
        """First tokens that all running sequences have in common, and that are here once."""
        ...

    def admit(self, sequence: int, tokens: int, longest_tokens: int, blocks: Sequence[int] = ()) -> Grant | None:
        """Room for a new sequence's first ``tokens`` tokens, or None for now.

        It will grow to ``longest_tokens`` at most. ``blocks`` are the ids of its prompt's blocks where prefixes are
        known. Raises `InfeasibleError` when it would not fit even alone.
        """
        ...

    def extend(self, sequence: int, tokens: int) -> Grant | None:
        """Room for ``tokens`` tokens in all of a running sequence, or None when there is none."""
        ...

    def free(self, sequence: int) -> None:
        """The sequence has ended or is preempted: its room may be used again (kept blocks until they are evicted)."""
        ...

    def park(self, sequence: int) -> float | None:
        """Preempt by moving out: the seconds it takes, or None where the memory has no tier to move it to."""
        ...

    def unpark(self, sequence: int) -> Grant | None:
        """Bring a parked sequence back; ``wait_s`` is the time it takes. None for now when there is no room."""
        ...

    def away_tokens(self, sequence: int) -> tuple[tuple[str, int], ...]:
        """Tokens of a running sequence that lie in other tiers and are read from there, by tier.

        They change only when the sequence itself is admitted, extended or brought back.
        """
        ...
