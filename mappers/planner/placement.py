"""Placement of stored tensors over tiers by a simple stated rule: the fastest tier with room, spilling by role.

Roles are placed in the order of `Place.order`, each layer by layer; what is kept for a backward pass from the last
layer on, whose backward pass comes first. Once a role has spilled to a slower tier it does
not return to a faster one, so that layers with equal placement stand together. Tiers are ordered by the bandwidth at
which the home tier can be filled from them. Tensors outside the home tier are streamed through a buffer in it, whose
room is set aside first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from hw.spec.paths import route
from hw.spec.system import System
from mappers.mapped import MappedWorkload
from mappers.planner.liveness import activation_peak_bytes
from workloads.errors import InfeasibleError, InputError, unknown_name
from workloads.workload import Layer, Role, StoredTensor

__all__ = [
    "LayerPlan",
    "MemoryPlan",
    "Place",
    "PlannedRun",
    "path_bandwidth",
    "plan_memory",
    "tier_capacity",
    "tier_order",
]

DEFAULT_ORDER: tuple[Role, ...] = (
    "norm",
    "kv_cache",
    "attention",
    "feed_forward",
    "head",
    "activations",
    "gradients",
    "optimizer",
    "experts",
    "embedding",
)


@dataclass(frozen=True)
class Place:
    """A placement policy: which roles get the fast tiers first, and roles pinned to a tier whatever its speed.

    ``order`` goes from what is read whole by every step to what is read in part: experts and embedding rows last.
    ``tensors`` are pinned by name, whatever their role's place: a part of a cache that is kept apart.
    """

    order: tuple[Role, ...] = DEFAULT_ORDER
    pinned: Mapping[Role, str] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)

    def pin(self, role: Role, tier: str) -> Place:
        """The same policy with ``role`` pinned to ``tier``."""
        return Place(self.order, {**self.pinned, role: tier}, self.tensors)

    def pin_tensor(self, name: str, tier: str) -> Place:
        """The same policy with tensors called ``name`` pinned to ``tier``."""
        return Place(self.order, self.pinned, {**self.tensors, name: tier})


@dataclass(frozen=True)
class LayerPlan:
    """One layer with the tier of each of its stored tensors, by name.

    ``missed_bytes`` lists tensors of which a part is cached in the home tier, with the bytes that this execution of the
    layer does not find there.
    """

    layer: Layer
    tiers: tuple[tuple[str, str], ...]
    missed_bytes: tuple[tuple[str, float], ...] = ()

    def tier(self, tensor: str) -> str:
        """Where ``tensor`` lives."""
        return dict(self.tiers)[tensor]


@dataclass(frozen=True)
class PlannedRun:
    """A pattern of placed layers and how often it repeats."""

    pattern: tuple[LayerPlan, ...]
    count: int


@dataclass(frozen=True)
class MemoryPlan:
    """Where everything lives, per device.

    ``resident_bytes`` counts stored tensors by tier, ``buffer_bytes`` the room in ``home`` for streamed tensors
    (``ahead`` layers ahead), ``cache_bytes`` the room there for caches of collections, ``workspace_bytes`` the largest
    layer's activations.
    """

    home: str
    runs: tuple[PlannedRun, ...]
    resident_bytes: dict[str, float]
    capacity_bytes: dict[str, float]
    buffer_bytes: float
    cache_bytes: float
    workspace_bytes: float
    ahead: int

    def __str__(self) -> str:
        lines = []
        for tier, capacity in self.capacity_bytes.items():
            beside = self.buffer_bytes + self.cache_bytes + self.workspace_bytes if tier == self.home else 0.0
            held = self.resident_bytes[tier]
            lines.append(f"{tier:8} {held:10.3e} B of tensors, {beside:10.3e} B beside them, of {capacity:10.3e} B")
        for role, tiers in self.bytes_by_role().items():
            lines.append(f"  {role:14}" + ", ".join(f"{tier} {size:.3e} B" for tier, size in tiers.items()))
        return "\n".join(lines)

    def layers(self) -> Iterator[tuple[LayerPlan, int]]:
        """Each distinct placed layer with how often it stands, in order."""
        for run in self.runs:
            for layer in run.pattern:
                yield layer, run.count

    def bytes_by_role(self) -> dict[Role, dict[str, float]]:
        """Bytes of each role by tier."""
        table: dict[Role, dict[str, float]] = {}
        for placed, count in self.layers():
            for tensor in placed.layer.stored:
                row = table.setdefault(tensor.role, {})
                tier = placed.tier(tensor.name)
                row[tier] = row.get(tier, 0.0) + count * tensor.bytes
        return table


def tier_capacity(system: System, tier: str) -> float:
    """One device's bytes of ``tier``: a shared tier is split evenly over the devices."""
    return system.tiers[tier].capacity_bytes / (system.node_devices if system.tiers[tier].shared else 1)


