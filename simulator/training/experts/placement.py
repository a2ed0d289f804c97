"""Which devices hold which experts: expert parallelism, placements by load, replicas, and shards of uneven number.

A placement is ``[..., expert, device]``, True where a device holds an expert. Loads are expected tokens of each expert,
``[..., expert]``; leading axes (layers, iterations) are placed each by itself. Placements by load even out first what
neighbours get that share an adapter, ``of_adapter`` of them, then what each gets.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError

__all__ = [
    "Placement",
    "balanced_placement",
    "even_placement",
    "hottest",
    "replicated_placement",
    "sharded_placement",
    "with_everywhere",
]

Placement = NDArray[np.bool_]


def _slots(experts: int, devices: int) -> int:
    if experts % devices:
        raise InputError(f"{experts} experts over {devices} devices", f"a divisor of {experts}", "devices")
    return experts // devices


def even_placement(experts: int, devices: int) -> Placement:
    """As many experts on each device, in the order of their numbers (GShard, arXiv 2006.16668)."""
    return np.repeat(np.eye(devices, dtype=bool), _slots(experts, devices), axis=0)


def balanced_placement(loads: NDArray[np.float64], devices: int, of_adapter: int = 1) -> Placement:
    """As many experts on each device: the heaviest first, each to the least loaded one with a free slot.

    SmartMoE searches such placements by past loads (Zhai et al., USENIX ATC 2023, section 5).
    """
    slots = _slots(loads.shape[-1], devices)
    return _each_layer(loads, devices, lambda one: _greedy(one, np.full(devices, slots), of_adapter))


def sharded_placement(
    loads: NDArray[np.float64], devices: int, materialised: NDArray[np.int64] | int = 0, of_adapter: int = 1
) -> Placement:
    """One owner for each expert ``[layer, expert]``, as many on each device over all layers, not in each.

    The ``materialised`` hottest of a layer burden no owner, so they go where memory is left; the others to the device
    with least of their load (Hecate, arXiv 2502.02581: heterogeneous sharding).
    """
    layers, experts = loads.shape
    free = np.full(devices, -(-layers * experts // devices))
    counts = np.broadcast_to(np.asarray(materialised), (layers,))
    found = np.zeros((layers, experts, devices), dtype=bool)
    for layer in range(layers):
        cold = loads[layer].copy()
        cold[np.argsort(-cold, kind="stable")[: counts[layer]]] = 0.0
        found[layer] = _greedy(cold, free, of_adapter)
        free = free - found[layer].sum(0)
    return found


def replicated_placement(
    loads: NDArray[np.float64], devices: int, slots: int, of_adapter: int = 1, before: Placement | None = None
) -> Placement:
    """``slots`` on each device: every expert once, then one more replica of that with most load for each it has.

    No device holds two of one expert. From the placement ``before`` only as many replicas are taken away and added as
    the numbers have changed: FlexMoE shrinks and expands (Nie et al., SIGMOD 2023, arXiv 2304.03946, section 3).
    """
    if slots < _slots(loads.shape[-1], devices):
        raise InputError(f"{slots} slots on each of {devices} devices", "room for every expert", "slots")
    flat = loads.reshape(-1, loads.shape[-1])
    old = [None] * len(flat) if before is None else list(before.reshape(len(flat), -1, devices))
    found = np.stack([_replicas(one, devices, slots, of_adapter, had) for one, had in zip(flat, old, strict=True)])
    return found.reshape(*loads.shape, devices)


def hottest(loads: NDArray[np.float64], counts: NDArray[np.int64] | int) -> NDArray[np.bool_]:
    """The ``counts`` experts with most load, ``[..., expert]``."""
    rank = np.argsort(np.argsort(-loads, axis=-1, kind="stable"), axis=-1, kind="stable")
    found: NDArray[np.bool_] = rank < np.asarray(counts)[..., None]
    return found


def with_everywhere(placement: Placement, everywhere: NDArray[np.bool_]) -> Placement:
    """``placement`` with the experts of ``everywhere`` ``[..., expert]`` on every device as well."""
    return placement | everywhere[..., None]


def _each_layer(
    loads: NDArray[np.float64], devices: int, place: Callable[[NDArray[np.float64]], Placement]
) -> Placement:
    flat = loads.reshape(-1, loads.shape[-1])
    found = np.stack([place(one) for one in flat])
    return found.reshape(*loads.shape, devices)


class _Filling:
    """Devices with what they have been given and the slots they have left."""

    def __init__(self, room: NDArray[np.int64], of_adapter: int) -> None:
        self.held, self.shared = [0.0] * len(room), [0.0] * -(-len(room) // of_adapter)
        self.room, self.of_adapter = [int(each) for each in room], of_adapter

    def least(self, but: set[int]) -> int | None:
        """The device to fill next: by its adapter's load, its own, and then the most room."""
        held, room, of_adapter = self.held, self.room, self.of_adapter
        for adapter in sorted(range(len(self.shared)), key=self.shared.__getitem__):
            neighbours = range(adapter * of_adapter, (adapter + 1) * of_adapter)
            open_to = [(held[d], -room[d], d) for d in neighbours if room[d] > 0 and d not in but]
            if open_to:
                return min(open_to)[2]
        return None

    def give(self, device: int, load: float) -> None:
        self.held[device] += load
        self.shared[device // self.of_adapter] += load
        self.room[device] -= 1


def _greedy(loads: NDArray[np.float64], room: NDArray[np.int64], of_adapter: int) -> Placement:
    """The heaviest first, each to the least loaded device with room."""
    found = np.zeros((len(loads), len(room)), dtype=bool)
    filling = _Filling(room, of_adapter)
    for expert in np.argsort(-loads, kind="stable"):
        device = filling.least(set())
        assert device is not None, "there is room for every expert"
        found[expert, device] = True
        filling.give(device, float(loads[expert]))
    return found


def _replicas(
    loads: NDArray[np.float64], devices: int, slots: int, of_adapter: int, before: Placement | None
) -> Placement:
    copies = np.ones(len(loads), dtype=np.int64)
    for _ in range(min(devices * slots, devices * len(loads)) - len(loads)):
        each = np.where(copies < devices, loads / copies, -1.0)
        copies[int(each.argmax())] += 1
    each = loads / copies
    found = np.zeros((len(loads), devices), dtype=bool) if before is None else before.copy()
    for expert in np.flatnonzero(found.sum(1) > copies).tolist():
        holders = np.flatnonzero(found[expert])
        heaviest = holders[np.argsort(-(each @ found)[holders], kind="stable")]
        found[expert, heaviest[: len(holders) - copies[expert]]] = False
    filling = _Filling(slots - found.sum(0), of_adapter)
    for device, load in enumerate(each @ found):
        filling.held[device] += load
        filling.shared[device // of_adapter] += load
    # Those with most copies first: they need the most different devices. What finds none left has fewer.
    for expert in sorted(range(len(loads)), key=lambda e: (-copies[e], -loads[e], e)):
        chosen = set(np.flatnonzero(found[expert]).tolist())
        while len(chosen) < copies[expert] and (next_one := filling.least(chosen)) is not None:
            chosen.add(next_one)
            filling.give(next_one, float(each[expert]))
        found[expert, sorted(chosen)] = True
    return found
