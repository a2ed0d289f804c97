"""What a transfer between tiers occupies: the ports and links on its route, each for its share of the bytes.

A transfer travels in packets small against its size, so it occupies every hop of its route at the same time and the
slowest hop sets its speed; tiers in between are written and read again through their one port.
"""

from __future__ import annotations

from collections.abc import Callable

from hw.spec.paths import route
from hw.spec.system import Link, System
from simulator.engine import Demand, Resource
from simulator.interconnect.groups import Group, group_time
from workloads.workload import Collective

__all__ = [
    "Slowness",
    "as_stated",
    "collective_cost",
    "link_resource",
    "resources_of",
    "transfer_demands",
    "transfer_energy_j",
    "transfer_latency_s",
]


Slowness = Callable[[str, bool], float]
"""How many times longer than as stated a tier or link takes for a transfer: its name, and whether it is written."""


def as_stated(component: str, writes: bool) -> float:  # noqa: ARG001 - the same for all
    """Every tier and link at its stated rate."""
    return 1.0


def link_resource(system: System, name: str, source: str) -> str:
    """The resource a link offers in the direction away from ``source``: full-duplex links have one per direction."""
    link = system.links[name]
    if link.duplex == "half":
        return name
    return f"{name}:{source}>{_other_end(link, source)}"


def resources_of(system: System) -> tuple[Resource, ...]:
    """Everything tasks can reserve, in the order in which it is drawn."""
    engines = [Resource(name, "engine") for name in system.engines]
    tiers = [Resource(name, "tier") for name, tier in system.tiers.items() if tier.holds == "tensors"]
    links = []
    for name, link in system.links.items():
        ends = (link.between[0],) if link.duplex == "half" else link.between
        links += [Resource(link_resource(system, name, end), "link") for end in ends]
    fabric = [Resource("fabric", "fabric")] if system.fabric is not None else []
    return (*engines, *tiers, *links, *fabric)


def _other_end(link: Link, end: str) -> str:
    return link.between[1] if link.between[0] == end else link.between[0]


def _share(system: System, shared: bool) -> int:
    """How many devices divide a resource's bandwidth."""
    return system.node_devices if shared else 1


def transfer_demands(
    system: System, source: str, target: str, amount_bytes: float, slowness: Slowness = as_stated
) -> tuple[Demand, ...]:
    """Reservations of a transfer of ``amount_bytes`` from tier ``source`` to tier ``target``."""
    names = route(system, source, target)
    demands = []
    for position, name in enumerate(names):
        if name in system.links:
            link = system.links[name]
            seconds = amount_bytes / link.bandwidth_bytes_per_s * _share(system, link.shared) * slowness(name, False)
            demands.append(Demand(link_resource(system, name, names[position - 1]), seconds, amount_bytes))
            continue
        tier = system.tiers[name]
        reads, writes = position < len(names) - 1, position > 0
        seconds = reads * slowness(name, False) / tier.read_bandwidth_bytes_per_s
        seconds += writes * slowness(name, True) / tier.write_bandwidth_bytes_per_s
        demands.append(
            Demand(name, amount_bytes * seconds * _share(system, tier.shared), amount_bytes * (reads + writes))
        )
    return tuple(demands)


def transfer_latency_s(system: System, source: str, target: str) -> float:
    """Time from request to first byte: the source's access, and each link's latency and message cost."""
    links = [system.links[name] for name in route(system, source, target) if name in system.links]
    return system.tiers[source].latency_s + sum(link.latency_s + link.message_cost_s for link in links)


def transfer_energy_j(system: System, source: str, target: str, amount_bytes: float) -> dict[str, float]:
    """Joules by tier and link for moving ``amount_bytes``."""
    names = route(system, source, target)
    energy = {}
    for position, name in enumerate(names):
        if name in system.links:
            per_bit = system.links[name].energy_j_per_bit
        else:
            tier = system.tiers[name]
            per_bit = (position < len(names) - 1) * tier.read_energy_j_per_bit
            per_bit += (position > 0) * tier.write_energy_j_per_bit
        energy[name] = 8 * amount_bytes * per_bit
    return energy


def collective_cost(system: System, step: Collective, devices: int) -> tuple[float, float, float]:
    """Bytes each device sends, seconds on the wire for them, and the seconds beside it: steps, start, waiting.

    Among neighbours, or where the step names its devices and how far apart they are, among those
    (`simulator.interconnect.groups`). One device exchanges nothing.
    """
    call = group_time(system, step.kind, step.bytes, Group(step.devices or devices, step.stride))
    return call.sent_bytes, call.wire_s, call.latency_s
