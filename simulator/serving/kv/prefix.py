"""Paged KV memory that keeps prompts' blocks after their sequences, and gives them to prompts that begin alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.serving.kv.account import Account
from simulator.serving.kv.away import AwayTier
from simulator.serving.kv.memory import Grant
from simulator.serving.kv.sizes import KvSizes
from simulator.serving.kv.waste import Waste
from workloads.errors import InfeasibleError, InputError

__all__ = ["PrefixMemory"]


@dataclass(slots=True)
class _Sequence:
    """``prefix`` ids hold the first ``covered`` tokens; ``blocks`` of its own hold the rest up to ``tokens``."""

    prefix: Sequence[int]
    covered: int
    blocks: int
    tokens: int


class PrefixMemory(Account):
    """Blocks of ``block_tokens`` tokens; prompts share those that hold the same prefix.

    A prompt comes as ids of its blocks of ``prefix_tokens`` tokens, a multiple of ``block_tokens``; each id is kept or
    evicted as one. Ids in use are counted by the sequences that use them; when the last ends, they are the latest used
    of what is kept, and the oldest are evicted when blocks are wanted. A prompt's first block counts as used before its
    last, so that it goes first; ``leaves_first`` turns this round, as vLLM frees blocks. A prompt reuses its leading
    blocks that are there, never its last token; what it has of later ones it computes again in the same place. A
    prompt's blocks are there for others from its admission on. With ``below``, what is evicted moves to that tier,
    which evicts its oldest in turn, and is brought back when a prompt reuses it: ``wait_s`` is what exceeds
    ``hidden_s``. All layers keep all tokens here, also where a window would let them drop some.
    """

    def __init__(
        self,
        sizes: KvSizes,
        capacity_bytes: float,
        block_tokens: int = 16,
        prefix_tokens: int | None = None,
        *,
        leaves_first: bool = False,
        below: AwayTier | None = None,
        hidden_s: float = 0.0,
    ) -> None:
        super().__init__(sizes)
        if block_tokens < 1:
            raise InputError(f"blocks of {block_tokens} tokens", "at least 1", "block_tokens")
        prefix_tokens = block_tokens if prefix_tokens is None else prefix_tokens
        if prefix_tokens < 1 or prefix_tokens % block_tokens:
            problem = f"prefixes known by {prefix_tokens} tokens in blocks of {block_tokens}"
            raise InputError(problem, f"blocks whose tokens divide {prefix_tokens}", "block_tokens")
        self.block_tokens = block_tokens
        self.prefix_tokens = prefix_tokens
        self.below = below
        self._leaves_first = leaves_first
        self._hidden_s = hidden_s
        self._block_bytes = block_tokens * sizes.token_bytes
        self._capacity_bytes = int(capacity_bytes)
        self._capacity = self._free = int(capacity_bytes // self._block_bytes)
        self._size: dict[int, int] = {}  # tokens of each id that is here
        self._users: dict[int, int] = {}  # of ids in use
        self._kept: OrderedDict[int, None] = OrderedDict()  # the others, oldest first
        self._kept_blocks = 0
        self._sequences: dict[int, _Sequence] = {}
        self._shared_tokens = 0
        self._below: OrderedDict[int, int] = OrderedDict()  # tokens of ids in the tier below, oldest first
        self._below_room = int(below.capacity_bytes // self._block_bytes) if below else 0
        self.prompt_blocks = 0
        self.hit_blocks = 0

    @property
    def capacity_bytes(self) -> float:
        """Room there is."""
        return self._capacity_bytes

    @property
    def used_bytes(self) -> float:
        """Bytes of all blocks but the free: in use or kept."""
        return (self._capacity - self._free) * self._block_bytes

    @property
    def held_bytes(self) -> float:
        """Bytes of keys and values of running sequences, each shared block once."""
        return (self._held_tokens - self._shared_tokens) * self.sizes.token_bytes

    @property
    def waste(self) -> Waste:
        """The ends of blocks, and blocks only kept."""
        kept = self._kept_blocks * self._block_bytes
        return Waste(internal_bytes=self.used_bytes - self.held_bytes - kept, kept_bytes=kept)

    @property
    def saved_bytes(self) -> float:
        """What the running sequences would take more if none shared a block."""
        return self._shared_tokens * self.sizes.token_bytes

    @property
    def shared_tokens(self) -> int:
        """First tokens that all running sequences have in common: their keys and values may be read once for all."""
        if not self._sequences:
            return 0
        everybody, found = len(self._sequences), 0
        for prefix in next(iter(self._sequences.values())).prefix:
            if self._users[prefix] < everybody:
                break
            found += self._size[prefix]
        return found

    def admit(self, sequence: int, tokens: int, longest_tokens: int, blocks: Sequence[int] = ()) -> Grant | None:
        """Blocks for the first ``tokens``, of which the leading ones of ``blocks`` may be there."""
        if sequence in self._sequences:
            raise ValueError(f"sequence {sequence} has room already")
        prefix, covered = self._known(tokens, blocks)
        self._check_alone(max(tokens, longest_tokens), covered)
        hits = fetched = 0
        leading = True
        absent = claimed = 0
        for at, name in enumerate(prefix):
            size = min(self.prefix_tokens, covered - at * self.prefix_tokens)
            if name in self._size:
                claimed += 0 if name in self._users else self._blocks_of(size)
            else:
                absent += self._blocks_of(size)
                if leading and self._below.get(name) == size:
                    fetched += size
                else:
                    leading = False
            hits += leading
        own = self._blocks_of(tokens - covered)
        if absent + own > self._free + self._kept_blocks - claimed:
            return None
        self._take(prefix, covered, absent + own)
        self._free -= own
        self._sequences[sequence] = _Sequence(prefix, covered, own, tokens)
        self._begin(sequence, tokens)
        self.prompt_blocks += len(prefix)
        self.hit_blocks += hits
        reused = min(hits * self.prefix_tokens, covered, tokens - 1)
        wait_s = 0.0
        if fetched and self.below:
            wait_s = max(0.0, self.below.in_s(fetched * self.sizes.token_bytes) - self._hidden_s)
        return Grant(covered + own * self.block_tokens, reused, wait_s)

    def extend(self, sequence: int, tokens: int) -> Grant | None:
        """As many more blocks of its own as ``tokens`` need."""
        has = self._sequences[sequence]
        more = -(-(tokens - has.covered) // self.block_tokens) - has.blocks
        if more > 0:
            if more > self._free + self._kept_blocks:
                return None
            self._evict(more)
            self._free -= more
            has.blocks += more
        if tokens > has.tokens:
            self._held_tokens += tokens - has.tokens
            self._tokens[sequence] = has.tokens = tokens
        return Grant(has.covered + has.blocks * self.block_tokens)

    def free(self, sequence: int) -> None:
        """Its own blocks are free, those of its prompt kept once nobody uses them."""
        has = self._sequences.pop(sequence)
        self._end(sequence)
        self._free += has.blocks
        for name in reversed(has.prefix) if self._leaves_first else has.prefix:
            self._users[name] -= 1
            if self._users[name]:
                self._shared_tokens -= self._size[name]
            else:
                del self._users[name]
                self._kept[name] = None
                self._kept_blocks += self._blocks_of(self._size[name])

    def _known(self, tokens: int, blocks: Sequence[int]) -> tuple[Sequence[int], int]:
        """The ids that hold the first tokens and how many these are: the last may be partial, where it ends a prompt.

        An id that is here or below with other tokens than this prompt has of it is not the same block: it and those
        behind it are the sequence's own, and so are those behind an id that comes twice.
        """
        count = min(len(blocks), -(-tokens // self.prefix_tokens))
        covered = min(tokens, count * self.prefix_tokens)
        partial = covered % self.prefix_tokens
        if partial and (count < len(blocks) or self._size.get(blocks[count - 1], partial) != partial):
            count -= 1
            covered = count * self.prefix_tokens
        prefix = blocks[:count]
        full = count - (1 if covered % self.prefix_tokens else 0)
        for at in range(full):
            if self._size.get(prefix[at], self.prefix_tokens) != self.prefix_tokens:
                return prefix[:at], at * self.prefix_tokens
        if len(set(prefix)) < count:
            first = next(at for at in range(count) if prefix[at] in prefix[:at])
            return prefix[:first], first * self.prefix_tokens
        return prefix, covered

    def _take(self, prefix: Sequence[int], covered: int, wanted: int) -> None:
        """Use ``prefix``, its missing blocks among the ``wanted`` that are made free."""
        users, kept = self._users, self._kept
        for name in prefix:
            if name in users:
                users[name] += 1
                self._shared_tokens += self._size[name]
            elif name in kept:
                del kept[name]
                self._kept_blocks -= self._blocks_of(self._size[name])
                users[name] = 1
        self._evict(wanted)
        for at, name in enumerate(prefix):
            if name not in users:
                self._size[name] = size = min(self.prefix_tokens, covered - at * self.prefix_tokens)
                users[name] = 1
                self._free -= self._blocks_of(size)
                self._below_room += self._blocks_of(self._below.pop(name, 0))

    def _evict(self, wanted: int) -> None:
        """Give up the oldest of what is kept until ``wanted`` blocks are free."""
        while self._free < wanted:
            name, _ = self._kept.popitem(last=False)
            size = self._size.pop(name)
            blocks = self._blocks_of(size)
            self._kept_blocks -= blocks
            self._free += blocks
            if self.below:
                self._below[name] = size
                self._below_room -= blocks
                while self._below_room < 0:
                    self._below_room += self._blocks_of(self._below.popitem(last=False)[1])

    def _blocks_of(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    def _check_alone(self, longest_tokens: int, covered: int) -> None:
        needed = self._blocks_of(covered) + self._blocks_of(longest_tokens - covered)
        if needed > self._capacity:
            constraint, size = f"KV memory for one sequence of {longest_tokens:,} tokens", self._block_bytes
            raise InfeasibleError(constraint, needed * size, self._capacity * size, "bytes")
