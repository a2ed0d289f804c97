"""Runs of drive simulators from a CSV file, and what each asks of which of our drives.

Columns read: ``simulator, device, workload, read_pct, address_distribution, request_bytes, queue_depth, simulated_s,
initial_occupancy_pct, working_set_pct, data_cache, ideal_mapping_table, device_changes, requests_completed,
mean_response_us, flash_reads, of_which_mapping_reads, multiplane_reads, flash_programs, multiplane_programs,
gc_executions, pages_moved_per_gc, usable, note``; others are ignored.

How a row is read, for tests and for the accuracy report alike:

- A drive that was not preconditioned starts empty: MQSim fills it to its initial occupancy only when it preconditions.
- A preconditioned drive is filled to that occupancy in order; then pages of the working set are written at random until
  every physical page has been programmed once. MQSim instead deals valid pages out by a closed form, and is then stuck:
  its static wear levelling, which compares block numbers, empties the fullest block of a plane at its first collection,
  and all requests come to wait for the few planes that this leaves without free blocks to write.
- A run lasts as long as the reference's requests would keep its queue full, requests x mean response / queue depth
  (Little's law), where that differs by more than 5 % from the time simulated. MQSim loses requests that write to a page
  being moved (its queue is then shorter), and prints rates over whole seconds that end with its last request. The rate
  that is compared is the requests over that time.
- Seeds are our own: random addresses are compared in the mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dse.validation.csv_rows import CsvRow, read_csv
from simulator.memory.flash.drive import Drive
from simulator.memory.flash.drives import load_drive
from simulator.memory.flash.workload import DriveWorkload, Pattern

__all__ = ["DRIVE_COLUMNS", "DriveRow", "drive_of", "read_drive_rows", "workload_of"]

DRIVE_COLUMNS = (
    "simulator", "device", "workload", "read_pct", "address_distribution", "request_bytes", "queue_depth",
    "simulated_s", "initial_occupancy_pct", "working_set_pct", "data_cache", "ideal_mapping_table", "device_changes",
    "requests_completed", "mean_response_us", "flash_reads", "of_which_mapping_reads", "multiplane_reads",
    "flash_programs", "multiplane_programs", "gc_executions", "pages_moved_per_gc", "usable", "note",
)  # fmt: skip
_COUNTS = (
    "flash_reads", "of_which_mapping_reads", "multiplane_reads", "flash_programs", "multiplane_programs",
    "gc_executions",
)  # fmt: skip
_DRIVES = {"MQSim": "ssd-mqsim-default"}
_ORDERS = {"STREAMING": "seq", "RANDOM_UNIFORM": "rand"}
_SAME_TIME = 0.05


@dataclass(frozen=True)
class DriveRow:
    """One run: what was asked of which device, and what it gave. Shares lie between 0 and 1.

    ``unusable`` says why the run says nothing; its results are then None. ``counts`` are those of the whole run.
    """

    line: int
    simulator: str
    device: str
    name: str
    pattern: Pattern
    size_bytes: int
    queue_depth: int
    simulated_s: float
    occupancy: float
    working_set: float
    cached: bool
    ideal_mapping: bool
    changes: tuple[str, ...]
    unusable: str | None
    requests: int | None
    mean_latency_s: float | None
    counts: dict[str, int]
    moved_per_collection: float | None
    note: str

    @property
    def preconditioned(self) -> bool:
        """Whether the drive was in use before the run."""
        return "preconditioned" in self.changes

    @property
    def seconds(self) -> float:
        """How long the run lasts that it is compared with: see above."""
        if self.requests is None or self.mean_latency_s is None:
            return self.simulated_s
        busy_s = self.requests * self.mean_latency_s / self.queue_depth
        return busy_s if abs(busy_s / self.simulated_s - 1) > _SAME_TIME else self.simulated_s

    @property
    def iops(self) -> float | None:
        """Requests over `seconds`."""
        return None if self.requests is None else self.requests / self.seconds


def read_drive_rows(path: Path) -> list[DriveRow]:
    """All rows of the file. Raises `InputError` with file, line and column for what is missing or no number."""
    return [_row(row) for row in read_csv(path, DRIVE_COLUMNS, "drive runs")]


def _row(row: CsvRow) -> DriveRow:
    usable = row.one_of("usable", ("yes", "no")) == "yes"
    reads = row.one_of("read_pct", ("0", "100")) == "100"
    order = _ORDERS[row.one_of("address_distribution", tuple(_ORDERS))]
    patterns: dict[tuple[str, bool], Pattern] = {
        ("seq", True): "seq-read", ("seq", False): "seq-write",
        ("rand", True): "rand-read", ("rand", False): "rand-write",
    }  # fmt: skip
    return DriveRow(
        line=row.line,
        simulator=row.text("simulator"),
        device=row.text("device"),
        name=row.text("workload"),
        pattern=patterns[order, reads],
        size_bytes=row.whole("request_bytes", 1),
        queue_depth=row.whole("queue_depth", 1),
        simulated_s=row.number("simulated_s", above=True),
        occupancy=_share(row, "initial_occupancy_pct"),
        working_set=_share(row, "working_set_pct"),
        cached=row.one_of("data_cache", ("WRITE_CACHE", "TURNED_OFF")) == "WRITE_CACHE",
        ideal_mapping=row.one_of("ideal_mapping_table", ("true", "false")) == "true",
        changes=tuple(text.strip() for text in row.text("device_changes").split(";") if text.strip()),
        unusable=None if usable else row.text("note") or "no reason given",
        requests=row.whole("requests_completed", 1) if usable else None,
        mean_latency_s=row.number("mean_response_us", above=True) * 1e-6 if usable else None,
        counts={name: row.whole(name) for name in _COUNTS if usable and row.text(name)},
        moved_per_collection=row.optional("pages_moved_per_gc"),
        note=row.text("note"),
    )


def _share(row: CsvRow, column: str) -> float:
    value = row.number(column)
    if value > 100:
        raise row.wrong(column, "a percentage from 0 to 100")
    return value / 100


def drive_of(row: DriveRow) -> Drive | str:
    """Our drive for the row's device with its changes made, or why there is none."""
    name = _DRIVES.get(row.simulator)
    if name is None or row.device not in ("default", "altered"):
        return f"no drive for {row.simulator} {row.device}"
    drive = _load(name)
    geometry, mapping, cache = {}, {}, {}
    for change in row.changes:
        if found := re.fullmatch(r"(\d+) (blocks/plane|pages/block)", change):
            field = "blocks_per_plane" if found[2] == "blocks/plane" else "pages_per_block"
            geometry[field] = int(found[1])
        elif found := re.fullmatch(r"OP (0\.\d+)", change):
            mapping["over_provisioning"] = float(found[1])
        elif found := re.fullmatch(r"cache (\d+) MiB", change):
            cache["capacity_bytes"] = int(found[1]) << 20
        elif change != "preconditioned":
            return f"no way to change a drive by {change!r}"
    return drive.model_copy(
        update={
            "geometry": drive.geometry.model_copy(update=geometry),
            "mapping": drive.mapping.model_copy(update=mapping),
            "cache": drive.cache.model_copy(update=cache),
        }
    )


def workload_of(row: DriveRow, drive: Drive) -> DriveWorkload:
    """What the row asks of ``drive``."""
    used = row.occupancy * drive.logical_pages
    return DriveWorkload(
        row.pattern,
        row.size_bytes,
        row.queue_depth,
        row.ideal_mapping,
        row.seconds,
        occupancy=row.occupancy if row.preconditioned else 0.0,
        working_set=row.working_set,
        overwrites=max(0.0, drive.geometry.pages - used) / (row.working_set * drive.logical_pages)
        if row.preconditioned
        else 0.0,
        cached=row.cached,
    )


@lru_cache
def _load(name: str) -> Drive:
    return load_drive(name)