def path_bandwidth(system: System, source: str, target: str) -> float:
    """Bytes per second from tier to tier: the slowest port or link on the way, one device's share of what is shared."""
    slowest = float("inf")
    names = route(system, source, target)
    for position, name in enumerate(names):
        if name in system.links:
            bandwidth, shared = system.links[name].bandwidth_bytes_per_s, system.links[name].shared
        else:
            tier = system.tiers[name]
            shared = tier.shared
            if position == 0:
                bandwidth = tier.read_bandwidth_bytes_per_s
            elif position == len(names) - 1:
                bandwidth = tier.write_bandwidth_bytes_per_s
            else:  # in and out again through one port
                bandwidth = 1 / (1 / tier.read_bandwidth_bytes_per_s + 1 / tier.write_bandwidth_bytes_per_s)
        slowest = min(slowest, bandwidth / (system.node_devices if shared else 1))
    return slowest


def tier_order(system: System, home: str) -> tuple[str, ...]:
    """Tiers that hold tensors, the home tier first, then by falling bandwidth into it (names break ties)."""
    others = [name for name, tier in system.tiers.items() if tier.holds == "tensors" and name != home]
    return (home, *sorted(others, key=lambda name: (-path_bandwidth(system, name, home), name)))


def plan_memory(
    mapped: MappedWorkload,
    system: System,
    place: Place | None = None,
    *,
    ahead: int = 1,
    caches: Mapping[str, float] | None = None,
) -> MemoryPlan:
    """Place every stored tensor; ``ahead`` layers are streamed ahead of the one in use (0: on demand).

    ``caches`` gives bytes to set aside in the home tier for caches, by the tensor they serve; such tensors are fetched
    through their cache and need no streaming buffer.

    Raises `InfeasibleError` when activations and buffers do not fit the home tier, or the tensors all tiers together,
    and `InputError` for a pinned tier that does not exist.
    """
    place = place or Place()
    home = mapped.home
    order = tier_order(system, home)
    for pinned, tier in (*place.pinned.items(), *place.tensors.items()):
        if tier not in order:
            raise unknown_name("tier", tier, order, field=f"place.{pinned}")
    missing = {tensor.role for layer, _ in mapped.workload.layers() for tensor in layer.stored} - set(place.order)
    if missing:
        raise InputError(f"no place in the order for {', '.join(sorted(missing))}", field="place.order")
    # A lane may be a layer ahead of another, so that the activations of two layers lie side by side.
    workspace = max(activation_peak_bytes(layer) * min(layer.lanes, 2) for layer, _ in mapped.workload.layers())
    capacity = {tier: tier_capacity(system, tier) for tier in order}
    caches = caches or {}
    buffer, cache = 0.0, sum(caches.values())
    while True:
        if workspace + buffer + cache > capacity[home]:
            raise InfeasibleError(
                f"tier {home!r} cannot hold the activations of one layer"
                + (" and the streaming buffer" if buffer else "")
                + (" and the caches" if cache else ""),
                workspace + buffer + cache,
                capacity[home],
                "bytes",
                "use a smaller batch or context" + (", or stream on demand" if buffer and ahead else ""),
            )
        tiers = _place_all(mapped, place, order, capacity, workspace + buffer + cache)
        needed = _buffer_bytes(mapped, tiers, home, ahead, caches)
        if needed <= buffer:
            break
        buffer = needed
    runs = _planned_runs(mapped, tiers)
    resident = dict.fromkeys(order, 0.0)
    for run in runs:
        for placed in run.pattern:
            for tensor in placed.layer.stored:
                resident[placed.tier(tensor.name)] += run.count * tensor.bytes
    return MemoryPlan(home, runs, resident, capacity, buffer, cache, workspace, ahead)


_Instance = tuple[int, int, int]
"""Run, repetition and position in the pattern."""


def _instances(mapped: MappedWorkload) -> Iterator[tuple[_Instance, Layer]]:
    for run_at, run in enumerate(mapped.workload.runs):
        for repetition in range(run.count):
            for position, layer in enumerate(run.pattern):
                yield (run_at, repetition, position), layer


