"""How fast a drive reads in random chunks, by their size and the number of threads that each wait for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.memory.flash.drive import Drive
from simulator.memory.flash.run import simulate_drive
from simulator.memory.flash.workload import DriveWorkload

__all__ = ["ChunkRate", "chunk_rates", "linear_rate"]


@dataclass(frozen=True)
class ChunkRate:
    """Bytes per second of random reads of ``chunk_bytes`` by ``threads``, one request each at a time."""

    chunk_bytes: int
    threads: int
    bandwidth_bytes_per_s: float
    mean_latency_s: float


def chunk_rates(
    drive: Drive, chunks: Sequence[int], threads: Sequence[int], *, requests: int = 4000, working_set: float = 0.5
) -> tuple[ChunkRate, ...]:
    """Every chunk size with every number of threads. Raises `InputError` for what the drive cannot be asked."""
    rates = []
    for chunk in chunks:
        for count in threads:
            asked = DriveWorkload("rand-read", chunk, count, requests=requests, working_set=working_set)
            result = simulate_drive(drive, asked)
            rates.append(ChunkRate(chunk, count, result.bandwidth_bytes_per_s, result.mean_latency_s))
    return tuple(rates)


def linear_rate(drive: Drive, *, request_bytes: int = 1 << 20, queue_depth: int = 8, requests: int = 1000) -> float:
    """Bytes per second of reading on and on in large requests."""
    asked = DriveWorkload("seq-read", request_bytes, queue_depth, requests=requests)
    return simulate_drive(drive, asked).bandwidth_bytes_per_s
