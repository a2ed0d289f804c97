"""Traffic at a memory, told apart by what decides how fast it is served."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["SEQUENTIAL_BYTES", "WRITE_STEPS", "Demand"]

SEQUENTIAL_BYTES = 1 << 20
"""Bytes from which on a piece counts as endless: ends of pieces are too rare to matter."""

WRITE_STEPS = 8
"""Steps in which shares of writes are told apart."""

_MOST_STREAMS = 64


@dataclass(frozen=True)
class Demand:
    """Traffic: ``granule_bytes`` that lie together, ``streams`` at once, and the share of the bytes that is written."""

    granule_bytes: float
    streams: int = 1
    write_share: float = 0.0

    def quantised(self, burst_bytes: int) -> Demand:
        """The nearest traffic that is told apart, never an easier one in granules and streams.

        Granules are powers of two from a burst to 1 MiB, rounded down; streams powers of two up to 64, rounded up;
        the share of writes in eighths, rounded to the nearest.
        """
        granule = min(max(self.granule_bytes, burst_bytes), SEQUENTIAL_BYTES)
        streams = min(max(self.streams, 1), _MOST_STREAMS)
        return Demand(
            1 << math.floor(math.log2(granule)),
            1 << math.ceil(math.log2(streams)),
            round(self.write_share * WRITE_STEPS) / WRITE_STEPS,
        )
