"""Placement over tiers, solved: streaming from fixed homes first, then the program over intervals, and a bound."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from mappers.planner.tiers.bounds import crossing_bound, missing_bytes
from mappers.planner.tiers.homes import ROOMS, candidate_homes, finer_rooms
from mappers.planner.tiers.mip import TimedProgram
from mappers.planner.tiers.plan import Objective, PlacementResult, Status, TierPlan
from mappers.planner.tiers.problem import TierProblem
from mappers.planner.tiers.stream import stream
from mappers.planner.tiers.verify import faults
from workloads.errors import InputError

__all__ = ["GAP_PROVED", "best_stream", "place_over_tiers", "relaxed_shares", "rolling"]

GAP_PROVED = 1e-6
"""Relative distance to the bound below which a plan counts as proved: the solver's tolerance."""

_EXACT = 3000
"""Tensors x tiers x intervals up to which the whole program is tried; beyond it window by window."""
_ROLLING = 20000
"""Up to here windows are tried; beyond it the relaxation of one window takes longer than a plan is worth."""
_WINDOW = 6  # intervals
_WINDOW_GAP = 0.005  # at which a window is decided
_SMALL = 1e-3  # of the compute tier: what windows do not decide on
_ELASTIC_S = 10.0  # for the question what capacity would do
_MORE = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the compute tier, tried beyond what is missing at least
_FEW_ROOMS, _USED = (0.0, 1.0, 1.5, 2.0), (0.0, 0.1, 0.3, 0.6)  # rooms, shares of the compute tier, for less cost
_NEAR_ENOUGH = 1e-3  # of the compute tier, to which what would do is found


def best_stream(
    problem: TierProblem, objective: Objective = "latency", should_stop: Callable[[], bool] = lambda: False
) -> tuple[TierPlan, str] | None:
    """The best plan that streams from fixed homes, and which it is; None when no candidate fits."""
    found: list[tuple[float, float, str, float, TierPlan]] = []

    def play(rooms: tuple[float, ...], within: TierProblem = problem) -> None:
        for candidate in candidate_homes(within, rooms):
            if found and should_stop():
                return
            plan = stream(within, candidate.homes)
            if plan is not None:
                value, moved = plan.objective(problem, objective), plan.moved_bytes(problem)
                found.append((value, moved, candidate.name, candidate.room, plan))
        found.sort(key=lambda each: each[:4])

    if objective == "cost":
        for cheap in _cheaper(problem):
            play(_FEW_ROOMS, cheap)
    play(ROOMS)
    if found and found[0][3]:
        play(finer_rooms(found[0][3]))
    return next(((plan, name) for _, _, name, _, plan in found if not faults(problem, plan)), None)


def _cheaper(problem: TierProblem) -> Iterator[TierProblem]:
    """The problem with less capacity, so that streams leave it unused: as they come early, they use what there is.

    In the compute tier what must be there together and parts of the rest; of the others first what is cheapest.
    """
    least = missing_bytes(_with_capacities(problem, {problem.compute: 0.0}))[0]
    whole = problem.tier[problem.compute].capacity_bytes
    others = sorted((tier for tier in problem.tiers if tier.name != problem.compute), key=lambda t: t.price_per_byte)
    for share in _USED:
        room = {problem.compute: least + share * max(0.0, whole - least)}
        left = sum(tensor.bytes for tensor in problem.tensors) - (room[problem.compute] - least)
        for tier in others:
            room[tier.name] = min(tier.capacity_bytes, max(0.0, left))
            left -= room[tier.name]
        yield _with_capacities(problem, room)
        yield _with_capacities(problem, {problem.compute: room[problem.compute]})


def _with_capacities(problem: TierProblem, room: dict[str, float]) -> TierProblem:
    """With other capacities, and no prices: what is bought counts in the plan's objective alone."""
    tiers = (replace(t, capacity_bytes=room.get(t.name, t.capacity_bytes), price_per_byte=0.0) for t in problem.tiers)
    return replace(problem, tiers=tuple(tiers))


