"""Running a drive: what a workload gets from it, and what that costs the flash."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from simulator.memory.flash.drive import Drive
from simulator.memory.flash.kernel import FINISHED, OUT_OF_BLOCKS, prepare, run_kernel
from simulator.memory.flash.state import Memory, new_memory
from simulator.memory.flash.workload import DriveWorkload
from workloads.errors import InputError

__all__ = ["DriveResult", "FlashCounts", "document", "simulate_drive"]


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
    pages_moved: int
    suspensions: int
    channel_utilisation: float
    chip_utilisation: float
    most_erases_of_a_block: int
    least_erases_of_a_block: int


@dataclass(frozen=True)
class DriveResult:
    """What ``workload`` got from ``drive``. ``cpu_s`` is the processor time of the timed part."""

    drive: Drive
    workload: DriveWorkload
    requests: int
    seconds: float
    mean_latency_s: float
    flash: FlashCounts
    cpu_s: float

    @property
    def iops(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def bandwidth_bytes_per_s(self) -> float:
        return self.iops * self.workload.size_bytes

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
        """How long the drive's cycles last at this rate of programming; None where it is not known, or endless."""
        worn = self.flash.pages_programmed * self.drive.geometry.page_bytes
        if self.drive.endurance_bytes is None or worn == 0 or not self.seconds:
            return None
        return self.drive.endurance_bytes * self.seconds / worn


def simulate_drive(drive: Drive, workload: DriveWorkload) -> DriveResult:
    """Ask ``drive`` for ``workload``. Deterministic: the same arguments give the same result.

    Raises `InputError` for workloads the drive cannot be asked (with the field), and when it runs out of free blocks
    because the space in use leaves too little to collect.
    """
    memory = new_memory(drive, workload)
    _check(drive, prepare(memory))
    started = time.process_time()
    status = run_kernel(memory)
    cpu_s = time.process_time() - started
    _check(drive, status)
    return result_of(drive, workload, memory, cpu_s)


def result_of(drive: Drive, workload: DriveWorkload, memory: Memory, cpu_s: float) -> DriveResult:
    """The result that a finished ``memory`` holds."""
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
        suspensions=int(s["suspensions"]),
        channel_utilisation=int(s["channel_busy_ns"]) * 1e-9 / (seconds * geometry.channels) if seconds else 0.0,
        chip_utilisation=int(s["die_busy_ns"]) * 1e-9 / (seconds * geometry.chips) if seconds else 0.0,
        most_erases_of_a_block=int(erases.max()),
        least_erases_of_a_block=int(erases.min()),
    )
    latency_s = int(s["latency_ns"]) * 1e-9 / done if done else 0.0
    return DriveResult(drive, workload, done, seconds, latency_s, counts, cpu_s)


def document(result: DriveResult) -> dict[str, Any]:
    """``result`` as the document that is printed: plain numbers, SI units in the names."""
    return {
        "iops": result.iops,
        "bandwidth_bytes_per_s": result.bandwidth_bytes_per_s,
        "mean_latency_s": result.mean_latency_s,
        "write_amplification": result.write_amplification,
        "flash": {**asdict(result.flash), "lifetime_s": result.lifetime_s},
        "page_ops_per_cpu_s": result.page_ops_per_cpu_s,
    }


def _check(drive: Drive, status: int) -> None:
    if status == FINISHED:
        return
    expected = "a smaller working set or occupancy, or more over-provisioning"
    if status == OUT_OF_BLOCKS:
        raise InputError(f"{drive.name} ran out of free blocks", expected, "working_set")
    raise InputError(f"{drive.name} came to a standstill: no block is worth collecting", expected, "working_set")
