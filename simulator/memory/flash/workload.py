"""What a drive is asked: one pattern of equal requests, a fixed number of them outstanding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from simulator.memory.flash.drive import SECTOR_BYTES, Drive
from workloads.errors import InputError, unknown_name

__all__ = ["MOST_OUTSTANDING", "PATTERNS", "DriveWorkload", "Pattern", "check_depth", "check_outstanding"]
__all__ += ["check_shares", "check_workload", "most_pages", "units", "whole_table"]

Pattern = Literal["rand-read", "seq-read", "rand-write", "seq-write"]
PATTERNS: tuple[str, ...] = get_args(Pattern)
MOST_OUTSTANDING = 4096
_MOST_PAGES_OUTSTANDING = 2**20


@dataclass(frozen=True)
class DriveWorkload:
    """Requests of ``size_bytes``, ``queue_depth`` of them outstanding, each aligned to its size.

    ``working_set`` is the share of the logical space that requests go to, from its start. Before the clock starts the
    first ``occupancy`` of the logical space is written once, in order, and then pages of the working set at random,
    ``overwrites`` times its size. Pages read that were never written are where a drive filled in order has them.
    With ``valid_pages`` the drive starts from a stated state instead of an empty one: for each plane in turn (the first
    again after the last), the valid pages of every block that is full when the clock starts, in the order in which they
    were filled. Those pages hold the plane's first logical pages; the rest of their blocks is invalid.

    The run ends after ``seconds``, or when ``requests`` are done if given. ``cached`` sends writes through the drive's
    write cache; ``ideal_mapping`` keeps the whole mapping table on the controller, as is also done where it fits.
    ``inside``: an engine inside the drive asks. There is no host link and no queue; what is read is had once it has
    left its channel, at no cost in the controller's memory, whose rate is not modelled for reads.
    """

    pattern: Pattern
    size_bytes: int = 4096
    queue_depth: int = 1
    ideal_mapping: bool = False
    seconds: float = 1.0
    requests: int | None = None
    seed: int = 1
    occupancy: float = 0.0
    working_set: float = 0.5
    overwrites: float = 0.0
    cached: bool = True
    inside: bool = False
    valid_pages: tuple[tuple[int, ...], ...] = ()

    @property
    def writes(self) -> bool:
        return self.pattern.endswith("write")

    @property
    def random(self) -> bool:
        return self.pattern.startswith("rand")


def check_workload(drive: Drive, workload: DriveWorkload) -> None:
    """Raise `InputError`, with the field, where ``drive`` cannot be asked for ``workload``."""
    if workload.pattern not in PATTERNS:
        raise unknown_name("pattern", workload.pattern, PATTERNS, field="pattern")
    if workload.size_bytes < SECTOR_BYTES or workload.size_bytes % SECTOR_BYTES:
        raise InputError(f"found {workload.size_bytes} bytes", f"whole sectors of {SECTOR_BYTES} bytes", "size_bytes")
    check_depth(drive, workload.queue_depth)
    check_shares(workload.occupancy, workload.seed)
    if not 1e-9 <= workload.working_set <= 1:
        raise InputError(f"found {workload.working_set}", "a share of the logical space, at most 1", "working_set")
    if workload.overwrites < 0:
        raise InputError(f"found {workload.overwrites}", "0 or more times the working set", "overwrites")
    if workload.requests is None and not 0 < workload.seconds <= 3600:
        raise InputError(f"found {workload.seconds} s", "more than 0, at most 3600 s", "seconds")
    if workload.requests is not None and not 1 <= workload.requests <= 10**10:
        raise InputError(f"found {workload.requests}", "1 to 10,000,000,000", "requests")
    if units(drive, workload) < 1:
        held = int(workload.working_set * drive.logical_pages) * drive.geometry.page_bytes
        raise InputError(f"requests of {workload.size_bytes:,} bytes", f"at most the {held:,} bytes used", "size_bytes")
    _check_valid_pages(drive, workload)
    whole = whole_table(drive, ideal_mapping=workload.ideal_mapping)
    check_outstanding(drive, most_pages(drive, workload) * workload.queue_depth, whole=whole)


def _check_valid_pages(drive: Drive, workload: DriveWorkload) -> None:
    """Raise `InputError` where the drive cannot be in the state to start from."""
    geometry = drive.geometry
    most_blocks = geometry.blocks_per_plane - 4  # three are open, and one is free
    most_pages = drive.logical_pages // geometry.planes
    if workload.valid_pages and workload.occupancy > 0:
        raise InputError(f"found {workload.occupancy} with valid_pages", "0, the state being given", "occupancy")
    for plane in workload.valid_pages:
        if len(plane) > most_blocks:
            raise InputError(f"found {len(plane)} full blocks", f"at most {most_blocks} of a plane", "valid_pages")
        for pages in plane:
            if not 0 <= pages <= geometry.pages_per_block:
                raise InputError(f"found {pages} pages", f"0 to {geometry.pages_per_block} of a block", "valid_pages")
        if sum(plane) > most_pages:
            raise InputError(f"found {sum(plane):,} valid pages", f"at most {most_pages:,} of a plane", "valid_pages")


def check_depth(drive: Drive, queue_depth: int) -> None:
    """Raise `InputError` where the host cannot have ``queue_depth`` requests outstanding."""
    most = min(MOST_OUTSTANDING, drive.host.queue_entries)
    if not 1 <= queue_depth <= most:
        raise InputError(f"found {queue_depth} requests outstanding", f"1 to {most}", "queue_depth")


def check_shares(occupancy: float, seed: int) -> None:
    """Raise `InputError` for what no drive can be filled with, and for seeds outside 63 bits."""
    if not 0 <= occupancy <= 1:
        raise InputError(f"found {occupancy}", "a share of the logical space, at most 1", "occupancy")
    if not 0 <= seed < 2**63:
        raise InputError(f"found {seed}", "a whole number from 0, below 2**63", "seed")


def check_outstanding(drive: Drive, pages: int, *, whole: bool) -> None:
    """Raise `InputError` where ``pages`` outstanding at once are too many, for the mapping table unless it is whole."""
    if pages > _MOST_PAGES_OUTSTANDING:
        raise InputError(f"{pages:,} pages outstanding", f"at most {_MOST_PAGES_OUTSTANDING:,}", "queue_depth")
    if not whole and drive.mapping_entries < 2 * pages + 2:
        problem = f"{drive.mapping_entries:,} mapping entries with {pages:,} pages outstanding"
        raise InputError(problem, "more than two entries for each page outstanding", "queue_depth")


def whole_table(drive: Drive, *, ideal_mapping: bool) -> bool:
    """Whether the controller holds the whole mapping table: as asked for, or because it fits."""
    return ideal_mapping or drive.mapping_entries >= drive.logical_pages


def units(drive: Drive, workload: DriveWorkload) -> int:
    """Requests that the working set holds side by side."""
    return int(workload.working_set * drive.logical_pages) * drive.geometry.page_bytes // workload.size_bytes


def most_pages(drive: Drive, workload: DriveWorkload) -> int:
    """Pages that one request touches at most."""
    page = drive.geometry.page_bytes
    if workload.size_bytes % page == 0:
        return workload.size_bytes // page
    return workload.size_bytes // page + (1 if page % workload.size_bytes == 0 else 2)
