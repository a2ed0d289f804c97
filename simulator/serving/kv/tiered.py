"""Paged KV memory with further tiers: sequences wait there whole, or their oldest blocks stay there and are read."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.serving.kv.away import AwayTier, AwayTiers
from simulator.serving.kv.memory import Grant
from simulator.serving.kv.paged import PagedMemory
from simulator.serving.kv.sizes import KvSizes
from workloads.errors import InfeasibleError, InputError

__all__ = ["TieredMemory"]


class TieredMemory(PagedMemory):
    """Blocks in the tier that computes, and ``tiers`` behind it, filled in their order.

    A preempted sequence is moved out whole to the first tier with room for it (vLLM's swapping). With ``spill`` a
    running sequence that finds no block moves its own oldest blocks away and goes on, so that only its latest must be
    in the tier that computes; a sequence that would not fit there even alone begins with its first blocks away
    (Infinite-LLM, arXiv 2401.02669, borrows other instances' memory so). What is away stays away until the sequence
    ends. Moving out passes beside computing: only what exceeds ``hidden_s`` each time is waited for. ``used_bytes`` and
    ``held_bytes`` count the tier that computes.
    """

    def __init__(
        self,
        sizes: KvSizes,
        capacity_bytes: float,
        tiers: Sequence[AwayTier],
        block_tokens: int = 16,
        *,
        spill: bool = False,
        hidden_s: float = 0.0,
        watermark: float = 0.0,
    ) -> None:
        super().__init__(sizes, capacity_bytes, block_tokens, watermark)
        if spill and not sizes.linear:
            raise InputError("oldest blocks moved away where layers drop tokens", "a model that keeps all", "spill")
        self.away = AwayTiers(tuple(tiers))
        self._spill = spill
        self._hidden_s = hidden_s
        self._spilled: dict[int, list[int]] = {}  # blocks of a sequence by tier
        self._parked: dict[int, tuple[int, int, int, int]] = {}  # tier, its bytes, blocks, tokens

    @property
    def held_bytes(self) -> float:
        """Bytes of keys and values of running sequences in the tier that computes, as last asked for."""
        spilled = sum(sum(blocks) for sequence, blocks in self._spilled.items() if sequence in self._tokens)
        return super().held_bytes - spilled * self.block_tokens * self.sizes.token_bytes

    def admit(self, sequence: int, tokens: int, longest_tokens: int, blocks: Sequence[int] = ()) -> Grant | None:
        """Blocks for the first ``tokens``, the oldest of them away where the sequence is too long otherwise."""
        if sequence in self._parked:
            raise ValueError(f"sequence {sequence} is parked")
        longest = -(-max(tokens, longest_tokens) // self.block_tokens)
        if not self._spill or self._room_of(longest) <= self._capacity - self._watermark:
            return super().admit(sequence, tokens, longest_tokens, blocks)
        self._check_with_away(longest, longest_tokens)
        need = -(-tokens // self.block_tokens)
        here = min(need, (self._free - self._watermark) // self._room_of(1))
        if here < 1:
            return None
        wait_s = self._move_out(sequence, need - here)
        if wait_s is None:
            return None
        self._free -= self._room_of(here)
        self._blocks[sequence] = here
        self._begin(sequence, tokens)
        return Grant(need * self.block_tokens, 0, wait_s)

    def extend(self, sequence: int, tokens: int) -> Grant | None:
        """As many more blocks as ``tokens`` need, in place of the sequence's oldest where none is free."""
        if not self._spill:
            return super().extend(sequence, tokens)
        away = sum(self._spilled.get(sequence, ()))
        had, wait_s = self._blocks[sequence], 0.0
        need = -(-tokens // self.block_tokens) - away
        if need > had:
            block = self._room_of(1)
            here = min(need, had + self._free // block)
            moved = self._move_out(sequence, need - here)
            if moved is None:
                return None
            wait_s, away = moved, away + need - here
            self._free -= self._room_of(here) - self._room_of(had)
            self._blocks[sequence] = had = here
        self._grow(sequence, tokens)
        return Grant((had + away) * self.block_tokens, 0, wait_s)

    def free(self, sequence: int) -> None:
        """All blocks of ``sequence`` are free again, wherever they are."""
        for tier, blocks in enumerate(self._spilled.pop(sequence, ())):
            self.away.taken[tier] -= blocks * self._room_of(1)
        if sequence in self._parked:
            tier, size, _, _ = self._parked.pop(sequence)
            self.away.taken[tier] -= size
        else:
            super().free(sequence)

    def park(self, sequence: int) -> float | None:
        """Move what ``sequence`` has here to the first tier with room for all of it."""
        blocks = self._blocks[sequence]
        size = self._room_of(blocks)
        tier = self.away.first_with(size)
        if tier is None:
            return None
        tokens = self._tokens[sequence]
        super().free(sequence)
        self.away.taken[tier] += size
        self._parked[sequence] = (tier, size, blocks, tokens)
        return self.away.tiers[tier].out_s(size)

    def unpark(self, sequence: int) -> Grant | None:
        """Bring ``sequence`` back into as many blocks as it had."""
        tier, size, blocks, tokens = self._parked[sequence]
        # Held back for what runs: with nothing else here, all of it may be used.
        if size > self._free - (self._watermark if self._blocks else 0):
            return None
        del self._parked[sequence]
        self.away.taken[tier] -= size
        self._free -= size
        self._blocks[sequence] = blocks
        self._begin(sequence, tokens)
        away = sum(self._spilled.get(sequence, ()))
        return Grant((blocks + away) * self.block_tokens, 0, self.away.tiers[tier].in_s(size))

    def away_tokens(self, sequence: int) -> tuple[tuple[str, int], ...]:
        """The oldest tokens of ``sequence``, by the tier in which they are."""
        spilled = self._spilled.get(sequence)
        if spilled is None:
            return ()
        names = (tier.name for tier in self.away.tiers)
        return tuple((name, blocks * self.block_tokens) for name, blocks in zip(names, spilled, strict=True) if blocks)

    def _move_out(self, sequence: int, blocks: int) -> float | None:
        """Take room for ``blocks`` more of ``sequence`` away; the seconds not hidden, or None where there is none."""
        if not blocks:
            return 0.0
        block = self._room_of(1)
        shares, left = [], blocks
        for tier in range(len(self.away.tiers)):
            shares.append(min(left, self.away.room(tier) // block))
            left -= shares[-1]
        if left:
            return None
        seconds = 0.0
        spilled = self._spilled.setdefault(sequence, [0] * len(shares))
        for tier, share in enumerate(shares):
            if share:
                self.away.taken[tier] += share * block
                spilled[tier] += share
                seconds += self.away.tiers[tier].out_s(share * block)
        return max(0.0, seconds - self._hidden_s)

    def _check_with_away(self, longest: int, longest_tokens: int) -> None:
        block = self._room_of(1)
        here = (self._capacity - self._watermark) // block
        there = sum(int(tier.capacity_bytes) // block for tier in self.away.tiers)
        if here < 1 or longest > here + there:
            constraint = f"KV memory and the tiers behind it for one sequence of {longest_tokens:,} tokens"
            raise InfeasibleError(constraint, longest * block, (here + there) * block, "bytes")
