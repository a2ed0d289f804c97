"""KV memory contiguous in virtual addresses, its pages mapped as sequences grow (vAttention, arXiv 2405.04437).

Every sequence has a range of addresses in each tensor, keys and values of each layer, and memory is mapped under it a
page at a time. Attention kernels see plain tensors; what is lost is the end of the last page of each tensor, and
mapping takes time. Where all layers share one tensor of keys and one of values (``megacache`` in later versions of
microsoft/vattention), a page serves them all and fewer ends are lost.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence

from simulator.serving.kv.account import Account
from simulator.serving.kv.memory import Grant
from simulator.serving.kv.sizes import KvPart, KvSizes
from simulator.serving.kv.waste import Waste
from workloads.errors import InfeasibleError, InputError

__all__ = ["PageTable", "VirtualMemory"]


class PageTable:
    """How many pages sequences need by their tokens, over all layers and devices.

    ``joined`` puts all layers of a part into one tensor of keys and one of values instead of one of each per layer.
    """

    def __init__(self, sizes: KvSizes, page_bytes: int, *, joined: bool = False) -> None:
        if page_bytes < 1:
            raise InputError(f"pages of {page_bytes} bytes", "at least 1", "page_bytes")
        self.sizes = sizes
        self.page_bytes = page_bytes
        self.joined = joined
        # Level i holds up to ends[i] tokens in pages[i] pages.
        self._ends = [0]
        self._pages = [0]

    def pages(self, tokens: int) -> int:
        """Pages for a sequence of ``tokens``."""
        return sum(self._part_pages(part, tokens) for part in self.sizes.parts)

    def level(self, tokens: int) -> tuple[int, int]:
        """``pages(tokens)``, and the most tokens for which these are enough."""
        at = bisect_left(self._ends, tokens)
        while at == len(self._ends):
            self._add_level()
            at = bisect_left(self._ends, tokens)
        return self._pages[at], self._ends[at]

    def _part_pages(self, part: KvPart, tokens: int) -> int:
        tensors, layers = (part.devices, part.layers) if self.joined else (part.devices * part.layers, 1)
        values = part.kept_tokens(tokens) * part.value_bytes
        keys = part.room_bytes(tokens, 1) - values
        each = (math.ceil(size * layers / part.devices / self.page_bytes) for size in (keys, values))
        return tensors * sum(each)

    def _add_level(self) -> None:
        first = self._ends[-1] + 1
        pages = self.pages(first)
        last, beyond, step = first, first + 1, 1
        while self.pages(beyond) == pages:
            last, step = beyond, 2 * step
            beyond += step
            if step > 1 << 40:  # nothing grows any more: all that is kept is mapped
                break
        while beyond - last > 1:
            middle = (last + beyond) // 2
            last, beyond = (middle, beyond) if self.pages(middle) == pages else (last, middle)
        self._ends.append(last)
        self._pages.append(pages)


class VirtualMemory(Account):
    """Pages of ``page_bytes`` on each device, mapped when a sequence grows into them.

    A mapping call takes ``map_s`` on its device, one call a page; devices map side by side. Calls are known a step
    ahead and run beside it, so that only what exceeds ``hidden_s`` of computing is waited for, each time a sequence
    asks (0: synchronous mapping).

    With ``keep_mapped``, the pages of a sequence that ended stay mapped at its addresses (deferred reclamation). The
    next sequence takes such a range over and maps only what is missing: the smallest range with enough pages, as in
    `alloc_new_batch_idx` of vattention/vattention.cu @00b5ddc, or else the largest, where that takes the first. Pages
    beyond what sequences asked for are unmapped where others need them, of ranges without a sequence first, then of the
    sequences that came last; unmapping costs no time.
    """

    def __init__(
        self,
        sizes: KvSizes,
        capacity_bytes: float,
        page_bytes: int = 2 << 20,
        *,
        map_s: float = 0.0,
        hidden_s: float = 0.0,
        keep_mapped: bool = True,
        joined: bool = False,
    ) -> None:
        super().__init__(sizes)
        self.table = PageTable(sizes, page_bytes, joined=joined)
        self._capacity = self._free = int(capacity_bytes // page_bytes)
        self._capacity_bytes = int(capacity_bytes)
        self._map_s = map_s / max(part.devices for part in sizes.parts)
        self._hidden_s = hidden_s
        self._keep_mapped = keep_mapped
        self._idle: list[int] = []  # pages of ranges without a sequence, in increasing order
        self._spare = 0  # pages mapped beyond what sequences asked for, those of idle ranges included
        self._mapped: dict[int, int] = {}  # pages of each sequence's range
        self._level: dict[int, tuple[int, int]] = {}  # pages it asked for, and the tokens these are enough for

    @property
    def capacity_bytes(self) -> float:
        """Room there is; what is less than a page cannot be used."""
        return self._capacity_bytes

    @property
    def used_bytes(self) -> float:
        """Bytes of mapped pages."""
        return (self._capacity - self._free) * self.table.page_bytes

    @property
    def waste(self) -> Waste:
        """The ends of pages, and pages left mapped."""
        kept = self._spare * self.table.page_bytes
        return Waste(internal_bytes=self.used_bytes - self.held_bytes - kept, kept_bytes=kept)

    def admit(self, sequence: int, tokens: int, longest_tokens: int, blocks: Sequence[int] = ()) -> Grant | None:  # noqa: ARG002
        """A range of addresses, with pages under its first ``tokens``."""
        if sequence in self._level:
            raise ValueError(f"sequence {sequence} has room already")
        alone = self.table.pages(max(tokens, longest_tokens))  # without the levels below: it may be far too long
        if alone > self._capacity:
            constraint = f"KV memory for one sequence of {longest_tokens:,} tokens"
            size = self.table.page_bytes
            raise InfeasibleError(constraint, alone * size, self._capacity * size, "bytes")
        level = self.table.level(tokens)
        if level[0] > self._free + self._spare:
            return None
        taken = self._idle.pop(min(bisect_left(self._idle, level[0]), len(self._idle) - 1)) if self._idle else 0
        self._level[sequence] = (0, 0)
        self._mapped[sequence] = taken
        self._begin(sequence, tokens)
        return Grant(level[1], 0, self._map(sequence, level))

    def extend(self, sequence: int, tokens: int) -> Grant | None:
        """The next pages, once ``tokens`` go beyond those that it asked for."""
        had, wait_s = self._level[sequence], 0.0
        if tokens > had[1]:
            level = self.table.level(tokens)
            if level[0] - had[0] > self._free + self._spare:
                return None
            wait_s, had = self._map(sequence, level), level
        self._grow(sequence, tokens)
        return Grant(had[1], 0, wait_s)

    def free(self, sequence: int) -> None:
        """The range stays mapped for the next, or its pages are free."""
        mapped = self._mapped.pop(sequence)
        pages, _ = self._level.pop(sequence)
        self._end(sequence)
        if self._keep_mapped:
            insort(self._idle, mapped)
            self._spare += pages
        else:
            self._free += mapped

    def _map(self, sequence: int, level: tuple[int, int]) -> float:
        """Give ``sequence`` the pages of ``level``, for which there is room; the seconds not hidden."""
        asked, mapped = self._level[sequence][0], self._mapped[sequence]
        self._level[sequence] = level
        self._spare -= min(level[0], mapped) - asked
        more = level[0] - mapped
        if more <= 0:
            return 0.0
        self._mapped[sequence] = level[0]
        if self._free < more:
            self._unmap(more)
        self._free -= more
        return max(0.0, more * self._map_s - self._hidden_s)

    def _unmap(self, wanted: int) -> None:
        """Unmap spare pages until ``wanted`` are free."""
        while self._free < wanted and self._idle:
            pages = self._idle.pop(0)
            self._spare -= pages
            self._free += pages
        for sequence in reversed(self._mapped):
            if self._free >= wanted:
                return
            asked = self._level[sequence][0]
            spare = self._mapped[sequence] - asked
            if spare > 0:
                self._mapped[sequence] = asked
                self._spare -= spare
                self._free += spare
