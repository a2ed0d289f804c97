"""Results of DRAMSys that ArchGym published, beside our own controller's.

``published.csv``: of the example data in srivatsankrishnan/oss-arch-gym c4319fb,
sims/DRAM/binary/DRAMSys_Proxy_Model/data/Example_DRAMSys_Proxy_Model_Data.csv, one row of each different outcome with
its settings. Latencies, which stand there in ms or, where DRAMSys printed whole nanoseconds, in thousandths of it, are
in microseconds here; energies in mJ. The trace is not named. That it is the stream is derived: with open pages 10,000
reads take 10,000 bursts of four clocks, an activation and a read, to the nanosecond.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from pathlib import Path

from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.queued import QueuedController
from simulator.memory.dram.queued_kernel import run_queued
from simulator.memory.dram.queued_traces import queued_trace

__all__ = ["PublishedRow", "compared", "published_rows"]

_FILE = Path(__file__).parent / "published.csv"


@dataclass(frozen=True)
class PublishedRow:
    """A controller, and what DRAMSys said of it on the stream."""

    controller: QueuedController
    total_s: float
    energy_j: float


def published_rows() -> tuple[PublishedRow, ...]:
    """All rows, in the order of the source."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_row(line) for line in csv.DictReader(file))


def _row(line: dict[str, str]) -> PublishedRow:
    whole = ("buffer_size", "max_active", "max_postponed", "max_pulled_in")
    settings = {field.name: line[field.name] for field in fields(QueuedController)}
    controller = QueuedController(**{name: int(v) if name in whole else v for name, v in settings.items()})  # type: ignore[arg-type]
    return PublishedRow(controller, float(line["total_us"]) * 1e-6, float(line["energy_mj"]) * 1e-3)


def compared() -> tuple[tuple[PublishedRow, float, float], ...]:
    """Each row with our total time in seconds and energy in joules."""
    device: Device = load_device("DDR3-1600")
    trace = queued_trace(device, "stream")
    found = []
    for row in published_rows():
        outcome, _ = run_queued(device, trace, row.controller)
        found.append((row, outcome.total_s(device), outcome.energy_j(device)))
    return tuple(found)
