"""How long a layer of experts takes on a cluster for given loads and placement of the experts.

Tokens stand evenly on all devices. One of an expert that its own device holds stays there; else it goes to a holder in
its node, else to any, evenly. All devices wait for the slowest: in the exchange for the adapter or device that most
bytes enter or leave, then for the device with most rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hw.spec.system import System
from simulator.interconnect.groups import Group, group_time, reach_of
from simulator.training.experts.placement import Placement
from workloads.errors import InputError

__all__ = [
    "Cluster",
    "Dispatch",
    "Gather",
    "LayerCosts",
    "LayerTimes",
    "best_everywhere",
    "cluster_of",
    "dispatch",
    "dispatch_golden",
    "exchange_time",
    "gather_of",
    "layer_times",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cluster:
    """``nodes`` of equal devices; a node's ``adapters`` are shared by equal parts of its devices.

    Rates are bytes per second in each direction, of an adapter and of a device on its node's fabric.
    """

    nodes: int
    devices_per_node: int
    adapters: int
    adapter_bytes_per_s: float
    fabric_bytes_per_s: float
    latency_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("nodes", "devices_per_node", "adapters"):
            if getattr(self, name) < 1:
                raise InputError(f"found {getattr(self, name)}", "1 or more", name)
        if self.devices_per_node % self.adapters:
            raise InputError(
                f"{self.adapters} adapters of {self.devices_per_node} devices", "a divisor of the devices", "adapters"
            )

    @property
    def devices(self) -> int:
        """All devices."""
        return self.nodes * self.devices_per_node

    @property
    def of_adapter(self) -> int:
        """Devices that share an adapter."""
        return self.devices_per_node // self.adapters


@dataclass(frozen=True)
class Dispatch:
    """Rows by device, ``[..., device]``: ``computed`` there; sent to and received from others of its node
    (``within``) and of other nodes (``across``)."""

    computed: Array
    sent_within: Array
    received_within: Array
    sent_across: Array
    received_across: Array


@dataclass(frozen=True)
class LayerCosts:
    """Of one layer: bytes of a row that travels, seconds of a row's expert forward and backward, and of what else
    a device computes meanwhile, behind which transfers of experts may hide."""

    row_bytes: float
    forward_s_per_row: float
    backward_s_per_row: float
    other_forward_s: float = 0.0
    other_backward_s: float = 0.0


@dataclass(frozen=True)
class Gather:
    """Seconds to bring experts to all devices, or to sum their gradients from all: a call, and each expert."""

    call_s: float
    expert_s: float

    def time_s(self, experts: NDArray[np.int64] | int) -> Array:
        """Seconds for so many experts; none takes none."""
        count = np.asarray(experts)
        return np.where(count > 0, self.call_s + count * self.expert_s, 0.0)


@dataclass(frozen=True)
class LayerTimes:
    """Seconds of a layer's experts, forward and backward together, ``[...]``: four exchanges and the computing."""

    exchange_s: Array
    compute_s: Array

    @property
    def total_s(self) -> Array:
        """Both, one after the other."""
        return self.exchange_s + self.compute_s