def _place_all(
    mapped: MappedWorkload, place: Place, order: tuple[str, ...], capacity: dict[str, float], reserved: float
) -> dict[tuple[_Instance, str], str]:
    free = dict(capacity)
    free[order[0]] -= reserved
    tiers: dict[tuple[_Instance, str], str] = {}
    instances = list(_instances(mapped))
    # What is pinned has no choice, so it takes its room first.
    for instance, layer in instances:
        for tensor in layer.stored:
            if tensor.name in place.tensors:
                tier = place.tensors[tensor.name]
                if tensor.bytes > free[tier]:
                    raise _does_not_fit(mapped, tensor, (tier,), capacity, reserved, pinned=True)
                free[tier] -= tensor.bytes
                tiers[instance, tensor.name] = tier
    for role in sorted(place.order, key=lambda role: role not in place.pinned):
        reached = 0
        choices = (place.pinned[role],) if role in place.pinned else order
        for instance, layer in instances[:: -1 if role == "activations" else 1]:
            for tensor in layer.stored:
                if tensor.role != role or tensor.shared_with is not None or tensor.name in place.tensors:
                    continue
                while reached < len(choices) and tensor.bytes > free[choices[reached]]:
                    reached += 1
                if reached == len(choices):
                    raise _does_not_fit(mapped, tensor, choices, capacity, reserved, pinned=role in place.pinned)
                free[choices[reached]] -= tensor.bytes
                tiers[instance, tensor.name] = choices[reached]
    for (*mine, name), (*its, shared) in mapped.workload.origins().items():
        tiers[(mine[0], mine[1], mine[2]), name] = tiers[(its[0], its[1], its[2]), shared]
    return tiers


def _does_not_fit(
    mapped: MappedWorkload,
    tensor: StoredTensor,
    choices: tuple[str, ...],
    capacity: dict[str, float],
    reserved: float,
    *,
    pinned: bool,
) -> InfeasibleError:
    if pinned:
        return InfeasibleError(
            f"tier {choices[0]!r} cannot hold all {tensor.role} tensors",
            mapped.workload.stored_bytes(tensor.role),
            capacity[choices[0]],
            "bytes",
            "pin them elsewhere",
        )
    names = f"tiers {', '.join(choices)} together" if len(choices) > 1 else f"tier {choices[0]!r}"
    return InfeasibleError(
        f"{names} cannot hold {mapped.workload.model}",
        mapped.workload.stored_bytes() + reserved,
        sum(capacity[tier] for tier in choices),
        "bytes",
        "add capacity or devices, or store the weights in a narrower format",
    )


def _buffer_bytes(
    mapped: MappedWorkload, tiers: dict[tuple[_Instance, str], str], home: str, ahead: int, caches: Mapping[str, float]
) -> float:
    """Room for the streamed operands of ``ahead + 1`` layers; on demand, of operations that may run side by side.

    What a training step writes elsewhere is held here too, until it has left; what it changes in place, once.
    """
    largest = 0.0
    for instance, layer in _instances(mapped):
        amounts = {}
        for op in layer.ops:
            streamed = [o for o in layer.from_storage(op) if o.stored is not None and o.stored not in caches]
            is_here = mapped.layers[layer.name].ops[op.name].home == home
            amounts[op.name] = is_here * sum(o.bytes for o in streamed if tiers[instance, o.stored or ""] != home)
            if is_here:
                brought = {operand.stored for operand in streamed}
                leaves = (
                    o for o in layer.leaving(op) if o.stored not in brought and tiers[instance, o.stored or ""] != home
                )
                amounts[op.name] += sum(o.bytes for o in leaves)
        if not any(amounts.values()):
            continue
        # On demand, the first lane asks for the next layer's while the others still use this one's.
        together = ahead + 1 if ahead else min(layer.lanes, 2)
        needed = together * (sum(amounts.values()) if ahead else _side_by_side(layer, amounts))
        largest = max(largest, needed)
    return largest


def _side_by_side(layer: Layer, amounts: dict[str, float]) -> float:
    """The largest sum of an operation's amount and those of all operations that neither precede nor follow it."""
    before: dict[str, set[str]] = {}
    for step in layer.steps:
        before[step.name] = set(step.after).union(*(before[name] for name in step.after))
    return max(
        amount
        + sum(
            other for peer, other in amounts.items() if peer not in before[name] | {name} and name not in before[peer]
        )
        for name, amount in amounts.items()
    )


def _planned_runs(mapped: MappedWorkload, tiers: dict[tuple[_Instance, str], str]) -> tuple[PlannedRun, ...]:
    """Repetitions with the same placement stand together and are kept once."""
    runs: list[PlannedRun] = []
    for run_at, run in enumerate(mapped.workload.runs):
        repetitions = [
            tuple(
                LayerPlan(layer, tuple((t.name, tiers[(run_at, repetition, position), t.name]) for t in layer.stored))
                for position, layer in enumerate(run.pattern)
            )
            for repetition in range(run.count)
        ]
        runs += [PlannedRun(pattern, len(list(group))) for pattern, group in groupby(repetitions)]
    return tuple(runs)
