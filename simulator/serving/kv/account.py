"""What KV memories have in common: the tokens of running sequences, and nowhere else to put them."""

from __future__ import annotations

from simulator.serving.kv.memory import Grant
from simulator.serving.kv.sizes import KvSizes

__all__ = ["Account"]


class Account:
    """Tokens that running sequences asked for last; a memory with one tier, so that nothing can be moved out.

    What a sequence adds within its grant counts once it asks again.
    """

    def __init__(self, sizes: KvSizes) -> None:
        self.sizes = sizes
        self._tokens: dict[int, int] = {}
        self._held_tokens = 0

    @property
    def held_bytes(self) -> float:
        """Bytes of keys and values of running sequences, as last asked for."""
        if self.sizes.linear:
            return self._held_tokens * self.sizes.token_bytes
        return sum(self.sizes.kept_bytes(tokens) for tokens in self._tokens.values())

    @property
    def shared_tokens(self) -> int:
        """Every sequence has keys and values of its own."""
        return 0

    def park(self, sequence: int) -> float | None:  # noqa: ARG002
        """There is no other tier."""
        return None

    def unpark(self, sequence: int) -> Grant | None:
        """Nothing is ever parked."""
        raise KeyError(sequence)

    def away_tokens(self, sequence: int) -> tuple[tuple[str, int], ...]:  # noqa: ARG002
        """None lie elsewhere."""
        return ()

    def _begin(self, sequence: int, tokens: int) -> None:
        self._tokens[sequence] = tokens
        self._held_tokens += tokens

    def _grow(self, sequence: int, tokens: int) -> None:
        before = self._tokens[sequence]
        if tokens > before:
            self._held_tokens += tokens - before
            self._tokens[sequence] = tokens

    def _end(self, sequence: int) -> None:
        self._held_tokens -= self._tokens.pop(sequence)
