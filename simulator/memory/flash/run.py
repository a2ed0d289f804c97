"""Running a drive: what a workload gets from it, and what that costs the flash."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulator.memory.flash.drive import SECTOR_BYTES, Drive
from simulator.memory.flash.kernel import FINISHED, OUT_OF_BLOCKS, prepare, run_kernel
from simulator.memory.flash.plan import Plan, pattern_plan
from simulator.memory.flash.state import Memory, latency_bin_ns, new_memory
from simulator.memory.flash.workload import DriveWorkload
from workloads.errors import InputError

if TYPE_CHECKING:
    from simulator.memory.flash.trace import DriveTrace

__all__ = ["DriveResult", "FlashCounts", "document", "run_plan", "simulate_drive"]


@dataclass(frozen=True)
class FlashCounts:
    """What the dies did. Commands may have worked on several planes; pages are counted one by one."""

    reads: int  # commands on one page
    multiplane_reads: int
    programs: int
    multiplane_programs: int
    erases: int  # blocks
    pages_read: int
    pages_programmed: int
    host_pages_programmed: int
    mapping_reads: int
    mapping_programs: int
    merge_reads: int  # reads of pages that a write covers only in part
    collections: int
    pages_moved: int  # by collections, and to level wear
    levellings: int
    pages_levelled: int  # of those moved
    suspensions: int
    channel_utilisation: float
    chip_utilisation: float
    most_erases_of_a_block: int
    least_erases_of_a_block: int
    most_erases_in_the_run: int  # of a block, since the clock started


@dataclass(frozen=True)
class DriveResult:
    """What ``workload`` got from ``drive``. ``cpu_s`` is the processor time of the timed part, which begins when the
    simulation's own memory is laid out.

    ``requests`` and ``size_bytes`` are what was done, within ``seconds``. The median and the 99th percentile of latency
    are exact for a trace, whose ``latencies_s`` stand in its order; those of a pattern are within 1 %.
    """

    drive: Drive
    workload: DriveWorkload | DriveTrace
    requests: int
    size_bytes: int
    seconds: float
    mean_latency_s: float
    median_latency_s: float
    p99_latency_s: float
    flash: FlashCounts
    cpu_s: float
    latencies_s: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    @property
    def iops(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def bandwidth_bytes_per_s(self) -> float:
        return self.size_bytes / self.seconds if self.seconds else 0.0

    @property
    def write_amplification(self) -> float:
        """Pages programmed over pages programmed for the host; 1 when the host programmed none."""
        host = self.flash.host_pages_programmed
        return (host + self.flash.pages_moved + self.flash.mapping_programs) / host if host else 1.0

    @property
    def page_ops_per_cpu_s(self) -> float:
        """Pages read and programmed per second of processor time."""
        pages = self.flash.pages_read + self.flash.pages_programmed
        return pages / self.cpu_s if self.cpu_s else 0.0

    @property
    def lifetime_s(self) -> float | None:
        """How long the drive's cycles last at this rate of programming if all blocks wear alike; None where it is not
        known, or endless."""
        worn = self.flash.pages_programmed * self.drive.geometry.page_bytes
        if self.drive.endurance_bytes is None or worn == 0 or not self.seconds:
            return None
        return self.drive.endurance_bytes * self.seconds / worn

    @property
    def first_block_lifetime_s(self) -> float | None:
        """How long a block lasts that goes on being erased as often as the most erased one in this run; None where it
        is not known, or nothing was erased. A run in which few blocks are erased twice says little."""
        cycles, most = self.drive.cells.endurance_cycles, self.flash.most_erases_in_the_run
        return None if cycles is None or most == 0 else cycles * self.seconds / most


def simulate_drive(drive: Drive, workload: DriveWorkload) -> DriveResult:
    """Ask ``drive`` for ``workload``. Deterministic: the same arguments give the same result.

    Raises `InputError` for workloads the drive cannot be asked (with the field), and when it runs out of free blocks
    because the space in use leaves too little to collect.
    """
    return run_plan(drive, workload, pattern_plan(drive, workload))


def run_plan(drive: Drive, workload: DriveWorkload | DriveTrace, plan: Plan) -> DriveResult:
    """Run ``plan``, which is what ``workload`` means to ``drive``. Raises `InputError` as `simulate_drive` does."""
    memory = new_memory(drive, plan)
    _check(drive, prepare(memory))
    erases_before = memory.blocks["erases"].copy()
    started = time.process_time()
    status = run_kernel(memory)
    cpu_s = time.process_time() - started
    _check(drive, status)
    return _result(drive, workload, memory, erases_before, cpu_s)


def _result(
    drive: Drive,
    workload: DriveWorkload | DriveTrace,
    memory: Memory,
    erases_before: NDArray[np.int32],
    cpu_s: float,
) -> DriveResult:
    s = memory.state[0]
    seconds = int(s["now"]) * 1e-9
    done = int(s["done"])
    erases = memory.blocks["erases"]
    geometry = drive.geometry
    counts = FlashCounts(
        reads=int(s["read_commands"]),
        multiplane_reads=int(s["multi_reads"]),
        programs=int(s["program_commands"]),
        multiplane_programs=int(s["multi_programs"]),
        erases=int(s["erases"]),
        pages_read=int(s["pages_read"]),
        pages_programmed=int(s["pages_programmed"]),
        host_pages_programmed=int(s["host_programs"]),
        mapping_reads=int(s["mapping_reads"]),
        mapping_programs=int(s["mapping_programs"]),
        merge_reads=int(s["merge_reads"]),
        collections=int(s["collections"]),
        pages_moved=int(s["moved"]),
        levellings=int(s["levellings"]),
        pages_levelled=int(s["levelled"]),
        suspensions=int(s["suspensions"]),
        channel_utilisation=int(s["channel_busy_ns"]) * 1e-9 / (seconds * geometry.channels) if seconds else 0.0,
        chip_utilisation=int(s["die_busy_ns"]) * 1e-9 / (seconds * geometry.chips) if seconds else 0.0,
        most_erases_of_a_block=int(erases.max()),
        least_erases_of_a_block=int(erases.min()),
        most_erases_in_the_run=int((erases - erases_before).max()),
    )
    latencies_s = memory.requests["latency_ns"] * 1e-9 if s["traced"] else None
    if latencies_s is not None:
        median_s, p99_s = (float(value) for value in np.percentile(latencies_s, (50, 99)))
    else:
        median_s, p99_s = (_percentile_s(s["latencies"], share) for share in (0.5, 0.99))
    return DriveResult(
        drive=drive,
        workload=workload,
        requests=done,
        size_bytes=int(s["done_sectors"]) * SECTOR_BYTES,
        seconds=seconds,
        mean_latency_s=int(s["latency_ns"]) * 1e-9 / done if done else 0.0,
        median_latency_s=median_s,
        p99_latency_s=p99_s,
        flash=counts,
        cpu_s=cpu_s,
        latencies_s=latencies_s,
    )


def _percentile_s(bins: NDArray[np.int64], share: float) -> float:
    """The latency that ``share`` of the requests counted in ``bins`` do not exceed; 0 where there are none."""
    below = np.cumsum(bins)
    if below[-1] == 0:
        return 0.0
    return latency_bin_ns(int(np.searchsorted(below, share * below[-1]))) * 1e-9


def document(result: DriveResult) -> dict[str, Any]:
    """``result`` as the document that is printed: plain numbers, SI units in the names."""
    return {
        "iops": result.iops,
        "bandwidth_bytes_per_s": result.bandwidth_bytes_per_s,
        "mean_latency_s": result.mean_latency_s,
        "median_latency_s": result.median_latency_s,
        "p99_latency_s": result.p99_latency_s,
        "write_amplification": result.write_amplification,
        "flash": {
            **asdict(result.flash),
            "lifetime_s": result.lifetime_s,
            "first_block_lifetime_s": result.first_block_lifetime_s,
        },
        "page_ops_per_cpu_s": result.page_ops_per_cpu_s,
    }


def _check(drive: Drive, status: int) -> None:
    if status == FINISHED:
        return
    expected = "a smaller working set or occupancy, or more over-provisioning"
    if status == OUT_OF_BLOCKS:
        raise InputError(f"{drive.name} ran out of free blocks", expected, "working_set")
    raise InputError(f"{drive.name} came to a standstill: no block is worth collecting", expected, "working_set")
