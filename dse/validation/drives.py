"""Our drives beside runs of a drive simulator, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dse.validation.compared import Compared, error_text
from dse.validation.drive_report import drive_report
from dse.validation.drive_rows import DriveRow, drive_of, read_drive_rows, workload_of
from dse.validation.validation import Report, Validation
from simulator.memory.flash.run import DriveResult, simulate_drive
from workloads.errors import InputError

__all__ = ["DriveComparison", "compare_drives", "predict_drive", "validate_drives"]


@dataclass(frozen=True)
class DriveComparison:
    """A row beside our run of it."""

    row: DriveRow
    result: DriveResult

    @property
    def compared(self) -> dict[str, Compared]:
        """What both have, by name: rates and latency, commands of the flash, and what collection moves."""
        row, flash = self.row, self.result.flash
        pairs = [("IOPS", "1/s", row.iops, self.result.iops)]
        rate = None if row.iops is None else row.iops * row.size_bytes / 1e6
        pairs.append(("bandwidth", "MB/s", rate, self.result.bandwidth_bytes_per_s / 1e6))
        latency = None if row.mean_latency_s is None else row.mean_latency_s * 1e6
        pairs.append(("mean latency", "us", latency, self.result.mean_latency_s * 1e6))
        theirs = row.counts
        commands = sum(theirs.get(name, 0) for name in _COMMANDS)
        ours = flash.reads + flash.multiplane_reads + flash.programs + flash.multiplane_programs
        pairs.append(("flash commands", "", commands, ours))
        two_planes = theirs.get("multiplane_reads", 0) + theirs.get("multiplane_programs", 0)
        shares = (two_planes / max(commands, 1), (flash.multiplane_reads + flash.multiplane_programs) / max(ours, 1))
        pairs.append(("share of commands on two planes", "", *shares))
        pairs.append(("mapping reads", "", theirs.get("of_which_mapping_reads", 0), flash.mapping_reads))
        if theirs.get("gc_executions"):
            pairs.append(("collections", "", theirs["gc_executions"], flash.collections))
            moved = flash.pages_moved / max(flash.collections, 1)
            pairs.append(("pages moved per collection", "", row.moved_per_collection, moved))
        return {
            name: Compared(name, unit, reference, predicted)
            for name, unit, reference, predicted in pairs
            if reference is not None
        }

    def document(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "line": self.row.line,
            "workload": self.row.name,
            "device": self.row.device,
            "compared": [one.document() for one in self.compared.values()],
        }


_COMMANDS = ("flash_reads", "multiplane_reads", "flash_programs", "multiplane_programs")


def predict_drive(row: DriveRow) -> DriveComparison | str:
    """``row`` beside our run of it, or why there is none."""
    if row.unusable is not None:
        return row.unusable
    drive = drive_of(row)
    if isinstance(drive, str):
        return drive
    try:
        return DriveComparison(row, simulate_drive(drive, workload_of(row, drive)))
    except InputError as error:
        return str(error)


def compare_drives(rows: Iterable[DriveRow]) -> tuple[list[DriveComparison], list[tuple[DriveRow, str]]]:
    """Run every row; returns the comparisons, and the rows without one with the reason."""
    compared, left = [], []
    for row in rows:
        found = predict_drive(row)
        if isinstance(found, str):
            left.append((row, found))
        else:
            compared.append(found)
    return compared, left


def validate_drives(path: Path) -> Validation:
    """All rows of a file of drive runs. Raises `InputError` as `read_drive_rows` does."""
    compared, left = compare_drives(read_drive_rows(path))
    shown = ("IOPS", "bandwidth", "mean latency", "flash commands", "mapping reads")
    return Validation(
        rows=[
            {
                "run": one.row.name,
                "device": one.row.device,
                **{name: error_text(one.compared[name].error) for name in shown},
            }
            for one in compared
        ],
        notes=[f"{row.name}, line {row.line}, not compared: {why}" for row, why in left],
        document={
            "rows": [one.document() for one in compared],
            "skipped": [{"line": row.line, "workload": row.name, "why": why} for row, why in left],
        },
        report=lambda: Report((drive_report([(one.row, one.compared) for one in compared], left),)),
    )
