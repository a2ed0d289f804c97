"""The devices behind engines inside memories: banks that compute, drives with an engine, arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hw.spec.system import Engine, System
from simulator.memory.inside import InsideService
from simulator.memory.pim_service import pim_service
from simulator.memory.tier_services import TierService
from workloads.errors import InputError

__all__ = ["engine_services"]

_AGREEMENT = 0.15  # between the stated bandwidth inside a memory and that of the device's units


def engine_services(system: System, tiers: Mapping[str, TierService]) -> dict[str, InsideService]:
    """The service of each engine that names a device.

    Raises `InputError` with the engine's field for devices that do not exist, and where a device's rate inside is more
    than 15 % from the engine's ``home_bandwidth``.
    """
    found: dict[str, InsideService] = {}
    for name, engine in system.engines.items():
        if engine.device is not None:
            found[name] = _pim(name, engine)
    return found


def _pim(name: str, engine: Engine) -> InsideService:
    assert engine.device is not None
    try:
        service = pim_service(engine.device, engine.channels)
    except InputError as error:
        raise replace(error, field=f"engines.{name}.device") from None
    stated, inside = engine.home_bandwidth_bytes_per_s, service.pim.inside_bytes_per_s
    if stated is None or abs(inside / stated - 1) > _AGREEMENT:
        said = "is not given" if stated is None else f"says {stated / 1e12:,.2f} TB/s"
        raise InputError(
            f"{service} read {inside / 1e12:,.2f} TB/s inside, home_bandwidth {said}",
            f"the two within {_AGREEMENT:.0%}",
            f"engines.{name}.channels",
        )
    return service
