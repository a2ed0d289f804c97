"""Training systems that keep experts' loads even, each as a rule for where experts are, on one trace of loads.

What a rule knows is the past: placements follow the mean loads of the iterations before, times those of the iteration.
Only shadows are chosen by the iteration's own loads, after the gate, and so are waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulator.training.experts.balance import (
    Cluster,
    Gather,
    LayerCosts,
    best_everywhere,
    layer_times,
)
from simulator.training.experts.placement import (
    Placement,
    balanced_placement,
    even_placement,
    hottest,
    replicated_placement,
    sharded_placement,
    with_everywhere,
)
from workloads.errors import InputError, unknown_name

__all__ = ["SYSTEMS", "Rules", "SystemTimes", "run_system"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rules:
    """``window`` past iterations are the expected load. SmartMoE and shards are placed again every ``place_every``
    iterations, replicas every ``replicate_every``, on ``replica_slots`` times the slots of expert parallelism. At most
    ``most_everywhere`` experts of a layer are brought to all devices. ``samples`` iterations are timed."""

    window: int = 10
    place_every: int = 100
    replicate_every: int = 50
    replica_slots: int = 2
    most_everywhere: int = 16
    samples: int = 4

    def __post_init__(self) -> None:
        for name in ("window", "place_every", "replicate_every", "replica_slots", "samples"):
            if getattr(self, name) < 1:
                raise InputError(f"found {getattr(self, name)}", "1 or more", name)


@dataclass(frozen=True)
class SystemTimes:
    """Seconds ``[sample, layer]``: exchanges of tokens, computing, transfers of experts that nothing hides, all such
    transfers, and moves to new places, by iteration. ``everywhere`` counts the experts brought to all devices;
    ``slots`` is how many experts with all their states a device holds, over those of expert parallelism."""

    exchange_s: Array
    compute_s: Array
    exposed_s: Array
    transfers_s: Array
    moves_s: Array
    everywhere: NDArray[np.int64]
    slots: float = 1.0

    @property
    def layer_s(self) -> Array:
        """Seconds of a layer's experts, all that is not hidden."""
        return self.exchange_s + self.compute_s + self.exposed_s + self.moves_s