def cluster_of(system: System, adapters: int) -> Cluster:
    """The devices of ``system`` with its network's nodes, of which each has so many adapters."""
    network, fabric = system.network, system.fabric
    if network is None or fabric is None:
        raise InputError(f"{system.name} has no network between nodes", "a fabric and a network", "network")
    per_node = min(network.devices_per_node, system.devices)
    (reach,) = reach_of(system, Group(system.devices))
    rate = reach.bandwidth_bytes_per_s if reach.nodes > 1 else network.bandwidth_bytes_per_s
    return Cluster(
        -(-system.devices // per_node), per_node, adapters, rate * per_node / adapters,
        fabric.bandwidth_bytes_per_s, network.latency_s,
    )  # fmt: skip


def gather_of(system: System, expert_bytes: float) -> Gather:
    """Bringing experts from shards on all of a system's devices to all: an all-gather of so many bytes each."""
    everyone = Group(system.devices)
    call = group_time(system, "all_gather", expert_bytes, everyone)
    return Gather(call.latency_s, call.wire_s)


def dispatch(loads: Array, placement: Placement, cluster: Cluster, *, near: bool = True) -> Dispatch:
    """Rows by device for loads ``[..., expert]`` under a placement ``[..., expert, device]``.

    Without ``near`` tokens go evenly to all that hold their expert. Raises `InputError` for an expert that no device
    holds.
    """
    return _rows(loads, _ways(placement, cluster, near))


def _rows(loads: Array, ways: tuple[Array, ...]) -> Dispatch:
    return Dispatch(*((loads[..., None, :] @ each)[..., 0, :] for each in ways))


def _ways(placement: Placement, cluster: Cluster, near: bool) -> tuple[Array, ...]:
    """For each field of `Dispatch` the rows by expert and device, for each token of the expert."""
    if not placement.any(-1).all():
        raise InputError("an expert is on no device", "a holder for every expert", "placement")
    held = placement.reshape(*placement.shape[:-1], cluster.nodes, cluster.devices_per_node).astype(float)
    in_node = held.sum(-1, keepdims=True)
    every = in_node.sum(-2, keepdims=True)
    per_node, everyone = cluster.devices_per_node, np.ones_like(held)
    if near:
        met = in_node > 0
        without = (~met).sum(-2, keepdims=True) * per_node
        stays, out_within, out_across = held, np.where(met, 1.0 - held, 0.0), np.where(met, 0.0, everyone)
        in_within = held * (per_node - in_node) / np.maximum(in_node, 1.0)
        in_across = held * without / every
    else:
        stays, out_within = held / every, (in_node - held) / every
        out_across = everyone * (every - in_node) / every
        in_within = held * (per_node - 1) / every
        in_across = held * (cluster.devices - per_node) / every
    found = (stays + in_within + in_across, out_within, in_within, out_across, in_across)
    return tuple(each.reshape(placement.shape) / cluster.devices for each in found)


def dispatch_golden(loads: Array, placement: Placement, cluster: Cluster, *, near: bool = True) -> Dispatch:
    """`dispatch` of one layer, from every device and expert to every holder in turn."""
    devices = cluster.devices
    computed, sent, received = np.zeros(devices), np.zeros((2, devices)), np.zeros((2, devices))
    node = [device // cluster.devices_per_node for device in range(devices)]
    for expert, load in enumerate(loads):
        holders = [device for device in range(devices) if placement[expert, device]]
        for source in range(devices):
            targets = holders
            if near:
                neighbours = [device for device in holders if node[device] == node[source]]
                targets = [source] if source in holders else neighbours or holders
            for target in targets:
                rows = load / devices / len(targets)
                computed[target] += rows
                if target != source:
                    away = int(node[target] != node[source])
                    sent[away, source] += rows
                    received[away, target] += rows
    return Dispatch(computed, sent[0], received[0], sent[1], received[1])


def exchange_time(rows: Dispatch, row_bytes: float, cluster: Cluster) -> Array:
    """Seconds until all rows are where they are computed, or back: the same ways in the other direction."""

    def at_adapters(each: Array) -> Array:
        found: Array = each.reshape(*each.shape[:-1], -1, cluster.of_adapter).sum(-1).max(-1)
        return found

    across = np.maximum(at_adapters(rows.sent_across), at_adapters(rows.received_across))
    within = np.maximum(rows.sent_within.max(-1), rows.received_within.max(-1))
    wire: Array = row_bytes * np.maximum(across / cluster.adapter_bytes_per_s, within / cluster.fabric_bytes_per_s)
    return np.where(wire > 0, wire + cluster.latency_s, 0.0)


def layer_times(
    loads: Array, placement: Placement, cluster: Cluster, costs: LayerCosts, *, near: bool = True
) -> LayerTimes:
    """Rows go to their experts and back, forward and backward; each time all wait for the slowest."""
    return _times(dispatch(loads, placement, cluster, near=near), cluster, costs)


def _times(rows: Dispatch, cluster: Cluster, costs: LayerCosts) -> LayerTimes:
    per_row = costs.forward_s_per_row + costs.backward_s_per_row
    return LayerTimes(4 * exchange_time(rows, costs.row_bytes, cluster), rows.computed.max(-1) * per_row)


def best_everywhere(
    expected: Array,
    placement: Placement,
    cluster: Cluster,
    costs: LayerCosts,
    most: int,
    waits_s: Callable[[int], float] | None = None,
) -> NDArray[np.int64]:
    """How many of the hottest experts, up to ``most``, are best on every device, ``[...]``, for expected loads.

    ``waits_s`` is what devices wait for so many to come, if anything. All counts to eight are tried, then each an
    eighth more, and
    all experts. Of equal times the fewest.
    """
    experts = placement.shape[-2]
    counts = sorted({*range(min(experts, 8) + 1), *_steps(experts), experts})
    shape = np.broadcast_shapes(expected.shape[:-1], placement.shape[:-2])
    best, found = np.full(shape, np.inf), np.zeros(shape, dtype=np.int64)
    ways = _ways(placement, cluster, near=True)
    rank = np.argsort(np.argsort(-expected, axis=-1, kind="stable"), axis=-1, kind="stable")
    for count in (each for each in counts if each <= most):
        # What is everywhere is computed where it is, and burdens no exchange.
        cold = np.where(rank < count, 0.0, expected)
        rows = _rows(cold, ways)
        even = (expected - cold).sum(-1, keepdims=True) / cluster.devices
        times = _times(replace(rows, computed=rows.computed + even), cluster, costs).total_s
        if waits_s is not None:
            times = times + waits_s(count)
        better = times < best * (1 - 1e-9)
        best, found = np.where(better, times, best), np.where(better, count, found)
    return found


def _steps(experts: int) -> Iterator[int]:
    count = 8
    while count < experts:
        yield count
        count += count // 8
