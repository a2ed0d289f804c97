"""The placement problem that a mapped workload poses on a system.

The layers of one pass, in order, become intervals; an interval ends where the next large stored tensor is read, so that
a layer has a few. Stored tensors are read by the intervals of their operations. A decode or prefill that repeats is a
cyclic problem: the next pass follows at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hw.spec.system import System
from mappers.mapped import MappedOp, MappedWorkload
from mappers.planner.liveness import activation_peak_bytes
from mappers.planner.placement import plan_memory, tier_capacity, tier_order
from mappers.planner.tiers import Interval, Route, Tensor, Tier, TierProblem
from simulator.transport import collective_cost, transfer_demands, transfer_energy_j, transfer_latency_s
from workloads.errors import InfeasibleError, InputError
from workloads.workload import Collective, Layer, Step, StoredTensor

__all__ = ["PlannedInterval", "PosedPlacement", "pose_placement"]

_LARGE = 0.02  # of a layer's stored bytes: a read of less does not end an interval
_CUT = 1e-3  # of the home tier: a weight of less is not cut into pieces
_IN_PART = 0.999  # of a tensor: what reads less reads a part that only its inputs tell


@dataclass(frozen=True)
class PlannedInterval:
    """Steps of one layer, by the layer's place in the pass; ``last`` of them in their layer."""

    instance: int
    layer: Layer
    steps: tuple[Step, ...]
    last: bool


@dataclass(frozen=True)
class PosedPlacement:
    """A problem with what its intervals and tensors stand for.

    ``on_demand`` gives, by (instance, operation), the (tier, bytes, tensor) that an operation fetches of tensors it
    reads in part: they keep the homes that `plan_memory` gives them, and ``fixed_bytes`` of each tier.
    """

    problem: TierProblem
    system: System
    mapped: MappedWorkload
    intervals: tuple[PlannedInterval, ...]
    on_demand: dict[tuple[int, str], tuple[tuple[str, float, str], ...]]
    fixed_bytes: dict[str, float]


def pose_placement(
    mapped: MappedWorkload,
    system: System,
    *,
    grain: str = "operation",
    pieces: int = 4,
    prices: dict[str, float] | None = None,
) -> PosedPlacement:
    """The cyclic problem of one pass of ``mapped`` after another.

    ``grain``: intervals end at an ``operation`` that reads a large tensor, or at each ``layer``. Large weights are cut
    into ``pieces`` that may live apart. ``prices`` per byte by tier. Raises `InputError` for engines that do not all
    compute on the home tier.
    """
    if pieces < 1:
        raise InputError(f"{pieces} pieces", "at least 1", "pieces")
    if grain not in ("operation", "layer"):
        raise InputError(f"grain {grain!r}", "operation or layer", "grain")
    elsewhere = {op.home for layer in mapped.layers.values() for op in layer.ops.values()} - {mapped.home}
    if elsewhere:
        raise InputError(f"operations run on {', '.join(sorted(elsewhere))} too", f"all on {mapped.home}", "system")
    order = tier_order(system, mapped.home)
    intervals = tuple(_intervals(mapped, grain))
    at = {(i.instance, step.name): number for number, i in enumerate(intervals) for step in i.steps}
    tensors, parts = _tensors(mapped, at)
    homes = _homes_of_parts(mapped, system, parts, order, sum(tensor.bytes for tensor in tensors))
    fixed = dict.fromkeys(order, 0.0)
    on_demand: dict[tuple[int, str], list[tuple[str, float, str]]] = {}
    for (instance, name), (stored, reads) in parts.items():
        home = homes[instance, name]
        fixed[home] += math.ceil(stored.bytes)
        if home != mapped.home:
            for op, size in reads:
                on_demand.setdefault((instance, op), []).append((home, size, name))
    prices = prices or {}
    for name in prices:
        if name not in order:
            raise InputError(f"a price for {name!r}", f"one of {', '.join(order)}", "prices")
    cut = _CUT * tier_capacity(system, mapped.home)
    tensors = [part for tensor in tensors for part in _pieces(tensor, pieces if tensor.bytes > cut else 1)]
    tiers = [Tier(name, max(0.0, tier_capacity(system, name) - fixed[name]), prices.get(name, 0.0)) for name in order]
    problem = TierProblem(
        f"{mapped.workload.model} on {system.name}",
        mapped.home,
        tuple(tiers),
        tuple(_routes(system, order)),
        tuple(_timed(mapped, system, intervals, on_demand)),
        tuple(tensors),
        static_power_w=system.idle_power_w / system.devices,
    )
    frozen = {key: tuple(fetches) for key, fetches in on_demand.items()}
    return PosedPlacement(problem, system, mapped, intervals, frozen, fixed)


