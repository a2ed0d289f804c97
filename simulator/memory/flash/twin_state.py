"""What the plain twin keeps of blocks, planes and operations, and its random numbers; see `twin` for the rules."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

__all__ = ["QUEUES", "Block", "Operation", "OutOfBlocks", "Plane", "below", "sectors"]

QUEUES = ("map read", "move read", "read", "move", "map", "write", "erase")


def below(rng: int, n: int) -> tuple[int, int]:
    """The kernel's random numbers: the next state and a number below ``n``."""
    state = (rng * 6364136223846793005 + 1442695040888963407) % 2**64
    if n <= 2**20:
        return state, (state >> 33) % 2**31 * n >> 31
    return state, (state >> 11) % n


def sectors(bits: int) -> int:
    return bits.bit_count()


@dataclass(eq=False)
class Operation:
    """A page to read or program, or a block to erase."""

    kind: str
    lpa: int
    size_bytes: int = 0
    bits: int = 0
    request: int | None = None
    held_sectors: int = 0  # of the cache, when no request waits for it
    plane: int = 0
    block: int = 0
    page: int = 0
    seq: int = 0
    linked: Operation | None = None
    source: int = 0  # the block that a moved page comes from


@dataclass(eq=False)
class Block:
    """A block: who owns each page written, None where the page is invalid."""

    owners: list[tuple[str, int] | None] = field(default_factory=list)
    erases: int = 0
    busy: int = 0
    state: str = "free"  # open, closed, collected, erasing
    left: int = 0
    levelled: bool = False

    @property
    def idle(self) -> bool:
        """Whether it is full, and nothing is done to it."""
        return self.state == "closed" and self.busy == 0

    @property
    def valid(self) -> int:
        return sum(owner is not None for owner in self.owners)


@dataclass(eq=False)
class Plane:
    """A plane's blocks by number, the open one for each use, its queues, and writes that wait for free blocks."""

    blocks: dict[int, Block]
    open: dict[str, int] = field(default_factory=dict)
    queues: dict[str, list[Operation]] = field(default_factory=lambda: {name: [] for name in QUEUES})
    stopped: deque[Operation] = field(default_factory=deque)
    collecting: int = 0
    levelling: bool = False
    moving: int = 0

    @property
    def pool(self) -> int:
        return sum(block.state == "free" for block in self.blocks.values())


class OutOfBlocks(Exception):
    """A plane has no free block left."""