def rolling(
    problem: TierProblem,
    objective: Objective = "latency",
    time_limit_s: float = 60.0,
    should_stop: Callable[[], bool] | None = None,
) -> TierPlan | None:
    """Window by window: whole numbers within the window, fractions after it, and before it what has been decided.

    Small tensors are kept in the compute tier. None when a window has no answer within its share of the time, or none
    that goes with what has been decided.
    """
    started = time.monotonic()
    small = _SMALL * problem.tier[problem.compute].capacity_bytes
    kept = [
        replace(tensor, home=problem.compute)
        if tensor.bytes <= small and tensor.home is None and tensor.produced is None
        else tensor
        for tensor in problem.tensors
    ]
    timed = TimedProgram(replace(problem, tensors=tuple(kept)), objective)
    program = timed.program
    every = list(program.whole)
    when = {column: key[2] for table in (timed.room, timed.come, timed.ready) for key, column in table.items()}
    solution = None
    for first in range(0, len(problem.intervals), _WINDOW):
        program.whole = [column for column in every if when[column] < first + _WINDOW]
        left = time_limit_s - (time.monotonic() - started)
        windows = -(-(len(problem.intervals) - first) // _WINDOW)
        if left <= 0:
            return None
        solution = program.solve(time_limit_s=left / windows, gap=_WINDOW_GAP, should_stop=should_stop)
        if solution is None:
            return None
        for column in program.whole:
            program.lowers[column] = program.uppers[column] = float(round(solution.values[column]))
    plan = None if solution is None else timed.plan_of(solution)
    return plan if plan is not None and not faults(problem, plan) else None


def relaxed_shares(
    problem: TierProblem, time_limit_s: float = 60.0
) -> tuple[float, dict[str, dict[str, float]]] | None:
    """The program over intervals with fractions: the least latency in s, and the share of room of each tensor by tier.

    The latency is below that of every plan. The shares are means over the intervals: what FlexGen's program has for its
    variables. None when not even fractions fit, or when the time runs out.
    """
    timed = TimedProgram(problem, "latency")
    solution = timed.program.solve(relaxed=True, time_limit_s=time_limit_s)
    if solution is None or not solution.optimal:
        return None
    shares: dict[str, dict[str, float]] = {}
    for tensor in problem.tensors:
        alive = problem.alive(tensor)
        shares[tensor.name] = {
            tier.name: sum(solution.values[timed.room[tensor.name, tier.name, at]] for at in alive) / len(alive)
            for tier in problem.tiers
        }
    return solution.value * timed.unit, shares


def place_over_tiers(
    problem: TierProblem,
    objective: Objective = "latency",
    *,
    time_limit_s: float = 30.0,
    start: TierPlan | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> PlacementResult:
    """The best plan found in ``time_limit_s`` and what is proved about it.

    ``start`` is a plan to be no worse than. Raises `InputError` for the objective cost without a price.
    """
    if objective == "cost" and not any(tier.price_per_byte for tier in problem.tiers):
        raise InputError("no tier has a price", "a price per byte for at least one tier", "objective")
    started = time.monotonic()
    near, together = missing_bytes(problem)
    if together > 0:
        where = problem.compute if near else "the tiers together"
        why = f"{where} cannot hold what must be there at one time"
        return _infeasible(problem, objective, why, started, should_stop)
    crossing = crossing_bound(problem, objective)
    bound = max(0.0, crossing or 0.0)
    why = "bytes that must cross between tiers, and the operations' own time"
    plan, backend = start, "given"
    if plan is not None and faults(problem, plan):
        plan = None
    found = best_stream(problem, objective, lambda: should_stop() or time.monotonic() - started > time_limit_s / 2)
    if found is not None and (plan is None or _better(problem, objective, found[0], plan)):
        plan, backend = found[0], f"streams: {found[1]}"
    size = len(problem.tensors) * len(problem.tiers) * len(problem.intervals)

    def left() -> float:
        return time_limit_s - (time.monotonic() - started)

    empty = False
    if not _proved(problem, objective, plan, bound) and size <= _ROLLING and left() > 0 and not should_stop():
        if size > _EXACT:
            rolled = rolling(problem, objective, left(), should_stop)
            if rolled is not None and (plan is None or _better(problem, objective, rolled, plan)):
                plan, backend = rolled, "HiGHS, window by window"
        else:
            timed = TimedProgram(problem, objective)
            first = None if plan is None else timed.start_from(plan)
            solution = timed.program.solve(time_limit_s=left(), start=first, should_stop=should_stop)
            empty = timed.program.proved_empty
            if timed.program.bound * timed.unit > bound:
                bound, why = timed.program.bound * timed.unit, "HiGHS: search over the whole program"
            if solution is not None and left() > 0 and not should_stop():
                timed.prefer_fewer_bytes(solution.value)
                fewer = timed.program.solve(time_limit_s=left(), start=solution.values, should_stop=should_stop)
                solution = fewer or solution
            other = None if solution is None else timed.plan_of(solution)
            usable = other is not None and not faults(problem, other)
            if other is not None and usable and (plan is None or _better(problem, objective, other, plan)):
                plan, backend = other, "HiGHS"
    if plan is None and empty:
        return _infeasible(problem, objective, "HiGHS: no plan exists", started, should_stop)
    seconds = time.monotonic() - started
    if plan is None:
        why = "no plan was found in time, and none was ruled out"
        return PlacementResult("unknown", objective, None, None, bound, why, "HiGHS", seconds)
    value = plan.objective(problem, objective)
    status: Status = "proved_optimal" if _proved(problem, objective, plan, bound) else "feasible"
    return PlacementResult(status, objective, plan, value, min(bound, value), why, backend, seconds)


def _infeasible(
    problem: TierProblem, objective: Objective, why: str, started: float, should_stop: Callable[[], bool]
) -> PlacementResult:
    """The result without a plan: what capacity is missing at least, and what would do."""
    near, together = missing_bytes(problem)
    farthest = problem.order()[-1]
    backend, added = "counting", {}
    small = len(problem.tensors) * len(problem.tiers) * len(problem.intervals) <= _EXACT

    def tried(more: float) -> dict[str, float]:
        extra = {problem.compute: near + more * (problem.tier[problem.compute].capacity_bytes + near)}
        extra[farthest] = extra.get(farthest, 0.0) + together - near
        return extra

    def would_do(more: float) -> bool:
        return together > 0 and _streams(_enlarged(problem, tried(more)))

    steps = (0.0,) if small else _MORE
    enough = next((at for at, more in enumerate(steps) if would_do(more)), None)
    if enough is not None:
        low, high = steps[max(0, enough - 1)], steps[enough]
        while high - low > _NEAR_ENOUGH and not should_stop():
            middle = (low + high) / 2
            low, high = (low, middle) if would_do(middle) else (middle, high)
        added = tried(high)
    elif small:
        timed = TimedProgram(problem, objective, elastic=True)
        solution = timed.program.solve(time_limit_s=_ELASTIC_S, should_stop=should_stop)
        if solution is not None:
            backend = "HiGHS"
            together = max(together, timed.program.bound * timed.size_scale)
            added = {name: solution.values[column] * timed.size_scale for name, column in timed.extra.items()}
    by_tier = tuple((name, size) for name, size in added.items() if size > 0) or None
    seconds = time.monotonic() - started
    return PlacementResult("infeasible", objective, None, None, 0.0, why, backend, seconds, together, by_tier)


def _streams(problem: TierProblem) -> bool:
    """Whether anything streams at all."""
    for candidate in candidate_homes(problem):
        plan = stream(problem, candidate.homes)
        if plan is not None and not faults(problem, plan):
            return True
    return False


def _enlarged(problem: TierProblem, added: dict[str, float]) -> TierProblem:
    tiers = tuple(
        replace(tier, capacity_bytes=tier.capacity_bytes + added.get(tier.name, 0.0)) for tier in problem.tiers
    )
    return replace(problem, tiers=tiers)


def _better(problem: TierProblem, objective: Objective, one: TierPlan, other: TierPlan) -> bool:
    """Whether ``one`` is better, or as good and moves less."""
    a, b = one.objective(problem, objective), other.objective(problem, objective)
    if abs(a - b) <= GAP_PROVED * max(a, b):
        return one.moved_bytes(problem) < other.moved_bytes(problem) * (1 - GAP_PROVED)
    return a < b


def _proved(problem: TierProblem, objective: Objective, plan: TierPlan | None, bound: float) -> bool:
    return plan is not None and plan.objective(problem, objective) <= bound * (1 + 2 * GAP_PROVED) + 1e-300
