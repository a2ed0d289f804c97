"""Several memories: each buffer goes to one of the pools it may live in, the preferred ones first, and gets an offset.

Which pool is a mixed-integer program over contention: in every section the buffers of a pool must have room together.
Offsets then come pool by pool; where packing needs more than contention says, the program is asked again with less
room in that pool.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mappers.planner.allocation.allocate import allocate
from mappers.planner.allocation.problem import AllocationProblem, Buffer
from mappers.planner.allocation.result import Allocation
from mappers.planner.allocation.sections import Instance, instance_of
from workloads.errors import InputError, unknown_name

__all__ = ["PooledAllocation", "allocate_pools"]

_ROUNDS = 12
"""How often the program is asked again before it is left at that."""

_TURNS_IN_TIME = 5
"""A pool's offsets may take so small a part of the time: less room often packs at once."""


@dataclass(frozen=True)
class PooledAllocation:
    """Pool and offset of each buffer, or why there is none.

    ``cost_byte_ticks`` sums size x lifetime x how many pools are preferred to the one taken; no plan's is below
    ``cost_bound_byte_ticks``. ``infeasible`` is proved: so many ``missing_bytes`` by pool, all of them together the
    least that contention asks for. ``unknown``: neither a plan nor a proof.
    """

    status: Literal["proved_optimal", "feasible", "infeasible", "unknown"]
    pool: tuple[str, ...] | None
    offsets: tuple[int, ...] | None
    peak_bytes: Mapping[str, int]
    capacity_bytes: Mapping[str, int]
    cost_byte_ticks: float | None
    cost_bound_byte_ticks: float
    missing_bytes: Mapping[str, int]
    seconds: float

    @property
    def fits(self) -> bool:
        return self.offsets is not None

    def to_json(self) -> dict[str, Any]:
        """Every figure but pools and offsets of buffers, as plain values."""
        left_out = ("pool", "offsets", "peak_bytes", "capacity_bytes", "missing_bytes")
        document = {name: value for name, value in vars(self).items() if name not in left_out}
        document["pools"] = {
            name: {
                "capacity_bytes": capacity,
                "peak_bytes": self.peak_bytes.get(name),
                "missing_bytes": self.missing_bytes.get(name, 0),
            }
            for name, capacity in self.capacity_bytes.items()
        }
        return document