def _pieces(tensor: Tensor, count: int) -> Iterator[Tensor]:
    """Pieces of about equal size of a tensor that nothing writes."""
    if count == 1 or tensor.written:
        yield tensor
        return
    for number in range(count):
        size = (number + 1) * tensor.bytes // count - number * tensor.bytes // count
        yield replace(tensor, name=f"{tensor.name}#{number}", bytes=size)


def _instances(mapped: MappedWorkload) -> Iterator[Layer]:
    for run in mapped.workload.runs:
        for _ in range(run.count):
            yield from run.pattern


def _intervals(mapped: MappedWorkload, grain: str) -> Iterator[PlannedInterval]:
    for instance, layer in enumerate(_instances(mapped)):
        large = _LARGE * sum(tensor.bytes for tensor in layer.stored)
        steps: list[Step] = []
        full = False
        for step in layer.steps:
            reads = not isinstance(step, Collective) and any(o.bytes > large for o in layer.from_storage(step))
            if reads and full and grain == "operation":
                yield PlannedInterval(instance, layer, tuple(steps), False)
                steps, full = [], False
            steps.append(step)
            full = full or reads
        if steps:
            yield PlannedInterval(instance, layer, tuple(steps), True)


_Parts = dict[tuple[int, str], tuple[StoredTensor, list[tuple[str, float]]]]


def _tensors(mapped: MappedWorkload, at: dict[tuple[int, str], int]) -> tuple[list[Tensor], _Parts]:
    """Tensors that are read whole, and those read in part with the bytes that each operation fetches."""
    names: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    parts: _Parts = {}
    shared: list[tuple[str, int]] = []
    for instance, layer in enumerate(_instances(mapped)):
        for stored in layer.stored:
            key = f"{instance}.{layer.name}.{stored.name}"
            names.setdefault(f"{layer.name}.{stored.name}", key)
            reads, written, fetched = [], [], []
            for op in layer.ops:
                number = at[instance, op.name]
                amount = sum(o.bytes for o in layer.from_storage(op) if o.stored == stored.name)
                if amount:
                    fetched.append((op.name, amount))
                    reads.append(number)
                change = sum(o.bytes for o in op.operands if o.stored == stored.name and o.access == "write")
                if change:
                    written.append((number, change))
            if stored.shared_with is not None:
                shared += [(stored.shared_with, number) for number in reads]
            elif fetched and max(size for _, size in fetched) < _IN_PART * stored.bytes:
                parts[instance, stored.name] = (stored, fetched)
            else:
                size = float(math.ceil(stored.bytes))
                tensors[key] = Tensor(key, size, tuple(dict.fromkeys(reads)), tuple(written), group=stored.role)
    for path, number in shared:
        _share(names[path], number, tensors, parts)
    return list(tensors.values()), parts


def _share(key: str, number: int, tensors: dict[str, Tensor], parts: _Parts) -> None:
    """Another reader of a tensor that stands elsewhere; one that was read in part only is now read whole."""
    instance, _, name = key.split(".", 2)
    if key not in tensors:
        stored, _ = parts.pop((int(instance), name))
        tensors[key] = Tensor(key, float(math.ceil(stored.bytes)), (), group=stored.role)
    old = tensors[key]
    tensors[key] = replace(old, reads=tuple(sorted({*old.reads, number})))


