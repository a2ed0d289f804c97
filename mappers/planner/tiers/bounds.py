"""What no plan beats: bytes that must cross between near and far tiers, and the time of the operations.

Order the tiers by their speed into the compute tier. Of each tensor some share never leaves the nearest j of them; all
of these shares fit their capacity together. The rest is outside at some time, so it crosses into them before it is read
next: in a cycle at least once per cycle, and it occupies every resource of a route that leads across. A linear program
over these shares is below every plan of the time-indexed program, and small: intervals enter only by their capacity.
"""

from __future__ import annotations

from mappers.planner.tiers.linear import LinearProgram
from mappers.planner.tiers.plan import Objective
from mappers.planner.tiers.problem import TierProblem

__all__ = ["crossing_bound", "missing_bytes"]


def crossing_bound(problem: TierProblem, objective: Objective) -> float | None:
    """A lower bound on the objective, in its unit; None when the relaxation itself has no solution: nothing fits.

    Tensors that are produced on the way count in capacities only.
    """
    order = problem.order()
    rank = {name: at for at, name in enumerate(order)}
    program = LinearProgram()
    time = program.variable(
        problem.compute_s, cost={"latency": 1.0, "energy": problem.static_power_w, "cost": 0.0}[objective]
    )
    loads: dict[str, dict[int, float]] = {name: {} for name in problem.resources}
    kept: list[dict[int, float]] = [{} for _ in order]
    always = [tensor for tensor in problem.tensors if tensor.produced is None and tensor.bytes]
    near_of: dict[str, list[int]] = {}
    for tensor in always:
        home = rank[tensor.home] if tensor.home is not None else None
        near = []
        for at in range(len(order) - 1):
            share = program.variable(0.0, 1.0)
            near.append(share)
            kept[at][share] = tensor.bytes
            if at:
                program.row({near[at - 1]: 1.0, share: -1.0}, high=0.0)
        near_of[tensor.name] = near
        if home is not None and home > 0:
            # A copy at home takes room there whatever else is near: it does not count among what is near for good.
            for at in range(home, len(order) - 1):
                program.row({near[at]: 1.0}, low=1.0)
        if not tensor.reads:
            continue
        crossings: list[dict[int, float]] = [{} for _ in near]
        for route in problem.routes:
            if rank[route.target] >= rank[route.source]:
                continue
            moved = program.variable(0.0, cost=route.energy_j_per_byte * tensor.bytes if objective == "energy" else 0.0)
            for name, rate in route.s_per_byte:
                loads[name][moved] = tensor.bytes * rate
            for at in range(rank[route.target], rank[route.source]):
                crossings[at][moved] = 1.0
        for at, row in enumerate(crossings):
            program.row({**row, near[at]: 1.0}, low=1.0)
    least_arena = max(arena for arena, _ in _crowded(problem))
    for at in range(len(order) - 1):
        capacity = sum(problem.tier[name].capacity_bytes for name in order[: at + 1])
        for extra in _crowded(problem) if at == 0 else [(least_arena, ())]:
            arena, reads = extra
            row = dict(kept[at])
            used = 0.0
            for name in reads:
                size = problem.tensor[name].bytes
                row[near_of[name][0]] -= size
                used += size
            program.row(row, high=capacity - arena - used)
    total = sum(tensor.bytes for tensor in always)
    if total > sum(tier.capacity_bytes for tier in problem.tiers):
        return None
    busy: dict[str, float] = {}
    for interval in problem.intervals:
        for name, seconds in interval.busy_s:
            busy[name] = busy.get(name, 0.0) + seconds
    for name, load in loads.items():
        program.row({**load, time: -1.0}, high=-busy.get(name, 0.0))
    if objective == "cost":
        return _least_price(problem, total)
    found = program.solve()
    return None if found is None else found.value


def _crowded(problem: TierProblem) -> list[tuple[float, tuple[str, ...]]]:
    """Arena and tensors that must have room in the compute tier together, interval by interval.

    That is what an interval reads and what the next one reads, which has come or is coming. Where time ends, only the
    first interval counts: before it things lie where they like.
    """
    wanted = _wanted(problem)
    counted = wanted if problem.cyclic else wanted[:1]
    pairs = {(interval.arena_bytes, names) for interval, names in zip(problem.intervals, counted, strict=False)}
    worst = max(arena for arena, _ in pairs)
    return sorted(pair for pair in pairs if pair[1] or pair[0] == worst)


def _wanted(problem: TierProblem) -> list[tuple[str, ...]]:
    """Of each interval the tensors that it or the next one reads; what is produced on the way left out."""
    reads: list[list[str]] = [[] for _ in problem.intervals]
    for tensor in problem.tensors:
        if tensor.produced is None and tensor.bytes:
            for at in tensor.reads:
                reads[at].append(tensor.name)
    after = [*reads[1:], reads[0] if problem.cyclic else []]
    return [tuple(dict.fromkeys([*here, *there])) for here, there in zip(reads, after, strict=True)]


def _least_price(problem: TierProblem, total: float) -> float:
    """Every tensor is somewhere, the cheapest tiers first; the compute tier has what its fullest interval needs."""
    crowd = max(arena + sum(problem.tensor[name].bytes for name in reads) for arena, reads in _crowded(problem))
    compute = problem.tier[problem.compute]
    price, left = crowd * compute.price_per_byte, total - crowd
    room = {tier.name: tier.capacity_bytes for tier in problem.tiers} | {compute.name: compute.capacity_bytes - crowd}
    for tier in sorted(problem.tiers, key=lambda tier: tier.price_per_byte):
        taken = max(0.0, min(left, room[tier.name]))
        price += taken * tier.price_per_byte
        left -= taken
    return price


def missing_bytes(problem: TierProblem) -> tuple[float, float]:
    """Bytes of capacity without which no plan exists: in the compute tier, and in all tiers together.

    Each tensor needs a place at any time, and each interval its arena, its reads and those of the next in the compute
    tier.
    """
    crowd = 0.0
    for at, (interval, names) in enumerate(zip(problem.intervals, _wanted(problem), strict=True)):
        made = sum(t.bytes for t in problem.tensors if t.produced is not None and at in (t.produced, *t.reads))
        crowd = max(crowd, interval.arena_bytes + made + sum(problem.tensor[name].bytes for name in names))
    short = max(0.0, crowd - problem.tier[problem.compute].capacity_bytes)
    always = sum(tensor.bytes for tensor in problem.tensors if tensor.produced is None)
    room = sum(tier.capacity_bytes for tier in problem.tiers)
    passing = [tensor for tensor in problem.tensors if tensor.produced is not None]
    most = max(
        interval.arena_bytes + sum(tensor.bytes for tensor in passing if at in problem.alive(tensor))
        for at, interval in enumerate(problem.intervals)
    )
    return short, max(short, always + most - room)
