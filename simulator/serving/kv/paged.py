"""KV memory in blocks of a few tokens, given as a sequence grows (vLLM, Kwon et al., SOSP 2023, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.serving.kv.account import Account
from simulator.serving.kv.memory import Grant
from simulator.serving.kv.sizes import KvSizes
from simulator.serving.kv.waste import Waste
from workloads.errors import InfeasibleError, InputError

__all__ = ["PagedMemory"]


class PagedMemory(Account):
    """Blocks of ``block_tokens`` tokens over all layers; any free block serves any sequence.

    Layers that keep less than the sequence (windows, evicted tokens) take fewer blocks. A sequence is admitted only
    while ``watermark`` of the capacity stays free afterwards: vLLM's block manager holds back 0.01 against preemption
    (`BlockSpaceManager` in vllm/core/block_manager.py); running sequences may take it.
    """

    def __init__(self, sizes: KvSizes, capacity_bytes: float, block_tokens: int = 16, watermark: float = 0.0) -> None:
        if block_tokens < 1:
            raise InputError(f"blocks of {block_tokens} tokens", "at least 1", "block_tokens")
        if not 0 <= watermark < 1:
            raise InputError(f"{watermark:g} of the memory held back", "a share from 0 to below 1", "watermark")
        super().__init__(sizes)
        self.block_tokens = block_tokens
        self._capacity = self._free = int(capacity_bytes)
        self._watermark = int(watermark * self._capacity)
        self._room: dict[int, int] = {0: 0}  # bytes of so many blocks of one sequence, as far as asked for
        self._grants: dict[int, Grant] = {}
        self._blocks: dict[int, int] = {}

    @property
    def capacity_bytes(self) -> float:
        """Room there is."""
        return self._capacity

    @property
    def used_bytes(self) -> float:
        """Bytes of blocks that sequences have."""
        return self._capacity - self._free

    @property
    def waste(self) -> Waste:
        """Where room is lost: only in the blocks' ends."""
        return Waste(internal_bytes=self.used_bytes - self.held_bytes)

    def admit(self, sequence: int, tokens: int, longest_tokens: int, blocks: Sequence[int] = ()) -> Grant | None:  # noqa: ARG002
        """Blocks for the first ``tokens``."""
        if sequence in self._blocks:
            raise ValueError(f"sequence {sequence} has room already")
        self._check_alone(max(tokens, longest_tokens))
        need = -(-tokens // self.block_tokens)
        room = self._room_of(need)
        if room > self._free - self._watermark:
            return None
        self._free -= room
        self._blocks[sequence] = need
        self._begin(sequence, tokens)
        return self._grant_of(need)

    def extend(self, sequence: int, tokens: int) -> Grant | None:
        """As many more blocks as ``tokens`` need."""
        had, need = self._blocks[sequence], -(-tokens // self.block_tokens)
        if need > had:
            more = self._room_of(need) - self._room[had]
            if more > self._free:
                return None
            self._free -= more
            self._blocks[sequence] = need
        else:
            need = had
        before = self._tokens[sequence]
        if tokens > before:
            self._held_tokens += tokens - before
            self._tokens[sequence] = tokens
        return self._grant_of(need)

    def free(self, sequence: int) -> None:
        """All blocks of ``sequence`` are free again."""
        self._free += self._room[self._blocks.pop(sequence)]
        self._end(sequence)

    def _room_of(self, blocks: int) -> int:
        """Bytes of so many blocks of one sequence."""
        if blocks not in self._room:
            self._room[blocks] = self.sizes.room_bytes(blocks * self.block_tokens, self.block_tokens)
        return self._room[blocks]

    def _grant_of(self, blocks: int) -> Grant:
        if blocks not in self._grants:
            self._grants[blocks] = Grant(blocks * self.block_tokens)
        return self._grants[blocks]

    def _check_alone(self, longest_tokens: int) -> None:
        needed = self._room_of(-(-longest_tokens // self.block_tokens))
        if needed > self._capacity - self._watermark:
            constraint = f"KV memory for one sequence of {longest_tokens:,} tokens"
            raise InfeasibleError(constraint, needed, self._capacity - self._watermark, "bytes")
