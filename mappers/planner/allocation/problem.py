"""Buffers with given lifetimes: what an allocation has to find offsets for.

Times are integers in any unit, lifetimes half-open; sizes and offsets are bytes. While a buffer has a gap it holds
nothing, or, where the gap has a window, only the bytes [low, high) of itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workloads.errors import InputError

__all__ = ["LARGEST", "AllocationProblem", "Buffer", "Gap", "Piece"]

LARGEST = 1 << 56
"""Sizes, offsets and their sums stay below it, so that no 64-bit sum overflows."""


@dataclass(frozen=True, slots=True)
class Gap:
    """From ``lower`` to before ``upper`` only the bytes ``window`` = (low, high) are held; without one, none."""

    lower: int
    upper: int
    window: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """From ``lower`` to before ``upper`` the bytes from ``low`` to before ``high`` of a buffer are held."""

    lower: int
    upper: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Buffer:
    """``size`` bytes, alive from ``lower`` to before ``upper``.

    The offset must be a multiple of ``alignment``, and ``pinned`` where that is given. ``hint`` is an offset that is
    kept when that costs nothing. ``pools`` names the memories it may live in, where there are several; none: any.
    """

    id: str
    lower: int
    upper: int
    size: int
    alignment: int = 1
    pinned: int | None = None
    hint: int | None = None
    gaps: tuple[Gap, ...] = ()
    pools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise InputError(f"{self.id} lives from {self.lower} to {self.upper}", "lower < upper", "upper")
        if not 0 <= self.size < LARGEST:
            raise InputError(f"{self.id} has {self.size} bytes", "0 to 2^56 bytes", "size")
        if not 1 <= self.alignment < LARGEST:
            raise InputError(f"{self.id} is aligned to {self.alignment}", "1 to 2^56 bytes", "alignment")
        if self.pinned is not None and (not 0 <= self.pinned < LARGEST or self.pinned % self.alignment):
            raise InputError(
                f"{self.id} is pinned at {self.pinned}", f"a multiple of its alignment {self.alignment}", "offset"
            )
        if self.hint is not None and not 0 <= self.hint < LARGEST:
            raise InputError(f"{self.id} has the hint {self.hint}", "an offset, or -1 for none", "hint")
        before = self.lower
        for gap in self.gaps:
            if not before <= gap.lower < gap.upper <= self.upper:
                expected = f"gaps in order, apart, within {self.lower} to {self.upper}"
                raise InputError(f"{self.id} has a gap from {gap.lower} to {gap.upper}", expected, "gaps")
            if gap.window is not None and not 0 <= gap.window[0] < gap.window[1] <= self.size:
                low, high = gap.window
                raise InputError(f"{self.id} has the window {low} to {high}", f"within its {self.size} bytes", "gaps")
            before = gap.upper

    @property
    def pieces(self) -> Iterator[Piece]:
        """What is held when, in order of time; nothing of a buffer without bytes."""
        if self.size == 0:
            return
        before = self.lower
        for gap in self.gaps:
            if before < gap.lower:
                yield Piece(before, gap.lower, 0, self.size)
            if gap.window is not None:
                yield Piece(gap.lower, gap.upper, *gap.window)
            before = gap.upper
        if before < self.upper:
            yield Piece(before, self.upper, 0, self.size)


@dataclass(frozen=True)
class AllocationProblem:
    """Buffers that want offsets in one memory. Ids are unique."""

    name: str
    buffers: tuple[Buffer, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for buffer in self.buffers:
            if buffer.id in seen:
                raise InputError(f"the id {buffer.id!r} occurs twice", "each buffer its own id", "id")
            seen.add(buffer.id)
        top = sum(buffer.size + buffer.alignment for buffer in self.buffers)
        if top + max((buffer.pinned or 0 for buffer in self.buffers), default=0) >= LARGEST:
            raise InputError(f"the buffers have {top} bytes together", "less than 2^56", "size")

    @property
    def has_windows(self) -> bool:
        return any(gap.window is not None for buffer in self.buffers for gap in buffer.gaps)

    def peak_bytes(self, offsets: Sequence[int]) -> int:
        """Bytes of memory that hold every buffer whole, windows or not; 0 when no buffer has bytes."""
        tops = (offset + buffer.size for buffer, offset in zip(self.buffers, offsets, strict=True) if buffer.size)
        return max(tops, default=0)
