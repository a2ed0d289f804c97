"""A step cost that can be summed by hand and a KV memory that counts blocks, for tests of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from simulator.serving.kv.memory import Grant
from simulator.serving.step import StepBatch, StepTime
from workloads.errors import InfeasibleError

__all__ = ["BlockMemory", "LinearCost"]


@dataclass(frozen=True)
class LinearCost:
    """``step_s`` for a step, ``token_s`` for each new token, ``context_s`` for each token read, ``away_s`` from afar.

    With powers of two all sums are exact, so that events fall in the same instants however they are added up.
    """

    step_s: float = 2.0**-6
    token_s: float = 2.0**-12
    context_s: float = 2.0**-20
    away_s: float = 0.0

    def step(self, batch: StepBatch) -> StepTime:
        read = batch.decode_context + sum(new + past for new, past in batch.chunks)
        return self._time(1, batch.tokens, read, batch)

    def decode_run(self, batch: StepBatch, steps: int) -> StepTime:
        read = batch.decode_context * steps + batch.decodes * steps * (steps - 1) // 2
        return self._time(steps, batch.decodes * steps, read, batch)

    def _time(self, steps: int, tokens: int, read: int, batch: StepBatch) -> StepTime:
        if batch.shared_context:
            read -= steps * (batch.decodes - 1) * batch.shared_context
        away = steps * sum(tokens for _, tokens in batch.context_away)
        parts = {"step": self.step_s * steps, "tokens": self.token_s * tokens, "context": self.context_s * read}
        parts["away"] = self.away_s * away
        seconds = sum(parts.values())
        return StepTime(seconds, 8 * seconds, parts)


@dataclass
class BlockMemory:
    """``blocks`` blocks of ``block_tokens`` tokens of a byte each; ``park_s`` to move a sequence out or in.

    ``shared`` tokens of every prompt are taken to be there already, ``extend_s`` is waited for at every extension.
    Checks at every call that no more is given than there is, and that callers keep to the protocol.
    """

    blocks: int = 1 << 30
    block_tokens: int = 16
    park_s: float | None = None
    shared: int = 0
    extend_s: float = 0.0
    has: dict[int, int] = field(default_factory=dict)
    parked: dict[int, int] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    most_used: int = 0

    @property
    def capacity_bytes(self) -> float:
        return float(self.blocks * self.block_tokens)

    @property
    def used_bytes(self) -> float:
        used = sum(self.has.values())
        assert used <= self.blocks
        return float(used * self.block_tokens)

    @property
    def held_bytes(self) -> float:
        return float(sum(tokens for number, tokens in self.tokens.items() if number in self.has))

    def admit(self, sequence: int, tokens: int, longest_tokens: int, blocks: Sequence[int] = ()) -> Grant | None:
        assert sequence not in self.has
        assert sequence not in self.parked
        assert 0 < tokens <= longest_tokens
        assert isinstance(blocks, Sequence)
        if -(-longest_tokens // self.block_tokens) > self.blocks:
            needed = float(longest_tokens)
            raise InfeasibleError("keys and values of one request", needed, self.capacity_bytes, "B")
        return self._give(sequence, tokens, min(self.shared, tokens - 1), 0.0)

    def extend(self, sequence: int, tokens: int) -> Grant | None:
        assert tokens > self.has[sequence] * self.block_tokens
        return self._give(sequence, tokens, 0, self.extend_s)

    def free(self, sequence: int) -> None:
        del self.has[sequence]
        del self.tokens[sequence]

    def park(self, sequence: int) -> float | None:
        if self.park_s is None:
            return None
        self.parked[sequence] = self.has.pop(sequence)
        return self.park_s

    def unpark(self, sequence: int) -> Grant | None:
        blocks = self.parked[sequence]
        if sum(self.has.values()) + blocks > self.blocks:
            return None
        self.has[sequence] = self.parked.pop(sequence)
        assert self.park_s is not None
        return Grant(blocks * self.block_tokens, 0, self.park_s)

    @property
    def shared_tokens(self) -> int:
        """Nothing is shared."""
        return 0

    def away_tokens(self, sequence: int) -> tuple[tuple[str, int], ...]:
        assert sequence in self.has
        return ()

    def _give(self, sequence: int, tokens: int, reused: int, wait_s: float) -> Grant | None:
        wanted = -(-tokens // self.block_tokens)
        free = self.blocks - sum(self.has.values())
        if wanted - self.has.get(sequence, 0) > free:
            return None
        self.has[sequence] = wanted
        self.tokens[sequence] = tokens
        self.most_used = max(self.most_used, sum(self.has.values()))
        return Grant(wanted * self.block_tokens, reused, wait_s)
