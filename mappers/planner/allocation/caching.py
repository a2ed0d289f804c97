"""A caching allocator as PyTorch has it by default, replaying requests: the baseline that a plan is held against.

Rules and constants: pytorch/pytorch at eb42ad6, c10/cuda/CUDACachingAllocator.cpp, one stream, no limits, no options.
Requests are rounded to 512 bytes. Those up to 1 MiB come from segments of 2 MiB, those below 10 MiB from segments of
20 MiB, larger ones from segments of their own in steps of 2 MiB; small and large do not mix. The smallest free block
that is large enough is taken, the lowest of equals, and split when at least 512 bytes (small) or more than 1 MiB
(large) are left. A freed block joins free neighbours of its segment. Segments are never given back: a device without
limit never makes it, so what is reserved only rises.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from mappers.planner.allocation.requests import Request

__all__ = ["CachingResult", "replay_requests"]

_BLOCK = 512
_SMALL = 1 << 20
_SMALL_SEGMENT = 2 << 20
_LARGE_SEGMENT = 20 << 20
_OWN_SEGMENT = 10 << 20
_STEP = 2 << 20


@dataclass(frozen=True)
class CachingResult:
    """Peaks in bytes. ``allocated`` is what was asked for, ``rounded`` the same in whole blocks."""

    requests: int
    segments: int
    reserved_bytes: int
    allocated_bytes: int
    rounded_bytes: int

    @property
    def fragmentation(self) -> float:
        """The share of the reserved bytes that the peak of the requested ones leaves unused."""
        return 1 - self.allocated_bytes / self.reserved_bytes if self.reserved_bytes else 0.0


@dataclass
class _Pool:
    """Free blocks (size, start, end of their segment), smallest first, and by their two ends."""

    small: bool
    free: list[tuple[int, int, int]] = field(default_factory=list)
    by_start: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    by_end: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def add(self, block: tuple[int, int, int]) -> None:
        insort(self.free, block)
        self.by_start[block[1]] = self.by_end[block[1] + block[0]] = block

    def remove(self, block: tuple[int, int, int]) -> None:
        del self.free[bisect_left(self.free, block)]
        del self.by_start[block[1]], self.by_end[block[1] + block[0]]


def replay_requests(requests: Sequence[Request]) -> CachingResult:
    """What the allocator reserves for ``requests``. Requests of no bytes get none."""
    pools = {True: _Pool(True), False: _Pool(False)}
    held: dict[str, tuple[int, int, int]] = {}
    reserved = segments = allocated = rounded = most = most_rounded = 0
    next_start = 0
    for request in requests:
        if request.size == 0:
            continue
        need = -(-request.size // _BLOCK) * _BLOCK
        pool = pools[need <= _SMALL]
        if not request.wanted:
            allocated, rounded = allocated - request.size, rounded - need
            _release(pool, held.pop(request.id))
            continue
        allocated, rounded = allocated + request.size, rounded + need
        most, most_rounded = max(most, allocated), max(most_rounded, rounded)
        place = bisect_left(pool.free, (need, -1, -1))
        if place < len(pool.free):
            block = pool.free[place]
            pool.remove(block)
        else:
            size = _segment(need)
            # A byte apart, so that blocks of two segments never meet.
            block = (size, next_start, next_start + size)
            next_start += size + 1
            reserved, segments = reserved + size, segments + 1
        size, start, end = block
        if (size - need >= _BLOCK) if pool.small else (size - need > _SMALL):
            pool.add((size - need, start + need, end))
            size = need
        held[request.id] = (size, start, end)
    return CachingResult(len(requests), segments, reserved, most, most_rounded)


def _segment(need: int) -> int:
    if need <= _SMALL:
        return _SMALL_SEGMENT
    return _LARGE_SEGMENT if need < _OWN_SEGMENT else -(-need // _STEP) * _STEP


def _release(pool: _Pool, block: tuple[int, int, int]) -> None:
    size, start, end = block
    before = pool.by_end.get(start)
    if before is not None:
        pool.remove(before)
        size, start = size + before[0], before[1]
    after = pool.by_start.get(start + size)
    if after is not None:
        pool.remove(after)
        size += after[0]
    pool.add((size, start, end))
