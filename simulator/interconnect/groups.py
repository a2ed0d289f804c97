"""Collectives among a part of a cluster's devices, of which some stand in one node and some behind its adapters.

    group_time(system, "all_gather", 1e9, Group(64))            # all devices of 8 nodes
    group_time(system, "reduce_scatter", 1e9, Group(8, 8))      # one device of each node

A group is devices ``stride`` apart. Within a node a collective runs as `collective_time` and `best_exchange` have it.
Over nodes it runs as NCCL runs it (src/graph/tuning.cc in NVIDIA/nccl, b6475625): rings that go through all members,
one for each adapter the members of a node have, so that a ring's bytes leave a node over all of them at once, at no
more than the fabric carries; a step between two nodes costs the network's latency, one within a node the fabric's. An
all-reduce may take two trees instead, with the steps of their depth. In an all-to-all each adapter carries what its
device sends to other nodes. In a ring pass, which is no call of a library, each device sends its part to the next one,
then the part it got, and so on: between two nodes one adapter carries it. What the slowest group of a kind takes is
what all take: they wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hw.spec.network import Network
from hw.spec.system import System
from simulator.interconnect.collectives import best_exchange
from simulator.interconnect.libraries import CollectiveTime, collective_time, library
from simulator.interconnect.links import nic, protocol_efficiency
from workloads.errors import InputError

__all__ = ["Group", "Reach", "fabric_rate", "group_time", "reach_of", "send_time"]

_SIMPLE_STEP = "bulk"
"""The library's protocol whose steps large collectives take."""


@dataclass(frozen=True)
class Group:
    """``size`` devices whose numbers lie ``stride`` apart; all such groups together hold all devices."""

    size: int
    stride: int = 1

    def __post_init__(self) -> None:
        for name in ("size", "stride"):
            if getattr(self, name) < 1:
                raise InputError(f"found {getattr(self, name)}", "1 or more", name)


@dataclass(frozen=True)
class Reach:
    """How a group lies: ``in_node`` members in a node, in ``nodes`` nodes that reach each other at ``bandwidth`` a
    member (headers taken off) and ``latency_s`` a step."""

    in_node: int
    nodes: int
    bandwidth_bytes_per_s: float
    latency_s: float


_Rates = tuple[float, float]
"""Bytes per second of a member, headers taken off, and seconds a step."""


def _rates(network: Network) -> tuple[_Rates, tuple[tuple[int, _Rates], ...]]:
    """Those between islands (or everywhere, where there are none), and nodes and rates of each island."""
    link = nic("connectx-7-ndr", over=network.protocol)
    share = protocol_efficiency(link, link.packets.payload_bytes)
    islands = tuple((each.nodes, (each.bandwidth_bytes_per_s * share, each.latency_s)) for each in network.islands)
    return (network.bandwidth_bytes_per_s * share, network.latency_s), islands


