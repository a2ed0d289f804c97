"""Cycle fidelity: operations and transfers at the rate at which the DRAM behind their tiers serves them.

The mapped operation stays as it is; its time at the home port grows by what the tier's device leaves of the nominal
rate for the operation's streams (`simulator.memory.op_streams`). Transfers between tiers are sequential: a tier's
bandwidths shrink to what the device leaves for one stream of reads, and of writes. Engines inside the memory have their
own bandwidth and are left alone, and so are tiers without a device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hw.spec.system import System
from mappers.mapped import MappedLayer, MappedOp, MappedWorkload
from simulator.memory.op_streams import op_demands
from simulator.memory.service import SEQUENTIAL_BYTES, Demand, DeviceService, tier_services
from workloads.errors import InputError
from workloads.phases import Phase
from workloads.workload import Role, Workload

__all__ = ["CycleService", "cycle_service"]

_DRAM_KINDS = ("hbm", "dram", "cxl")
_SEQUENTIAL = Demand(SEQUENTIAL_BYTES)


@dataclass
class CycleService:
    """The devices behind a system's tiers, for one workload; ``used`` keeps the fractions of each tier's operations.

    ``system`` is the machine with its tiers at the rate of sequential transfers.
    """

    system: System
    services: Mapping[str, DeviceService]
    roles: Mapping[str, Role]
    phase: Phase
    used: dict[str, list[float]] = field(default_factory=dict)

    def workload(self, mapped: MappedWorkload) -> MappedWorkload:
        """Every operation of ``mapped`` at the rate its home tier serves it."""
        layers = {
            name: MappedLayer(layer.layer, {op: self.op(at) for op, at in layer.ops.items()})
            for name, layer in mapped.layers.items()
        }
        return replace(mapped, fidelity="cycle", layers=layers)

    def op(self, mapped: MappedOp) -> MappedOp:
        """One operation at the rate its home tier serves it: never faster than it was."""
        service = self.services.get(mapped.home)
        if service is None or self._computes_inside(mapped):
            return mapped
        demands = list(op_demands(mapped.op, self.roles, self.phase))
        if not demands:
            return mapped
        nominal = sum(size for size, _ in demands)
        fraction = min(1.0, nominal / sum(size / service.fraction(demand) for size, demand in demands))
        self.used.setdefault(mapped.home, []).append(fraction)
        return replace(mapped, port_s=mapped.port_s / fraction)

    def _computes_inside(self, mapped: MappedOp) -> bool:
        engines = [self.system.engines[share.engine] for share in mapped.shares]
        return any(engine.home_bandwidth_bytes_per_s is not None for engine in engines)

    def notes(self) -> list[str]:
        """For each tier of DRAM: its device, and the part of the stated rate that was served."""
        lines = []
        for name, tier in self.system.tiers.items():
            if tier.kind not in _DRAM_KINDS:
                continue
            service = self.services.get(name)
            if service is None:
                lines.append(f"{name}: names no DRAM device, so it is at its stated bandwidth")
                continue
            assumed = ", assumed" if tier.mapping is None and tier.read_queue is tier.write_queue is None else ""
            parts = [f"transfers at {service.fraction(_SEQUENTIAL):.3f}"]
            if name in self.used:
                served = sorted({f"{fraction:.3f}" for fraction in self.used[name]})
                parts.insert(0, f"operations at {' to '.join(dict.fromkeys((served[0], served[-1])))}")
            lines.append(f"{name}: {service}{assumed}; {', '.join(parts)} of the stated bandwidth")
        return lines


def cycle_service(system: System, workload: Workload) -> CycleService:
    """The devices behind the tiers of ``system``; raises `InputError` where there are none, or none that fit."""
    services = tier_services(system)
    if not services:
        dram = next((name for name, tier in system.tiers.items() if tier.kind in _DRAM_KINDS), "NAME")
        expected = f"tiers.{dram}.device=DEVICE and tiers.{dram}.channels=COUNT, devices as in 'tiercade list devices'"
        raise InputError(f"no tier of {system.name} names a DRAM device", expected, "fidelity")
    tiers = dict(system.tiers)
    for name, service in services.items():
        tier = tiers[name]
        rates = {
            "read_bandwidth_bytes_per_s": tier.read_bandwidth_bytes_per_s * service.fraction(_SEQUENTIAL),
            "write_bandwidth_bytes_per_s": tier.write_bandwidth_bytes_per_s
            * service.fraction(replace(_SEQUENTIAL, write_share=1.0)),
        }
        tiers[name] = tier.model_copy(update=rates)
    roles: dict[str, Role] = {tensor.name: tensor.role for layer, _ in workload.layers() for tensor in layer.stored}
    return CycleService(system.model_copy(update={"tiers": tiers}), services, roles, workload.phase)
