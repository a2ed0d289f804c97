"""The devices behind engines inside memories: banks that compute, drives with an engine, arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hw.spec.system import Engine, System, Tier
from simulator.memory.arrays.service import array_service
from simulator.memory.drive_service import DriveService
from simulator.memory.inside import InsideService
from simulator.memory.pim_service import pim_service
from simulator.memory.storage.engines import load_storage_engine
from simulator.memory.storage_service import StorageService
from simulator.memory.tier_services import TierService, drive_services
from workloads.errors import InputError

__all__ = ["engine_services"]

_AGREEMENT = 0.15  # between the stated bandwidth inside a memory and that of the device's units


def engine_services(system: System, tiers: Mapping[str, TierService]) -> dict[str, InsideService]:
    """The service of each engine that names a device.

    Raises `InputError` with the engine's field for devices that do not exist, and where a device's rate inside is more
    than 15 % from the engine's ``home_bandwidth``.
    """
    found: dict[str, InsideService] = {}
    drives = drive_services(tiers)
    for name, engine in system.engines.items():
        if engine.device is None:
            continue
        try:
            found[name] = _service(engine, system.tiers[engine.home], drives)
        except InputError as error:
            raise replace(error, field=f"engines.{name}.{error.field or 'device'}") from None
    return found


def _service(engine: Engine, home: Tier, drives: Mapping[str, DriveService]) -> InsideService:
    assert engine.device is not None
    if engine.kind == "in-storage":
        if engine.home not in drives:
            problem = f"its home tier {engine.home!r} names no drive"
            raise InputError(problem, f"tiers.{engine.home}.device, as in 'tiercade list drives'")
        return StorageService(drives[engine.home], load_storage_engine(engine.device), home.read_energy_j_per_bit)
    if engine.kind == "in-memory":
        return array_service(engine.device, engine.channels)
    service = pim_service(engine.device, engine.channels)
    stated, inside = engine.home_bandwidth_bytes_per_s, service.pim.inside_bytes_per_s
    if stated is None or abs(inside / stated - 1) > _AGREEMENT:
        said = "is not given" if stated is None else f"says {stated / 1e12:,.2f} TB/s"
        problem = f"{service} read {inside / 1e12:,.2f} TB/s inside, home_bandwidth {said}"
        raise InputError(problem, f"the two within {_AGREEMENT:.0%}", "channels")
    return service
