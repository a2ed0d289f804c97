"""Requests given one by one: what a drive makes of a trace, asked by a host or by an engine inside the drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.memory.flash.drive import SECTOR_BYTES, Drive
from simulator.memory.flash.plan import REQUEST, Plan
from simulator.memory.flash.run import DriveResult, run_plan
from simulator.memory.flash.workload import check_depth, check_outstanding, check_shares, whole_table
from workloads.errors import InputError

__all__ = ["DriveTrace", "simulate_trace", "trace_plan"]

_MOST_REQUESTS = 10**8
_MOST_SECONDS = 1e8


@dataclass(frozen=True, eq=False)
class DriveTrace:
    """``n`` requests in order, each with its first byte, its size and whether it writes, in whole sectors of 512 bytes.

    Without ``arrival_s`` the trace is a closed loop: ``queue_depth`` requests are outstanding, and the next is sent
    when one is done. With it each request arrives at its second from the start, in order; it is sent at once if fewer
    than ``queue_depth`` are outstanding, else when its turn comes, and its latency counts from its arrival.

    Raises `InputError`, with the field, for arrays of unlike or no length, parts of sectors, arrivals that are not
    finite or go back.
    """

    first_bytes: NDArray[np.int64]
    size_bytes: NDArray[np.int64]
    writes: NDArray[np.bool_]
    arrival_s: NDArray[np.float64] | None = None
    queue_depth: int = 32

    def __post_init__(self) -> None:
        types = {"first_bytes": np.int64, "size_bytes": np.int64, "writes": np.bool_, "arrival_s": np.float64}
        for name, kind in types.items():
            value = getattr(self, name)
            if value is None and name == "arrival_s":
                continue
            array = np.asarray(value)
            if array.ndim != 1 or array.shape != np.shape(self.first_bytes) or not np.can_cast(array.dtype, kind):
                problem = f"found {array.dtype} of shape {array.shape}"
                raise InputError(problem, f"one {np.dtype(kind)} for each request", name)
            object.__setattr__(self, name, array.astype(kind))
        if not 1 <= len(self) <= _MOST_REQUESTS:
            raise InputError(f"found {len(self):,} requests", f"1 to {_MOST_REQUESTS:,}", "first_bytes")
        whole = f"whole sectors of {SECTOR_BYTES} bytes"
        _refuse(self.first_bytes, (self.first_bytes < 0) | (self.first_bytes % SECTOR_BYTES != 0), whole, "first_bytes")
        _refuse(self.size_bytes, (self.size_bytes <= 0) | (self.size_bytes % SECTOR_BYTES != 0), whole, "size_bytes")
        if self.arrival_s is not None:
            fits = (self.arrival_s >= 0) & (self.arrival_s <= _MOST_SECONDS)
            _refuse(self.arrival_s, ~fits, f"0 to {_MOST_SECONDS:g} seconds", "arrival_s")
            back = np.concatenate(([False], np.diff(self.arrival_s) < 0))
            _refuse(self.arrival_s, back, "no arrival before the one of the request before it", "arrival_s")

    def __len__(self) -> int:
        return int(np.size(self.first_bytes))


def _refuse(values: NDArray[np.generic], wrong: NDArray[np.bool_], expected: str, field: str) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(f"request {at} has {values[at]}", expected, field)


def trace_plan(
    drive: Drive,
    trace: DriveTrace,
    *,
    occupancy: float = 0.0,
    ideal_mapping: bool = False,
    cached: bool = True,
    inside: bool = False,
    seed: int = 1,
) -> Plan:
    """``trace`` as the simulations take it. Raises `InputError` where ``drive`` cannot be asked for it."""
    check_depth(drive, trace.queue_depth)
    check_shares(occupancy, seed)
    geometry, host = drive.geometry, drive.host
    last = trace.first_bytes + trace.size_bytes
    beyond = (last > drive.capacity_bytes) | (last < trace.first_bytes)
    _refuse(trace.first_bytes, beyond, f"requests that end within {drive.capacity_bytes:,} bytes", "first_bytes")
    pages = -(-last // geometry.page_bytes) - trace.first_bytes // geometry.page_bytes
    most_pages, depth = int(pages.max()), min(trace.queue_depth, len(trace))
    whole = whole_table(drive, ideal_mapping=ideal_mapping)
    check_outstanding(drive, most_pages * depth, whole=whole)
    requests = np.zeros(len(trace), dtype=REQUEST)
    requests["first_sector"] = trace.first_bytes // SECTOR_BYTES
    requests["sectors"] = trace.size_bytes // SECTOR_BYTES
    requests["write"] = trace.writes
    if trace.arrival_s is not None:
        requests["arrival_ns"] = np.floor(trace.arrival_s * 1e9 + 0.5)
    sizes, inverse = np.unique(trace.size_bytes, return_inverse=True)
    requests["data_ns"] = np.array([int(host.message_ns(int(size)) + 0.5) for size in sizes], dtype=np.int64)[inverse]
    writes = bool(trace.writes.any())
    return Plan(
        queue_depth=depth,
        most_pages=most_pages,
        used_pages=-(-int(last.max()) // geometry.page_bytes),
        occupied_pages=int(occupancy * drive.logical_pages),
        overwrites=0,
        overwrite_span=0,
        writes=writes,
        cached=writes and cached and drive.cache.capacity_bytes >= geometry.page_bytes,
        whole_table=whole,
        inside=inside,
        seed=seed,
        stop_ns=2**62,
        most_requests=len(trace),
        requests=requests,
        open_loop=trace.arrival_s is not None,
    )


def simulate_trace(
    drive: Drive,
    trace: DriveTrace,
    *,
    occupancy: float = 0.0,
    ideal_mapping: bool = False,
    cached: bool = True,
    inside: bool = False,
    seed: int = 1,
) -> DriveResult:
    """Ask ``drive`` for the requests of ``trace``, to the last; the result has the latency of each.

    The first ``occupancy`` of the logical space has been written in order before; other pages read, unless the trace
    writes them, are where a drive filled in order has them. ``cached``, ``ideal_mapping`` and ``inside`` are those of
    `DriveWorkload`. A read does not wait for a write of its page that is under way past the cache. Deterministic:
    ``seed`` only matters to drives that choose at random which blocks to collect.

    Raises `InputError`, with the field, for what the drive cannot be asked and when it runs out of free blocks.
    """
    plan = trace_plan(
        drive, trace, occupancy=occupancy, ideal_mapping=ideal_mapping, cached=cached, inside=inside, seed=seed
    )
    return run_plan(drive, trace, plan)
