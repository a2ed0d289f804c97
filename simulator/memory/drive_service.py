"""What a tier of flash serves: the part of its stated rate that a kind of traffic gets, from the drive's event kernel.

A piece of the traffic is one request, a long one a row of requests of `REQUEST_BYTES`; the host keeps so many of them
outstanding as the tier's queues say, `OUTSTANDING` when it says nothing. Reads go to a drive that was filled in order,
writes to a fresh one past its cache: what a drive keeps up, before collection of garbage. Several drives share the
traffic equally.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from simulator.memory.flash.drive import SECTOR_BYTES, Drive
from simulator.memory.flash.drives import load_drive
from simulator.memory.flash.run import simulate_drive
from simulator.memory.flash.workload import DriveWorkload
from simulator.memory.traffic import Demand

__all__ = ["OUTSTANDING", "REQUEST_BYTES", "DriveService", "bundled_drive_service"]

OUTSTANDING = 32
"""Requests that the host keeps at a drive: the threads of LLM in a flash (arXiv 2312.11514, section 4.1), and the depth
of one UFS queue."""

REQUEST_BYTES = 1 << 17
"""Bytes of a request of sequential traffic: what Linux hands to a drive at most by default, and drives are rated at."""

_REQUESTS = 2000
Direction = Literal["read", "write"]


@dataclass
class DriveService:
    """``drives`` equal drives with ``reads`` or ``writes`` requests outstanding at each; answers are kept.

    The rates stated for the tier are those that `fraction` is a part of. ``runs`` counts the simulations.
    """

    drive: Drive
    drives: int
    reads: int
    writes: int
    stated_read_bytes_per_s: float
    stated_write_bytes_per_s: float
    runs: int = 0
    _known: dict[tuple[Direction, int], float] = field(default_factory=dict, repr=False)

    def fraction(self, demand: Demand) -> float:
        """Part of the stated rates that ``demand`` gets, above 0 and at most 1; reads and writes take turns."""
        asked = demand.quantised(SECTOR_BYTES)
        granule = int(asked.granule_bytes)
        written = asked.write_share
        stated = (1 - written) / self.stated_read_bytes_per_s + written / self.stated_write_bytes_per_s
        served = (1 - written) / self.rate("read", granule) if written < 1 else 0.0
        served += written / self.rate("write", granule) if written else 0.0
        return min(1.0, stated / served)

    def rate(self, direction: Direction, granule_bytes: int) -> float:
        """Bytes per second of pieces of ``granule_bytes`` that lie anywhere, those above a request in order."""
        key = (direction, granule_bytes)
        if key not in self._known:
            self._known[key] = self.drives * self._simulate(direction, granule_bytes)
            self.runs += 1
        return self._known[key]

    def _simulate(self, direction: Direction, granule_bytes: int) -> float:
        outstanding = self.reads if direction == "read" else self.writes
        in_order = granule_bytes > REQUEST_BYTES
        asked = DriveWorkload(
            pattern=f"{'seq' if in_order else 'rand'}-{direction}",  # type: ignore[arg-type]
            size_bytes=REQUEST_BYTES if in_order else granule_bytes,
            queue_depth=outstanding,
            requests=_REQUESTS,
            cached=False,
        )
        return simulate_drive(self.drive, asked).bandwidth_bytes_per_s

    def __str__(self) -> str:
        return f"{self.drives} x {self.drive.name}, {self.reads} reads or {self.writes} writes outstanding"


@lru_cache(maxsize=64)
def bundled_drive_service(
    name: str, drives: int, reads: int, writes: int, read_bytes_per_s: float, write_bytes_per_s: float
) -> DriveService:
    """The service of a bundled drive; equal tiers share one, so that what was simulated for a run serves the next."""
    return DriveService(load_drive(name), drives, reads, writes, read_bytes_per_s, write_bytes_per_s)
