"""How fast the flash simulation runs: flash pages per second of processor time, on one core, compilation excluded.

Run with ``uv run python benchmarks/flash.py [--json FILE] [--report reports/performance.md]``. Each case is run once
briefly and then five times; the median counts. MQSim's own rate on its row of the reference is 17 to 115 thousand
requests a second.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from pathlib import Path

import numpy as np

from dse.reports.sections import with_part
from simulator.memory.flash.drive import Drive
from simulator.memory.flash.drives import load_drive
from simulator.memory.flash.run import simulate_drive
from simulator.memory.flash.trace import DriveTrace, simulate_trace
from simulator.memory.flash.workload import DriveWorkload

_RUNS = 5
CASES = {
    "sequential read 128 KiB, 16 outstanding": DriveWorkload("seq-read", 131072, 16, seconds=2.0),
    "random read 4 KiB, 16 outstanding": DriveWorkload("rand-read", 4096, 16, seconds=2.0),
    "random read 4 KiB, 16 outstanding, whole table": DriveWorkload("rand-read", 4096, 16, True, seconds=2.0),
    "sequential read 128 KiB, 64 outstanding, from inside": DriveWorkload(
        "seq-read", 131072, 64, seconds=2.0, inside=True
    ),
    "sequential write 128 KiB, 16 outstanding": DriveWorkload("seq-write", 131072, 16, seconds=2.0),
    "random write 4 KiB, 16 outstanding": DriveWorkload("rand-write", 4096, 16, seconds=2.0),
}
COLLECTING = DriveWorkload(
    "rand-write", 8192, 16, True, requests=300_000, occupancy=1.0, working_set=1.0, overwrites=1.0, cached=False
)


def _small(drive: Drive) -> Drive:
    """The drive with 512 blocks in each of two planes, so that collection is in its steady state soon."""
    geometry = drive.geometry.model_copy(
        update={"channels": 1, "chips_per_channel": 1, "dies_per_chip": 1, "blocks_per_plane": 512}
    )
    collection = drive.mapping.collection.model_copy(update={"policy": "greedy", "most_at_once": 1, "stop_blocks": 2})
    return drive.model_copy(
        update={"geometry": geometry, "mapping": drive.mapping.model_copy(update={"collection": collection})}
    )


def _rate(drive: Drive, workload: DriveWorkload) -> float:
    return statistics.median(simulate_drive(drive, workload).page_ops_per_cpu_s for _ in range(_RUNS))


def _mixed_trace(drive: Drive) -> DriveTrace:
    """200,000 requests of 4 to 64 KiB anywhere in half the space, three reads to each write."""
    rng = np.random.default_rng(1)
    first = rng.integers(0, drive.logical_pages // 2, 200_000) * drive.geometry.page_bytes
    return DriveTrace(first, rng.integers(1, 17, len(first)) * 4096, rng.random(len(first)) < 0.25, queue_depth=32)


def _part(rates: dict[str, float]) -> str:
    """The report's part."""
    lines = [
        "# Speed of the drives",
        "",
        "Flash pages read and programmed per second of processor time, in millions, on one core: ssd-mqsim-default,",
        "the median of five runs, compiling and laying out memory excluded; 2 million were aimed at. Python",
        f"{platform.python_version()} on two shared cores: single figures vary by a quarter. Regenerate with",
        "`uv run python benchmarks/flash.py --report reports/performance.md`.",
        "",
        "| case | million pages per second |",
        "| --- | --: |",
        *(f"| {name} | {rate / 1e6:.2f} |" for name, rate in rates.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", type=Path, help="put the report's part into this Markdown file")
    given = parser.parse_args()
    drive = load_drive("ssd-mqsim-default")
    simulate_drive(drive, DriveWorkload("rand-read", seconds=0.001))
    rates = {name: _rate(drive, workload) for name, workload in CASES.items()}
    rates["random write 8 KiB, collecting"] = _rate(_small(drive), COLLECTING)
    trace = _mixed_trace(drive)
    rates["trace, 4 to 64 KiB, one write in four, 32 outstanding"] = statistics.median(
        simulate_trace(drive, trace).page_ops_per_cpu_s for _ in range(_RUNS)
    )
    for name, rate in rates.items():
        print(f"{name:55s} {rate / 1e6:6.2f} million pages per second")
    if given.json:
        given.json.write_text(json.dumps(rates, indent=2) + "\n")
    if given.report:
        before = given.report.read_text(encoding="utf-8") if given.report.exists() else ""
        given.report.write_text(with_part(before, _part(rates)), encoding="utf-8")


if __name__ == "__main__":
    main()