@lru_cache(maxsize=1024)
def _reaches(
    devices: int, per_node: int, between: _Rates, islands: tuple[tuple[int, _Rates], ...], group: Group
) -> tuple[Reach, ...]:
    """The different ways in which groups lie, over all devices."""
    block = group.size * group.stride
    first = (np.arange(max(1, devices // block))[:, None] * block + np.arange(group.stride)).reshape(-1, 1)
    nodes = (first + np.arange(group.size) * group.stride) // per_node
    island_of = np.repeat(np.arange(len(islands)), [count for count, _ in islands])
    found = set()
    for members in np.unique(nodes, axis=0):
        at, many = np.unique(members, return_counts=True)
        met = set(island_of[at].tolist()) if islands else set()
        rates = islands[met.pop()][1] if len(met) == 1 else between
        # The node with fewest members has fewest adapters, and all rings go through it.
        found.add(Reach(int(many.min()), len(at), *rates))
    return tuple(sorted(found, key=lambda reach: (-reach.nodes, reach.in_node, reach.bandwidth_bytes_per_s)))


def reach_of(system: System, group: Group) -> tuple[Reach, ...]:
    """The different ways in which the groups of this kind lie in the system's nodes.

    Raises `InputError` for groups that reach beyond the nodes.
    """
    network = system.network
    if group.size == 1 or network is None or system.devices <= network.devices_per_node:
        return (Reach(group.size, 1, float("inf"), 0.0),)
    if (group.size - 1) * group.stride >= system.devices:
        raise InputError(
            f"{group.size} devices {group.stride} apart", f"at most {system.devices} devices in all", "devices"
        )
    return _reaches(system.devices, network.devices_per_node, *_rates(network), group)


def group_time(system: System, kind: str, payload_bytes: float, group: Group) -> CollectiveTime:
    """The collective among the members of ``group``, of which all groups of its kind run one at the same time.

    ``payload_bytes`` as in `simulator.interconnect.collectives`; of a ring pass all parts together. Raises `InputError`
    for a system without a fabric and for groups that reach beyond its devices.
    """
    if group.size == 1:
        return CollectiveTime("none", "none", 0.0, 0.0, 0.0)
    return max(
        (_reach_time(system, kind, payload_bytes, group.size, reach) for reach in reach_of(system, group)),
        key=lambda call: call.time_s,
    )


def _reach_time(system: System, kind: str, payload: float, size: int, reach: Reach) -> CollectiveTime:
    if kind == "ring_pass":
        return _ring_pass(system, payload, size, reach)
    if reach.nodes == 1:
        return _in_node(system, kind, payload, size)
    fabric_rate, step_s, base_s = _fabric(system) if reach.in_node > 1 else (float("inf"), 0.0, 0.0)
    out = reach.bandwidth_bytes_per_s
    if kind == "all_to_all":
        away = payload * (size - reach.in_node) / size
        within = payload * (reach.in_node - 1) / size
        wire_s = max(away / out, within / fabric_rate)
        return CollectiveTime("direct", "network", away + within, wire_s, base_s + reach.latency_s)
    passes = 2 if kind == "all_reduce" else 1
    sent = passes * (size - 1) / size * payload
    wire_s = sent / min(fabric_rate, reach.in_node * out)
    across = passes * (reach.nodes - 1)
    ring_s = (passes * (size - 1) - across) * step_s + across * reach.latency_s
    if kind in ("all_reduce", "broadcast"):
        depth = (reach.nodes - 1).bit_length()
        tree_s = passes * ((reach.in_node - 1) * step_s + depth * reach.latency_s)
        if tree_s < ring_s:
            return CollectiveTime("tree", "network", sent, wire_s, base_s + tree_s)
    return CollectiveTime("ring", "network", sent, wire_s, base_s + ring_s)


def _ring_pass(system: System, payload: float, size: int, reach: Reach) -> CollectiveTime:
    rate, step_s, _ = _fabric(system)
    if reach.nodes > 1:
        rate, step_s = min(rate, reach.bandwidth_bytes_per_s), max(step_s, reach.latency_s)
    sent = (size - 1) / size * payload
    return CollectiveTime("ring", "neighbours", sent, sent / rate, (size - 1) * step_s)


def fabric_rate(system: System) -> float:
    """Bytes per second that a device sends to others of its node in large collectives."""
    return _fabric(system)[0]


def _fabric(system: System) -> tuple[float, float, float]:
    """Bytes per second of large collectives, and seconds per step and per call."""
    fabric = system.fabric
    if fabric is None:
        raise InputError("no fabric joins the devices", expected="a fabric", field="fabric")
    if fabric.library is None:
        return fabric.bandwidth_bytes_per_s, fabric.latency_s, 0.0
    way = next(each for each in library(fabric.library).protocols if each.name == _SIMPLE_STEP)
    return fabric.bandwidth_bytes_per_s * way.bandwidth_share, way.step_s, way.base_s


def _in_node(system: System, kind: str, payload: float, size: int) -> CollectiveTime:
    fabric = system.fabric
    if fabric is None:
        raise InputError("no fabric joins the devices", expected="a fabric", field="fabric")
    bandwidth = fabric.bandwidth_bytes_per_s
    if fabric.library is not None and kind != "broadcast":
        if fabric.topology != "switch":
            raise InputError(
                f"a {fabric.topology} of devices",
                "a switch: the libraries' times are of switched devices",
                "fabric.topology",
            )
        return collective_time(library(fabric.library), kind, payload, size, bandwidth)
    run = best_exchange(
        kind,
        payload,
        size,
        topology=fabric.topology,
        bandwidth_bytes_per_s=bandwidth,
        latency_s=fabric.latency_s,
    )
    wire_s, latency_s = run.sent_bytes / bandwidth, run.steps * fabric.latency_s
    return CollectiveTime(run.algorithm, "fabric", run.sent_bytes, wire_s, latency_s)


def send_time(system: System, size_bytes: float, apart: int) -> float:
    """Seconds to send to the device ``apart`` numbers on, over the slowest of such ways."""
    if apart < 1 or apart >= system.devices:
        raise InputError(f"found {apart}", f"1 to {system.devices - 1}", "apart")
    network = system.network
    fabric_rate, step_s, _ = _fabric(system)
    slowest = size_bytes / fabric_rate + step_s
    if network is None or system.devices <= network.devices_per_node:
        return slowest
    here = np.arange(system.devices - apart)
    nodes = np.stack([here, here + apart]) // network.devices_per_node
    if (nodes[0] == nodes[1]).all():
        return slowest
    between, islands = _rates(network)
    found = {between}
    if islands:
        island_of = np.repeat(np.arange(len(islands)), [count for count, _ in islands])
        pairs = {(int(a), int(b)) for a, b in island_of[nodes[:, nodes[0] != nodes[1]]].T}
        found = {islands[a][1] if a == b else between for a, b in pairs}
    return max(size_bytes / rate + latency for rate, latency in found)