def allocate_pools(
    problem: AllocationProblem,
    capacity_bytes: Mapping[str, int],
    *,
    time_limit_s: float = 60.0,
    workers: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> PooledAllocation:
    """Plan ``problem`` over pools, in order of preference; a buffer without ``pools`` may go to any.

    Raises `InputError` for pools that are not there, and for a pinned buffer that may go to more than one.
    """
    started = time.monotonic()
    names = list(capacity_bytes)
    choices = [_choices(buffer, names) for buffer in problem.buffers]
    instance = instance_of(problem)
    room = dict(capacity_bytes)
    bound = 0.0

    def left_s() -> float:
        return max(0.05, time_limit_s - (time.monotonic() - started))

    def turn_s() -> float:
        return min(left_s(), time_limit_s / (_TURNS_IN_TIME * len(names)))

    def close(**found: Any) -> PooledAllocation:
        blank: dict[str, Any] = {
            "pool": None, "offsets": None, "peak_bytes": {}, "cost_byte_ticks": None, "missing_bytes": {},
        }  # fmt: skip
        return PooledAllocation(
            capacity_bytes=dict(capacity_bytes),
            cost_bound_byte_ticks=bound,
            seconds=time.monotonic() - started,
            **(blank | found),
        )

    for turn in range(_ROUNDS):
        chosen, cost, below = _assign(instance, problem, choices, room, turn_s())
        if chosen is None:
            if turn == 0 and below == math.inf:
                return close(status="infeasible", missing_bytes=_missing(instance, problem, choices, room, left_s()))
            return close(status="unknown")
        if turn == 0:
            bound = below
        plans = {
            name: _plan(problem, chosen, name, capacity_bytes[name], turn_s(), workers, should_stop) for name in names
        }
        over = [name for name in names if not plans[name].fits]
        if not over:
            offsets = _together(problem, chosen, plans)
            peaks = {name: plan.peak_bytes or 0 for name, plan in plans.items()}
            status = "proved_optimal" if cost <= bound * (1 + 1e-9) else "feasible"
            return close(status=status, pool=tuple(chosen), offsets=offsets, peak_bytes=peaks, cost_byte_ticks=cost)
        if should_stop() or time.monotonic() - started >= time_limit_s:
            break
        for name in over:
            peak = plans[name].peak_bytes
            excess = instance.unit if peak is None else peak - capacity_bytes[name]
            room[name] -= max(instance.unit, excess)
    return close(status="unknown")


def _choices(buffer: Buffer, names: list[str]) -> list[str]:
    for name in buffer.pools:
        if name not in names:
            raise unknown_name("pool", name, names, field="pool")
    found = [name for name in names if name in buffer.pools] if buffer.pools else names
    if buffer.pinned is not None and len(found) > 1:
        problem = f"{buffer.id} is pinned at {buffer.pinned} and may go to {len(found)} pools"
        raise InputError(problem, "one pool for a pinned buffer", "pool")
    return found


def _assign(
    instance: Instance,
    problem: AllocationProblem,
    choices: list[list[str]],
    room: Mapping[str, int],
    time_limit_s: float,
) -> tuple[list[str] | None, float, float]:
    """The pool of each buffer, what that costs, and what nothing costs less than (infinite: there is none)."""
    import pulp

    model = pulp.LpProblem("pools", pulp.LpMinimize)
    takes = _variables(model, choices)
    names = list(room)
    weight = [names.index(name) * _byte_ticks(problem.buffers[i]) for i, name in takes]
    scale = max((max(weight) if weight else 0.0), 1.0)
    model += pulp.lpSum(value / scale * takes[key] for key, value in zip(takes, weight, strict=True))
    _fill(model, instance, problem, takes, room, {})
    model.solve(pulp.HiGHS(msg=False, timeLimit=time_limit_s, gapRel=0.0))
    if model.sol_status not in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
        return None, 0.0, math.inf if model.status == pulp.LpStatusInfeasible else 0.0
    chosen = [max((_value(takes[i, name]), name) for name in allowed)[1] for i, allowed in enumerate(choices)]
    cost = sum(names.index(name) * _byte_ticks(problem.buffers[i]) for i, name in enumerate(chosen))
    below = max(0.0, model.solverModel.getInfo().mip_dual_bound * scale)
    return chosen, cost, min(cost, below)


def _variables(model: Any, choices: list[list[str]]) -> dict[tuple[int, str], Any]:
    takes = {
        (i, name): model.add_variable(f"takes_{i}_{place}", cat="Binary")
        for i, names in enumerate(choices)
        for place, name in enumerate(names)
    }
    for i, names in enumerate(choices):
        model += sum(takes[i, name] for name in names) == 1
    return takes


def _fill(
    model: Any,
    instance: Instance,
    problem: AllocationProblem,
    takes: Mapping[tuple[int, str], Any],
    room: Mapping[str, int],
    more: Mapping[str, Any],
) -> None:
    """In every section the buffers of a pool have room together, with ``more`` units than there is."""
    import pulp

    unit = instance.unit
    for name, capacity in room.items():
        for members in instance.members:
            alive = [instance.index[u] for u in members]
            inside = [problem.buffers[i].size // unit * takes[i, name] for i in alive if (i, name) in takes]
            if inside:
                model += pulp.lpSum(inside) <= max(0, capacity // unit) + more.get(name, 0)


def _missing(
    instance: Instance,
    problem: AllocationProblem,
    choices: list[list[str]],
    room: Mapping[str, int],
    time_limit_s: float,
) -> dict[str, int]:
    """The least bytes, over all pools together, that contention asks for beyond what there is."""
    import pulp

    model = pulp.LpProblem("missing", pulp.LpMinimize)
    more = {name: model.add_variable(f"more_{place}", 0, None, cat="Integer") for place, name in enumerate(room)}
    model += pulp.lpSum(more.values())
    takes = _variables(model, choices)
    _fill(model, instance, problem, takes, room, more)
    model.solve(pulp.HiGHS(msg=False, timeLimit=time_limit_s))
    return {
        name: round(_value(extra)) * instance.unit - room[name] % instance.unit
        for name, extra in more.items()
        if _value(extra) > 0.5
    }


def _value(variable: Any) -> float:
    found = None if variable is None else variable.value()
    return 0.0 if found is None else float(found)


def _byte_ticks(buffer: Buffer) -> float:
    return float(sum((piece.high - piece.low) * (piece.upper - piece.lower) for piece in buffer.pieces))


def _plan(
    problem: AllocationProblem,
    chosen: list[str],
    name: str,
    capacity: int,
    time_limit_s: float,
    workers: int,
    should_stop: Callable[[], bool],
) -> Allocation:
    inside = tuple(buffer for buffer, pool in zip(problem.buffers, chosen, strict=True) if pool == name)
    part = replace(problem, buffers=inside)
    return allocate(part, capacity, time_limit_s=time_limit_s, workers=workers, should_stop=should_stop)


def _together(problem: AllocationProblem, chosen: list[str], plans: Mapping[str, Allocation]) -> tuple[int, ...]:
    left = {name: iter(plan.offsets or ()) for name, plan in plans.items()}
    return tuple(next(left[name]) for _, name in zip(problem.buffers, chosen, strict=True))
