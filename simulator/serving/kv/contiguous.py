"""KV memory as one piece per sequence, reserved when it begins: what paging is measured against.

Kwon et al., SOSP 2023, section 6.1, compare with Orca under three rules: the space of an oracle that knows the length
(``oracle``), outputs rounded up to a power of two (``pow2``), and the model's longest sequence (``max``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from simulator.serving.kv.account import Account
from simulator.serving.kv.memory import Grant
from simulator.serving.kv.sizes import KvSizes
from simulator.serving.kv.waste import Waste
from workloads.errors import InfeasibleError, InputError, unknown_name

__all__ = ["RESERVES", "ContiguousMemory"]

RESERVES = ("oracle", "pow2", "max")


class ContiguousMemory(Account):
    """Each sequence has one piece of memory, at the lowest address where it fits (first fit).

    ``reserve`` says for how many tokens: ``oracle`` as many as it will have, ``pow2`` its first tokens and the power of
    two at or above what it will add, ``max`` ``most_tokens``, or what it will have where that is more.
    """

    def __init__(
        self, sizes: KvSizes, capacity_bytes: float, reserve: str = "oracle", most_tokens: int | None = None
    ) -> None:
        if reserve not in RESERVES:
            raise unknown_name("rule of reserving", reserve, RESERVES, field="reserve")
        if reserve == "max" and most_tokens is None:
            raise InputError("no longest sequence to reserve", "the model's most tokens", "most_tokens")
        super().__init__(sizes)
        self._reserve = reserve
        self._most = most_tokens or 0
        self._capacity = int(capacity_bytes)
        # Holes by address, never adjacent.
        self._starts = [0] if self._capacity else []
        self._holes = {0: self._capacity} if self._capacity else {}
        self._pieces: dict[int, tuple[int, int, Grant]] = {}
        self._used = 0

    @property
    def capacity_bytes(self) -> float:
        """Room there is."""
        return self._capacity

    @property
    def used_bytes(self) -> float:
        """Bytes reserved."""
        return self._used

    @property
    def waste(self) -> Waste:
        """What is reserved and not used, and what is free outside the largest hole."""
        external = sum(self._holes.values()) - max(self._holes.values(), default=0)
        return Waste(reserved_bytes=self.used_bytes - self.held_bytes, external_bytes=external)

    def admit(self, sequence: int, tokens: int, longest_tokens: int, blocks: Sequence[int] = ()) -> Grant | None:  # noqa: ARG002
        """A piece for all that ``sequence`` may become; it never needs more."""
        if sequence in self._pieces:
            raise ValueError(f"sequence {sequence} has room already")
        reserved = self._reserved_tokens(tokens, longest_tokens)
        size = self.sizes.room_bytes(reserved)
        if size > self._capacity:
            constraint = f"KV memory for one sequence of {reserved:,} reserved tokens"
            raise InfeasibleError(constraint, size, self._capacity, "bytes")
        start = next((start for start in self._starts if self._holes[start] >= size), None)
        if start is None:
            return None
        hole = self._holes.pop(start)
        at = bisect_left(self._starts, start)
        if hole > size:
            self._starts[at] = start + size
            self._holes[start + size] = hole - size
        else:
            del self._starts[at]
        grant = Grant(reserved)
        self._pieces[sequence] = (start, size, grant)
        self._begin(sequence, tokens)
        self._used += size
        return grant

    def extend(self, sequence: int, tokens: int) -> Grant | None:
        """What was granted first; None beyond it."""
        grant = self._pieces[sequence][2]
        if tokens > grant.tokens:
            return None
        self._grow(sequence, tokens)
        return grant

    def free(self, sequence: int) -> None:
        """The piece becomes a hole, joined with those beside it."""
        start, size, _ = self._pieces.pop(sequence)
        self._end(sequence)
        self._used -= size
        at = bisect_left(self._starts, start)
        if at < len(self._starts) and self._starts[at] == start + size:
            size += self._holes.pop(self._starts.pop(at))
        if at and self._starts[at - 1] + self._holes[self._starts[at - 1]] == start:
            self._holes[self._starts[at - 1]] += size
        else:
            self._starts.insert(at, start)
            self._holes[start] = size

    def _reserved_tokens(self, tokens: int, longest_tokens: int) -> int:
        longest = max(tokens, longest_tokens)
        if self._reserve == "oracle":
            return longest
        if self._reserve == "max":
            return max(self._most, longest)
        output = longest - tokens
        return tokens + (1 << (output - 1).bit_length() if output else 0)
