"""What a user may fix before a search: stores, bypasses, tiles, the stationary tensor, which tensors stay on chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Constraints"]


@dataclass(frozen=True)
class Constraints:
    """Restrictions of the map space; the default restricts nothing.

    ``fuse`` False sends every intermediate through the root level, ``unfused`` names single intermediates that go
    there. ``keep`` and ``bypass`` are (level, tensor) pairs. ``tiles`` holds (level, tensor, rank, tile): that store's
    extent along a rank. ``stationary`` names the operand whose elements enter the first on-chip level that keeps them
    exactly once (an output: leave it once).
    """

    fuse: bool = True
    unfused: frozenset[str] = frozenset()
    keep: frozenset[tuple[str, str]] = frozenset()
    bypass: frozenset[tuple[str, str]] = frozenset()
    tiles: tuple[tuple[str, str, str, int], ...] = ()
    stationary: Literal["input", "weight", "output"] | None = None
