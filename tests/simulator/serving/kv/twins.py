"""Slow, obvious KV memories, and runs of random requests on a memory and its twin.

Sizes are one byte a token, so that bytes are tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hypothesis import strategies as st

from simulator.serving.kv.memory import Grant, KvMemory
from simulator.serving.kv.sizes import KvPart, KvSizes
from workloads.errors import InfeasibleError

__all__ = ["BYTE", "ContiguousTwin", "PagedTwin", "PrefixTwin", "operations", "run", "run_beside"]

BYTE = KvSizes((KvPart(1, 1.0, 0.0, 8.0),))

Operation = tuple[str, int, int, int, tuple[int, ...]]


def _path(turns: list[int]) -> tuple[int, ...]:
    """Ids of a path from the root of a binary tree: paths that begin alike begin with the same ids."""
    ids, node = [], 1
    for turn in turns:
        node = 2 * node + turn
        ids.append(node)
    return tuple(ids)


# What, which of six sequences, tokens, tokens it may add, and blocks of its prompt.
operations = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "extend", "extend", "extend", "free", "park", "unpark"]),
        st.integers(0, 5),
        st.integers(1, 20),
        st.integers(0, 12),
        st.lists(st.integers(0, 1), max_size=7).map(_path),
    ),
    min_size=20,
    max_size=60,
)


class Twin(Protocol):
    """As much of a KV memory as is compared."""

    def admit(self, sequence: int, tokens: int, longest: int, blocks: Sequence[int]) -> tuple[int, int] | None: ...
    def extend(self, sequence: int, tokens: int) -> int | None: ...
    def free(self, sequence: int) -> None: ...
    def used(self) -> int: ...
    def held(self) -> int: ...


class PagedTwin:
    """A list of blocks, each with its owner or None."""

    def __init__(self, capacity: int, block: int) -> None:
        self.owners: list[int | None] = [None] * (capacity // block)
        self.block = block
        self.tokens: dict[int, int] = {}

    def admit(self, sequence: int, tokens: int, longest: int, blocks: Sequence[int]) -> tuple[int, int] | None:  # noqa: ARG002
        self.tokens[sequence] = 0
        room = self.extend(sequence, tokens)
        if room is None:
            del self.tokens[sequence]
            return None
        return room, 0

    def extend(self, sequence: int, tokens: int) -> int | None:
        mine = self.owners.count(sequence)
        missing = max(0, (tokens + self.block - 1) // self.block - mine)
        free = [at for at, owner in enumerate(self.owners) if owner is None]
        if missing > len(free):
            return None
        for at in free[:missing]:
            self.owners[at] = sequence
        self.tokens[sequence] = max(tokens, self.tokens[sequence])
        return self.owners.count(sequence) * self.block

    def free(self, sequence: int) -> None:
        self.owners = [None if owner == sequence else owner for owner in self.owners]
        del self.tokens[sequence]

    def used(self) -> int:
        return self.block * sum(owner is not None for owner in self.owners)

    def held(self) -> int:
        return sum(self.tokens.values())


class ContiguousTwin:
    """An owner for every byte; a piece goes where the first run of free bytes is long enough."""

    def __init__(self, capacity: int, rule: str, most: int) -> None:
        self.owners: list[int | None] = [None] * capacity
        self.rule, self.most = rule, most
        self.tokens: dict[int, int] = {}

    def admit(self, sequence: int, tokens: int, longest: int, blocks: Sequence[int]) -> tuple[int, int] | None:  # noqa: ARG002
        size = longest
        if self.rule == "max":
            size = max(self.most, longest)
        elif self.rule == "pow2" and longest > tokens:
            size = 1
            while size < longest - tokens:
                size *= 2
            size += tokens
        for start in range(len(self.owners) - size + 1):
            if all(owner is None for owner in self.owners[start : start + size]):
                self.owners[start : start + size] = [sequence] * size
                self.tokens[sequence] = tokens
                return size, 0
        return None

    def extend(self, sequence: int, tokens: int) -> int | None:
        size = self.owners.count(sequence)
        if tokens > size:
            return None
        self.tokens[sequence] = max(tokens, self.tokens[sequence])
        return size

    def free(self, sequence: int) -> None:
        self.owners = [None if owner == sequence else owner for owner in self.owners]
        del self.tokens[sequence]

    def used(self) -> int:
        return sum(owner is not None for owner in self.owners)

    def held(self) -> int:
        return sum(self.tokens.values())


class PrefixTwin:
    """Prompts' whole blocks by id with their users and last use, and a count of blocks that sequences own alone.

    Prompts are given in whole blocks, or longer than their blocks, so that no block is partial.
    """

    def __init__(self, capacity: int, block: int) -> None:
        self.blocks, self.block = capacity // block, block
        self.cached: dict[int, set[int]] = {}  # in the order of their last use
        self.prompts: dict[int, tuple[int, ...]] = {}
        self.own: dict[int, int] = {}
        self.tokens: dict[int, int] = {}

    def admit(self, sequence: int, tokens: int, longest: int, blocks: Sequence[int]) -> tuple[int, int] | None:  # noqa: ARG002
        prompt = tuple(blocks[: tokens // self.block])
        own = (tokens - len(prompt) * self.block + self.block - 1) // self.block
        hits = 0
        while hits < len(prompt) and prompt[hits] in self.cached:
            hits += 1
        absent = [name for name in prompt if name not in self.cached]
        useless = [name for name, users in self.cached.items() if not users and name not in prompt]
        if len(absent) + own > self._free() + len(useless):
            return None
        while len(absent) + own > self._free():
            del self.cached[useless.pop(0)]
        for name in prompt:
            self.cached.setdefault(name, set()).add(sequence)
        self.prompts[sequence], self.own[sequence], self.tokens[sequence] = prompt, own, tokens
        return (len(prompt) + own) * self.block, min(hits * self.block, tokens - 1)

    def extend(self, sequence: int, tokens: int) -> int | None:
        covered = len(self.prompts[sequence]) * self.block
        missing = max(0, (tokens - covered + self.block - 1) // self.block - self.own[sequence])
        useless = [name for name, users in self.cached.items() if not users]
        if missing > self._free() + len(useless):
            return None
        while missing > self._free():
            del self.cached[useless.pop(0)]
        self.own[sequence] += missing
        self.tokens[sequence] = max(tokens, self.tokens[sequence])
        return covered + self.own[sequence] * self.block

    def free(self, sequence: int) -> None:
        del self.own[sequence], self.tokens[sequence]
        for name in self.prompts.pop(sequence):
            users = self.cached.pop(name)
            users.discard(sequence)
            self.cached[name] = users

    def used(self) -> int:
        return (self.blocks - self._free()) * self.block

    def held(self) -> int:
        own = sum(tokens - len(self.prompts[sequence]) * self.block for sequence, tokens in self.tokens.items())
        return own + self.block * sum(bool(users) for users in self.cached.values())

    def _free(self) -> int:
        return self.blocks - len(self.cached) - sum(self.own.values())


def run_beside(memory: KvMemory, twin: Twin, program: list[Operation]) -> None:
    """Both do the same and say the same, at every step."""
    longest: dict[int, int] = {}
    at: dict[int, int] = {}
    for what, sequence, tokens, more, blocks in program:
        if what == "admit" and sequence not in at:
            try:
                grant = memory.admit(sequence, tokens, tokens + more, blocks)
            except InfeasibleError:
                continue
            wanted = twin.admit(sequence, tokens, tokens + more, blocks)
            assert (None if grant is None else (grant.tokens, grant.reused_tokens)) == wanted
            if grant is not None:
                at[sequence], longest[sequence] = tokens, tokens + more
        elif what == "extend" and sequence in at:
            wished = min(longest[sequence], at[sequence] + more)
            grant = memory.extend(sequence, wished)
            assert (None if grant is None else grant.tokens) == twin.extend(sequence, wished)
            if grant is not None:
                at[sequence] = wished
        elif what == "free" and sequence in at:
            memory.free(sequence)
            twin.free(sequence)
            del at[sequence], longest[sequence]
        assert (memory.used_bytes, memory.held_bytes) == (twin.used(), twin.held())


def run(memory: KvMemory, program: list[Operation], kept: bool = False) -> None:
    """Calls in any order, with what must hold after each; then all is freed.

    ``kept`` says that used bytes may stay when nobody runs.
    """
    longest: dict[int, int] = {}
    at: dict[int, int] = {}
    parked: set[int] = set()

    def granted(sequence: int, grant: Grant | None, tokens: int) -> None:
        if grant is not None:
            assert grant.tokens >= tokens
            assert grant.wait_s >= 0
            at[sequence] = tokens

    for what, sequence, tokens, more, blocks in program:
        if what == "admit" and sequence not in longest:
            try:
                grant = memory.admit(sequence, tokens, tokens + more, blocks)
            except InfeasibleError:
                continue
            granted(sequence, grant, tokens)
            if grant is not None:
                longest[sequence] = tokens + more
                assert 0 <= grant.reused_tokens < tokens
            elif not longest:
                raise AssertionError("refused though it is alone")
        elif what == "extend" and sequence in at and sequence not in parked:
            wished = min(longest[sequence], at[sequence] + more)
            grant = memory.extend(sequence, wished)
            granted(sequence, grant, wished)
            assert grant is not None or len(longest) > 1
        elif what == "park" and sequence in at and sequence not in parked:
            seconds = memory.park(sequence)
            if seconds is not None:
                assert seconds >= 0
                parked.add(sequence)
        elif what == "unpark" and sequence in parked:
            grant = memory.unpark(sequence)
            granted(sequence, grant, at[sequence])
            if grant is not None:
                parked.discard(sequence)
            else:
                assert set(longest) - parked, "refused though nothing runs"
        elif what == "free" and sequence in longest:
            memory.free(sequence)
            parked.discard(sequence)
            del at[sequence], longest[sequence]
        assert memory.capacity_bytes >= memory.used_bytes >= memory.held_bytes >= 0
        for running in set(longest) - parked:
            away = sum(tokens for _, tokens in memory.away_tokens(running))
            assert 0 <= away < at[running] + 1
    for sequence in list(longest):
        memory.free(sequence)
    assert memory.held_bytes == 0
    assert kept or memory.used_bytes == 0