@dataclass(frozen=True)
class _Run:
    """A trace ``[iteration, layer, expert]`` on a cluster; ``gather`` of an expert's parameters, or gradients, and
    ``states`` of all that belongs to it."""

    trace: NDArray[np.int64]
    cluster: Cluster
    costs: LayerCosts
    gather: Gather
    state_bytes: float
    rules: Rules
    sampled: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        first = self.rules.place_every
        if len(self.trace) <= first or first < self.rules.window:
            raise InputError(f"{len(self.trace)} iterations", f"more than {first}, and no shorter window", "iterations")
        found = np.unique(np.linspace(first, len(self.trace) - 1, self.rules.samples).astype(np.int64))
        object.__setattr__(self, "sampled", found)

    @property
    def loads(self) -> Array:
        return self.trace[self.sampled].astype(float)

    def expected(self, every: int = 1) -> Array:
        """Mean loads of the window before each sample's last placement, ``[sample, layer, expert]``."""
        return np.stack([self.before(int(at) // every * every) for at in self.sampled])

    def before(self, iteration: int) -> Array:
        found: Array = self.trace[max(0, iteration - self.rules.window) : iteration].mean(0)
        return found

    def placed(self, every: int, place: Callable[[Array, Placement | None], Placement]) -> tuple[Placement, Array]:
        """The placement of each sample, from the loads expected when last placed and the placement before; seconds of
        moving, by iteration."""
        known: dict[int, Placement] = {}
        past: Placement | None = None
        least = -(-self.rules.window // every) * every
        first = max(least, (int(self.sampled[0]) // every - 1) * every)
        for iteration in range(first, int(self.sampled[-1]) + 1, every):
            past = known[iteration] = place(self.before(iteration), past)
        placements, moves = [], []
        for sample in self.sampled:
            now = int(sample) // every * every
            placements.append(known[now])
            came = known[now] & ~known.get(now - every, known[now])
            moves.append(self._move_s(came) / every)
        return np.stack(placements), np.stack(moves)

    def _move_s(self, came: Placement) -> Array:
        """Seconds for each layer's experts that have come to devices, through the adapters of the fullest node's."""
        at_adapters = came.sum(-2).reshape(len(came), -1, self.cluster.of_adapter).sum(-1).max(-1)
        found: Array = at_adapters * self.state_bytes / self.cluster.adapter_bytes_per_s
        return found

    def timed(self, placement: Placement, *, near: bool = True) -> tuple[Array, Array]:
        found = layer_times(self.loads, placement, self.cluster, self.costs, near=near)
        return found.exchange_s, found.compute_s


def _parallel(run: _Run) -> SystemTimes:
    placement = even_placement(run.trace.shape[-1], run.cluster.devices)
    return _plain(*run.timed(placement))


def _plain(exchange_s: Array, compute_s: Array, moves_s: Array | None = None, slots: float = 1.0) -> SystemTimes:
    none = np.zeros_like(exchange_s)
    return SystemTimes(
        exchange_s, compute_s, none, none, none if moves_s is None else moves_s, none.astype(np.int64), slots
    )


def _shadowed(run: _Run) -> SystemTimes:
    """Experts go to all devices after the gate, each from its owner, where that pays, and their gradients come back
    (FasterMoE, He et al., PPoPP 2022, section 4.2)."""
    even = even_placement(run.trace.shape[-1], run.cluster.devices)
    each_s = 2 * float(run.gather.time_s(1))
    count = best_everywhere(run.loads, even, run.cluster, run.costs, run.rules.most_everywhere, lambda n: n * each_s)
    exchange_s, compute_s = run.timed(with_everywhere(even, hottest(run.loads, count)))
    transfers: Array = each_s * count.astype(float)
    return SystemTimes(exchange_s, compute_s, transfers, transfers, np.zeros_like(transfers), count)


def _placed_again(run: _Run) -> SystemTimes:
    devices, of_adapter = run.cluster.devices, run.cluster.of_adapter
    placement, moves = run.placed(
        run.rules.place_every, lambda loads, _past: balanced_placement(loads, devices, of_adapter)
    )
    return _plain(*run.timed(placement), moves)


def _replicated(run: _Run) -> SystemTimes:
    """Replicas hold all states; those of one expert sum their gradients, which nothing hides but the backward pass."""
    devices, experts = run.cluster.devices, run.trace.shape[-1]
    slots = min(experts, run.rules.replica_slots * (experts // devices))
    placement, moves = run.placed(
        run.rules.replicate_every,
        lambda loads, past: replicated_placement(loads, devices, slots, run.cluster.of_adapter, past),
    )
    exchange_s, compute_s = run.timed(placement, near=False)
    copies = (placement & (placement.sum(-1, keepdims=True) > 1)).sum(-2).max(-1)
    transfers = 2 * run.gather.time_s(copies)
    exposed = np.maximum(0.0, transfers - run.costs.other_backward_s)
    none = np.zeros_like(copies)
    return SystemTimes(exchange_s, compute_s, exposed, transfers, moves, none, slots / (experts // devices))


def _sharded(run: _Run, *, again: bool = False, materialise: bool = True) -> SystemTimes:
    """Shards by expected load; of each layer the hottest experts, as many as pay, come to all devices before it and
    their gradients go to their owners behind it; with ``again`` they are released between and brought twice.

    The layer's other work hides transfers; only what is left of them is waited for.
    """
    devices, experts, costs = run.cluster.devices, run.trace.shape[-1], run.costs
    most = run.rules.most_everywhere if materialise else 0

    def waits(count: NDArray[np.int64] | int) -> Array:
        once = run.gather.time_s(count)
        behind = (2 if again else 1) * once
        before_s: Array = np.maximum(0.0, once - costs.other_forward_s)
        return before_s + np.maximum(0.0, behind - costs.other_backward_s)

    def best(loads: Array, owner: Placement) -> NDArray[np.int64]:
        return best_everywhere(loads, owner, run.cluster, costs, most, lambda count: float(waits(count)))

    def place(loads: Array, _past: Placement | None) -> Placement:
        hot = best(loads, even_placement(experts, devices))
        return sharded_placement(loads, devices, hot, run.cluster.of_adapter)

    owner, moves = run.placed(run.rules.place_every, place)
    expected = run.expected()
    count = best(expected, owner)
    exchange_s, compute_s = run.timed(with_everywhere(owner, hottest(expected, count)))
    transfers = (3 if again else 2) * run.gather.time_s(count)
    return SystemTimes(exchange_s, compute_s, waits(count), transfers, moves, count)


SYSTEMS: dict[str, Callable[[_Run], SystemTimes]] = {
    "ep": _parallel,
    "fastermoe": _shadowed,
    "smartmoe": _placed_again,
    "flexmoe": _replicated,
    "sharding": lambda run: _sharded(run, materialise=False),
    "hecate": _sharded,
    "hecate-rm": lambda run: _sharded(run, again=True),
}
"""Expert parallelism, its successors, and fully sharded sparse data parallelism in parts and whole."""


def run_system(
    name: str,
    trace: NDArray[np.int64],
    cluster: Cluster,
    costs: LayerCosts,
    gather: Gather,
    state_bytes: float,
    rules: Rules | None = None,
) -> SystemTimes:
    """A system's times on a trace of loads ``[iteration, layer, expert]``.

    ``gather`` brings one expert's parameters to all devices, ``state_bytes`` are those of all that belongs to an
    expert. Raises `InputError` for an unknown system and a trace that is shorter than the time between placements.
    """
    if name not in SYSTEMS:
        raise unknown_name("system", name, SYSTEMS, field="system")
    return SYSTEMS[name](_Run(trace, cluster, costs, gather, state_bytes, rules or Rules()))
