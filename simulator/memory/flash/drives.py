"""Drives by name: the bundled files, and a user's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hw.spec.system import Tier
from simulator.memory.flash.drive import Drive
from workloads.documents import read_document
from workloads.errors import unknown_name
from workloads.validation import validate

__all__ = ["DriveRow", "drive_names", "drive_rows", "load_drive", "tier_endurance_bytes"]

_FOLDER = Path(__file__).parent / "drives"


@dataclass(frozen=True)
class DriveRow:
    """What a list says of a drive."""

    name: str
    channels: int
    dies: int
    page_bytes: int
    capacity_bytes: int
    read_us: float
    program_us: float
    internal_bytes_per_s: float
    host_bytes_per_s: float
    note: str


@lru_cache
def _bundled() -> dict[str, Drive]:
    return {file.stem: validate(Drive, read_document(file)) for file in sorted(_FOLDER.glob("*.yaml"))}


def drive_names() -> tuple[str, ...]:
    """The bundled drives, in alphabetical order."""
    return tuple(_bundled())


def drive_rows() -> tuple[DriveRow, ...]:
    """One row per bundled drive; times are the means over kinds of pages."""
    return tuple(
        DriveRow(
            name=drive.name,
            channels=drive.geometry.channels,
            dies=drive.geometry.chips * drive.geometry.dies_per_chip,
            page_bytes=drive.geometry.page_bytes,
            capacity_bytes=drive.capacity_bytes,
            read_us=sum(drive.cells.read_us) / len(drive.cells.read_us),
            program_us=sum(drive.cells.program_us) / len(drive.cells.program_us),
            internal_bytes_per_s=drive.internal_bytes_per_s,
            host_bytes_per_s=drive.host.bytes_per_s,
            note=drive.note,
        )
        for drive in _bundled().values()
    )


def load_drive(name_or_path: str | Path) -> Drive:
    """A bundled drive by name, or the one in a file.

    Text with a path separator, or that ends in .yaml, .yml or .json, is a path. Raises `InputError`, with file, line
    and field where there is a file.
    """
    text = str(name_or_path)
    is_path = text.lower().endswith((".yaml", ".yml", ".json")) or "/" in text or os.sep in text
    if is_path or isinstance(name_or_path, Path):
        return validate(Drive, read_document(name_or_path))
    folded = {name.casefold(): drive for name, drive in _bundled().items()}
    if text.casefold() not in folded:
        raise unknown_name("drive", text, drive_names())
    return folded[text.casefold()]


def tier_endurance_bytes(tier: Tier) -> float | None:
    """What may be written to all drives of a tier until their cells are worn; None where that is not known."""
    found = load_drive(tier.device).endurance_bytes if tier.device is not None else None
    return None if found is None else found * (tier.channels or 1)
