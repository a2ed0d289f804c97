"""What a system's parts must agree on beyond their own types. Every complaint names the field by its YAML path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hw.spec.paths import reachable_tiers
from workloads.errors import InputError, unknown_name

if TYPE_CHECKING:
    from hw.spec.component import Component
    from hw.spec.system import Engine, System, Tier

__all__ = ["check_system"]


def check_system(system: System) -> None:
    """Raise an `InputError` about the first part of ``system`` that contradicts another."""
    _check_names(system)
    _check_links(system)
    _check_engines(system)
    _check_fabric(system)
    _check_network(system)
    _check_devices(system)
    for path, component in system.components():
        _check_sources(path, component)


def _check_names(system: System) -> None:
    # Routes alternate tier and link names, and all three are resources of a schedule: one name means one of them.
    for name in system.links:
        if name in system.tiers:
            raise InputError(f"{name!r} is a tier's name too", "another name for the link", f"links.{name}")
    for name in system.engines:
        for kind, others in (("tier", system.tiers), ("link", system.links)):
            if name in others:
                raise InputError(f"{name!r} is a {kind}'s name too", "another name for the engine", f"engines.{name}")


def _check_links(system: System) -> None:
    for name, link in system.links.items():
        for index, tier in enumerate(link.between):
            if tier not in system.tiers:
                raise unknown_name("tier", tier, system.tiers, field=f"links.{name}.between[{index}]")
        if link.between[0] == link.between[1]:
            raise InputError(f"joins {link.between[0]!r} to itself", "two tiers", f"links.{name}.between")


def _check_engines(system: System) -> None:
    stores = [name for name, tier in system.tiers.items() if tier.holds == "tensors"]
    for name, engine in system.engines.items():
        home = f"engines.{name}.home"
        if engine.home not in system.tiers:
            raise unknown_name("tier", engine.home, system.tiers, field=home)
        if engine.home not in stores:
            expected = f"a tier that holds tensors: {', '.join(stores)}" if stores else "a tier with 'holds: tensors'"
            raise InputError(f"tier {engine.home!r} holds tiles only", expected, home)
        for index, buffer in enumerate(engine.buffers):
            if buffer not in system.tiers:
                raise unknown_name("tier", buffer, system.tiers, field=f"engines.{name}.buffers[{index}]")
        reached = reachable_tiers(system, (engine.home, *engine.buffers))
        for store in stores:
            if store not in reached:
                problem = f"no links lead from tier {store!r} to {engine.home!r}, the home of engine {name!r}"
                raise InputError(problem, "a link between the two, direct or through other tiers", f"tiers.{store}")


def _check_fabric(system: System) -> None:
    if system.devices > 1 and system.fabric is None:
        raise InputError(f"{system.devices} devices have no fabric", "1, or a fabric that joins the devices", "devices")


def _check_network(system: System) -> None:
    network = system.network
    if network is None or system.devices <= network.devices_per_node:
        return
    if system.devices % network.devices_per_node:
        each = network.devices_per_node
        near = system.devices // each * each
        raise InputError(f"{system.devices} devices in nodes of {each}", f"{near} or {near + each}", "devices")
    nodes = sum(island.nodes for island in network.islands)
    if nodes and nodes != system.devices // network.devices_per_node:
        there = system.devices // network.devices_per_node
        raise InputError(f"islands of {nodes} nodes together", f"{there}, as there are", "network.islands")


_DRAM_KINDS = ("hbm", "dram", "cxl")
_DEVICE_FIELDS = ("device", "channels", "mapping", "read_queue", "write_queue")


def _check_devices(system: System) -> None:
    for name, tier in system.tiers.items():
        _check_tier_device(f"tiers.{name}", tier)
        if tier.macro is not None and tier.kind != "sram":
            raise InputError(f"a tier of kind {tier.kind!r} has no SRAM macro", "kind: sram", f"tiers.{name}.macro")
    for name, engine in system.engines.items():
        _check_engine_device(f"engines.{name}", engine, system.tiers[engine.home])


def _check_tier_device(path: str, tier: Tier) -> None:
    given = [field for field in _DEVICE_FIELDS if _has(tier, field)]
    if given and tier.kind not in (*_DRAM_KINDS, "flash"):
        problem = f"a tier of kind {tier.kind!r} is made of neither DRAM nor flash"
        raise InputError(problem, f"none, or a tier of kind {', '.join(_DRAM_KINDS)} or flash", f"{path}.{given[0]}")
    if tier.kind == "flash" and tier.mapping is not None:
        raise InputError("a drive maps its addresses itself", "none for a tier of flash", f"{path}.mapping")
    if given and tier.device is None:
        raise InputError("given without a device", f"{path}.device beside it", f"{path}.{given[0]}")
    if tier.device is not None and tier.channels is None and tier.kind != "flash":
        expected = f"{path}.channels: how many of them the tier has"
        raise InputError(f"{tier.device!r} is one channel", expected, f"{path}.device")


_INSIDE_KINDS = ("near-memory", "in-memory", "in-storage")


_HOMES = {"near-memory": _DRAM_KINDS, "in-storage": ("flash",), "in-memory": ("rram", "mram", *_DRAM_KINDS, "sram")}


def _check_engine_device(path: str, engine: Engine, home: Tier) -> None:
    if engine.kind in _HOMES and home.kind not in _HOMES[engine.kind]:
        problem = f"an engine of kind {engine.kind!r} in a tier of kind {home.kind!r}"
        raise InputError(problem, f"a home of kind {', '.join(_HOMES[engine.kind])}", f"{path}.home")
    if engine.device is not None and engine.kind not in _INSIDE_KINDS:
        problem = f"an engine of kind {engine.kind!r} is no memory that computes"
        raise InputError(problem, f"none, or an engine of kind {', '.join(_INSIDE_KINDS)}", f"{path}.device")
    if engine.channels is not None and engine.kind == "in-storage":
        raise InputError("an engine for each drive of its home tier", "none", f"{path}.channels")
    if engine.channels is not None and engine.device is None:
        raise InputError("given without a device", f"{path}.device beside it", f"{path}.channels")


def _has(tier: Tier, field: str) -> bool:
    return getattr(tier, field) is not None


def _check_sources(path: str, component: Component) -> None:
    known = set(_source_names(component))
    for name in component.sources:
        if name not in known:
            field = f"{path}.sources.{name}".lstrip(".")
            raise unknown_name("field", name, known, field=field)


def _source_names(component: Component) -> Iterator[str]:
    """The names a component may give sources for: fields in YAML, and the entries of formats or settings."""
    for attribute, field in type(component).model_fields.items():
        if attribute != "sources":
            name = field.alias or attribute
            yield name
            entries = getattr(component, attribute)
            if name in ("throughput", "energy", "settings") and isinstance(entries, dict):
                yield from (f"{name}.{entry}" for entry in entries)
