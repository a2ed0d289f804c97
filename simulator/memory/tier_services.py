"""The devices behind a system's tiers: what each serves of the traffic that is put to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from hw.spec.system import System, Tier
from simulator.memory.dram_service import dram_service
from simulator.memory.drive_service import OUTSTANDING, DriveService, bundled_drive_service
from simulator.memory.flash.drives import drive_names, load_drive
from simulator.memory.traffic import SEQUENTIAL_BYTES, Demand
from workloads.errors import InputError

__all__ = ["TierService", "drive_services", "tier_services"]

_AGREEMENT = 0.15  # between the stated bandwidth and what the drives read in order


class TierService(Protocol):
    """Answers what part of a tier's stated rate a kind of traffic gets; ``str()`` names the device."""

    def fraction(self, demand: Demand) -> float:
        """Part of the stated rate, above 0 and at most 1."""


def tier_services(system: System) -> dict[str, TierService]:
    """The service of each tier that names a device.

    Raises `InputError` with the tier's field for a device, mapping or queue that does not exist, and for channels or
    drives whose rate is more than 15 % from the tier's bandwidth.
    """
    return {
        name: _drive_service(name, tier) if tier.kind == "flash" else dram_service(name, tier)
        for name, tier in system.tiers.items()
        if tier.device is not None
    }


def drive_services(services: Mapping[str, TierService]) -> dict[str, DriveService]:
    """Those of ``services`` that are drives."""
    return {name: service for name, service in services.items() if isinstance(service, DriveService)}


def _drive_service(name: str, tier: Tier) -> DriveService:
    assert tier.device is not None
    bundled = tier.device.casefold() in {drive.casefold() for drive in drive_names()}  # a file may change between runs
    given = (
        tier.channels or 1,
        tier.read_queue or OUTSTANDING,
        tier.write_queue or OUTSTANDING,
        tier.read_bandwidth_bytes_per_s,
        tier.write_bandwidth_bytes_per_s,
    )
    try:
        service = (
            bundled_drive_service(tier.device, *given) if bundled else DriveService(load_drive(tier.device), *given)
        )
        service.rate("read", SEQUENTIAL_BYTES)  # for its errors
        # Few requests outstanding make a drive slower than it is rated: the drives are right all the same.
        rated = replace(service, reads=max(service.reads, OUTSTANDING), _known={})
        reached = (service if rated.reads == service.reads else rated).rate("read", SEQUENTIAL_BYTES)
    except InputError as error:
        of_tier = error.file is None  # a drive file's own fields are told as they are
        field = "read_queue" if error.field == "queue_depth" else "device"
        raise replace(error, field=f"tiers.{name}.{field}") if of_tier else error from None
    if abs(reached / tier.read_bandwidth_bytes_per_s - 1) > _AGREEMENT:
        raise InputError(
            f"{service.drives} x {service.drive.name} reads {reached / 1e9:,.2f} GB/s in order, "
            f"read_bandwidth says {tier.read_bandwidth_bytes_per_s / 1e9:,.2f} GB/s",
            f"the two within {_AGREEMENT:.0%}",
            f"tiers.{name}.channels",
        )
    return service