def _homes_of_parts(
    mapped: MappedWorkload, system: System, parts: _Parts, order: tuple[str, ...], whole_bytes: float
) -> dict[tuple[int, str], str]:
    """Where `plan_memory` puts the tensors that are read in part.

    When its plan does not fit, each is in the fastest tier behind the home that has room beside the ``whole_bytes`` of
    other tensors, which fill the tiers in order; in the slowest where none has.
    """
    if not parts:
        return {}
    try:
        plan = plan_memory(mapped, system)
    except InfeasibleError:
        room = {name: tier_capacity(system, name) for name in order}
        for name in order:
            taken = min(whole_bytes, room[name])
            room[name], whole_bytes = room[name] - taken, whole_bytes - taken
        homes = {}
        for key, (stored, _) in parts.items():
            homes[key] = next((name for name in order[1:] if math.ceil(stored.bytes) <= room[name]), order[-1])
            room[homes[key]] -= math.ceil(stored.bytes)
        return homes
    placed = [layer for run in plan.runs for _ in range(run.count) for layer in run.pattern]
    return {(instance, name): placed[instance].tier(name) for instance, name in parts}


def _routes(system: System, order: tuple[str, ...]) -> Iterator[Route]:
    """A route between every two tiers that links join."""
    for source in order:
        for target in order:
            if source == target:
                continue
            demands = transfer_demands(system, source, target, 1.0)
            energy = sum(transfer_energy_j(system, source, target, 1.0).values())
            rates = tuple((demand.resource, demand.seconds) for demand in demands)
            yield Route(source, target, rates, energy, transfer_latency_s(system, source, target))


def _timed(
    mapped: MappedWorkload,
    system: System,
    intervals: tuple[PlannedInterval, ...],
    on_demand: dict[tuple[int, str], list[tuple[str, float, str]]],
) -> Iterator[Interval]:
    """Durations: by how much an interval's last step ends after all before it, each step as soon as it can."""
    finished: dict[str, float] = {}
    free: dict[str, float] = {}
    instance, begin, reached = -1, 0.0, 0.0
    arenas: dict[str, float] = {}
    for interval in intervals:
        layer = interval.layer
        if interval.instance != instance:
            instance, begin, finished = interval.instance, reached, {}
            arenas.setdefault(layer.name, float(math.ceil(activation_peak_bytes(layer))))
        before = reached
        busy: dict[str, float] = {}
        for step in interval.steps:
            ready = max((finished[name] for name in step.after), default=begin)
            held: tuple[str, ...]
            if isinstance(step, Collective):
                sent, wire_s, latency = collective_cost(system, step, mapped.workload.devices)
                home = system.tiers[mapped.home]
                port_s = sent / home.read_bandwidth_bytes_per_s + sent / home.write_bandwidth_bytes_per_s
                seconds, held = max(wire_s, port_s) + latency, ("fabric",)
            else:
                op: MappedOp = mapped.layers[layer.name].ops[step.name]
                seconds, port_s, held = op.time_s, op.port_s, tuple(share.engine for share in op.shares)
                fetches = on_demand.get((interval.instance, step.name), ())
                for source, size, _ in fetches:
                    demands = transfer_demands(system, source, mapped.home, size)
                    for demand in demands:
                        busy[demand.resource] = busy.get(demand.resource, 0.0) + demand.seconds
                    ready += transfer_latency_s(system, source, mapped.home) + max(d.seconds for d in demands)
            busy[mapped.home] = busy.get(mapped.home, 0.0) + port_s
            start = max([ready, *(free.get(name, 0.0) for name in held)])
            finished[step.name] = start + seconds
            free.update(dict.fromkeys(held, start + seconds))
            reached = max(reached, start + seconds)
        name = f"{interval.instance}.{layer.name}.{interval.steps[0].name}"
        yield Interval(name, reached - before, tuple(busy.items()), arenas[layer.name])
