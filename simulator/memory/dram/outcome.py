"""What a run of one channel yields: counts, and the log of its commands if that was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChannelOutcome", "CommandLog"]


@dataclass(frozen=True)
class CommandLog:
    """Every command in the order it was sent: tick, role (`tables.COMMANDS`), rank, bank and row; -1 where none.

    Commands to all banks of a rank have bank and row -1; precharges and refreshes of one bank have row -1.
    """

    tick: NDArray[np.int64]
    command: NDArray[np.int64]
    rank: NDArray[np.int64]
    bank: NDArray[np.int64]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tick)


@dataclass(frozen=True)
class ChannelOutcome:
    """Counts of one channel, drained: every request has been served and its last byte has moved.

    ``accepted_ticks`` is the tick at which the last request arrived, ``drained_ticks`` the one at which the last byte
    of the last request moved. ``commands`` counts by role (`tables.COMMANDS`). ``read_latency_ticks`` sums, over all
    reads, arrival to last byte (reads answered from the write queue: 1). ``open_ticks`` sums over ranks the ticks with
    a row open.
    """

    accepted_ticks: int
    drained_ticks: int
    reads: int
    writes: int
    forwarded: int
    merged: int
    hits: int
    misses: int
    conflicts: int
    read_latency_ticks: int
    open_ticks: int
    commands: tuple[int, ...]

    @property
    def row_hit_rate(self) -> float:
        """Hits over requests that reached a bank; 0 when none did."""
        reached = self.hits + self.misses + self.conflicts
        return self.hits / reached if reached else 0.0

    @property
    def mean_read_latency_ticks(self) -> float:
        """Over all reads; 0 when there was none."""
        return self.read_latency_ticks / self.reads if self.reads else 0.0
