"""A workload as both simulations take it: sizes, bounds and either a pattern or requests one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.memory.flash.drive import Drive
from simulator.memory.flash.workload import (
    DriveWorkload,
    check_workload,
    most_pages,
    units,
    whole_table,
)

__all__ = ["REQUEST", "Plan", "pattern_plan"]

REQUEST = np.dtype(
    [(name, np.int64) for name in ("first_sector", "sectors", "write", "arrival_ns", "data_ns", "latency_ns")]
)
"""A request of a trace. ``data_ns`` is what its data take on the host's link; the run fills in ``latency_ns``."""

_FOREVER = 2**62


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run needs to know. ``requests`` holds a trace, or nothing: then the pattern makes the requests."""

    queue_depth: int
    most_pages: int  # that one request touches
    used_pages: int  # logical pages, from the first, that requests go to
    occupied_pages: int  # logical pages, from the first, written in order before the clock starts
    overwrites: int  # pages written at random before the clock starts, among the first ``overwrite_span``
    overwrite_span: int
    writes: bool  # whether any request writes
    cached: bool
    whole_table: bool
    inside: bool
    seed: int
    stop_ns: int
    most_requests: int
    requests: NDArray[np.void]
    open_loop: bool = False
    random: bool = False
    size_bytes: int = 0
    units: int = 1
    valid_pages: tuple[tuple[int, ...], ...] = ()  # of the blocks full at the start, for each plane in turn
    stated_pages: int = 0  # logical pages, from the first, among which are those of ``valid_pages``

    @property
    def mapped_pages(self) -> int:
        """Logical pages, from the first, that may have been placed; others are where a filled drive has them."""
        return max(self.used_pages if self.writes or self.overwrites else 0, self.occupied_pages, self.stated_pages)

    @property
    def most_entries(self) -> int:
        """Entries of the mapping table that the run can need at once."""
        return 2 * max(self.used_pages, self.occupied_pages, self.stated_pages) + 2 * self.outstanding_pages + 2

    @property
    def outstanding_pages(self) -> int:
        return self.most_pages * self.queue_depth


def pattern_plan(drive: Drive, workload: DriveWorkload) -> Plan:
    """The plan of a pattern. Raises `InputError` where ``drive`` cannot be asked for ``workload``."""
    check_workload(drive, workload)
    used = int(workload.working_set * drive.logical_pages)
    count = units(drive, workload)
    span = count * workload.size_bytes // drive.geometry.page_bytes
    return Plan(
        queue_depth=workload.queue_depth,
        most_pages=most_pages(drive, workload),
        used_pages=used,
        occupied_pages=int(workload.occupancy * drive.logical_pages),
        overwrites=int(workload.overwrites * used + 0.5) if span else 0,
        overwrite_span=span,
        writes=workload.writes,
        cached=workload.writes and workload.cached and drive.cache.capacity_bytes >= drive.geometry.page_bytes,
        whole_table=whole_table(drive, ideal_mapping=workload.ideal_mapping),
        inside=workload.inside,
        seed=workload.seed,
        stop_ns=_FOREVER if workload.requests is not None else int(workload.seconds * 1e9 + 0.5),
        most_requests=_FOREVER if workload.requests is None else workload.requests,
        requests=np.zeros(0, dtype=REQUEST),
        random=workload.random,
        size_bytes=workload.size_bytes,
        units=count,
        valid_pages=workload.valid_pages,
        stated_pages=drive.geometry.planes * max((sum(plane) for plane in workload.valid_pages), default=0),
    )
