"""The order of operations with the lowest peak, what is proved about it, and offsets for its tensors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from mappers.planner.allocation import Allocation, AllocationProblem, allocate
from mappers.planner.order.bounds import least_peak_bytes
from mappers.planner.order.graph import OrderGraph
from mappers.planner.order.greedy import beam_order, greedy_orders
from mappers.planner.order.lifetimes import allocation_problem
from mappers.planner.order.result import OrderPlan, PlannedMemory, standing
from mappers.planner.order.search import search_orders
from mappers.planner.order.steps import Moves, profile
from mappers.planner.order.verify import faults
from workloads.errors import InputError

__all__ = ["plan_memory", "plan_order"]


_WIDTHS = (16, 128, 1024)
"""Sets kept by the beams; the widest takes a second or so for a hundred operations."""


def plan_order(
    graph: OrderGraph,
    capacity_bytes: int | None = None,
    *,
    time_limit_s: float | None = 60.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> OrderPlan:
    """An order of ``graph``: the lowest peak without a capacity, with one the first found that fits.

    Where nothing fits, the time left goes into the lowest peak, so that what is missing is known. Every order that
    leaves is verified. Raises `InputError` for a capacity below 0 and a time limit out of range.
    """
    if capacity_bytes is not None and capacity_bytes < 0:
        raise InputError(f"{capacity_bytes} bytes", "0 or more", "capacity")
    if time_limit_s is not None and not 0 < time_limit_s < math.inf:
        raise InputError(f"{time_limit_s:g} seconds", "more than 0 seconds", "time_limit")
    started = time.monotonic()

    def over() -> bool:
        return should_stop() or (time_limit_s is not None and time.monotonic() - started >= time_limit_s)

    bound, why = least_peak_bytes(graph)
    goal = bound if capacity_bytes is None else max(bound, capacity_bytes)
    moves = Moves(graph)
    order, peak, backend = _quick(graph, moves, goal, over)
    states, stopped = 0, None
    if peak > goal:
        found = search_orders(moves, goal, peak, over)
        states = found.states
        if found.order is not None:
            order, peak, backend = found.order, _peak(graph, found.order), "search"
        if found.lower_bound_bytes > goal:
            bound = found.lower_bound_bytes
            why = f"the search tried every order below {bound} bytes, {states} sets of operations"
        if not found.finished:
            stopped = "interrupt" if should_stop() else "time limit" if over() else "memory for the search"
    names = tuple(graph.ops[i].name for i in order)
    wrong = faults(graph, names, peak)
    if wrong:
        raise AssertionError(f"the order does not hold: {wrong[0]}")
    status = standing(peak, bound, capacity_bytes)
    return OrderPlan(
        status=status,
        order=names,
        peak_bytes=peak,
        lower_bound_bytes=bound,
        capacity_bytes=capacity_bytes,
        certificate=why if peak <= bound or status == "infeasible" else f"no order is below {bound} bytes: {why}",
        backend=backend,
        nodes=states,
        seconds=time.monotonic() - started,
        stopped=None if peak <= goal else stopped,
    )


def plan_memory(
    graph: OrderGraph,
    capacity_bytes: int | None = None,
    *,
    time_limit_s: float | None = 60.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> PlannedMemory:
    """`plan_order`, then offsets for its lifetimes; other orders are tried where offsets cost more than the bytes held.

    The time limit is shared: offsets get what the order has left, and a second at least.
    """
    started = time.monotonic()
    plan = plan_order(graph, capacity_bytes, time_limit_s=time_limit_s, should_stop=should_stop)
    best: tuple[Allocation, AllocationProblem, dict[str, str], tuple[str, ...]] | None = None
    for order in _candidates(graph, plan.order):
        problem, buffer_of = allocation_problem(graph, order)
        left = None if time_limit_s is None else max(1.0, time_limit_s - (time.monotonic() - started))
        found = allocate(problem, time_limit_s=left, should_stop=should_stop)
        peak = found.peak_bytes or 0
        if best is None or peak < (best[0].peak_bytes or 0):
            best = found, problem, buffer_of, order
        least = plan.peak_bytes if capacity_bytes is None else max(plan.peak_bytes, capacity_bytes)
        if (best[0].peak_bytes or 0) <= least or should_stop():
            break
    assert best is not None
    allocation, problem, buffer_of, order = best
    if order != plan.order:
        held = _peak(graph, [_position(graph)[name] for name in order])
        plan = OrderPlan(
            standing(held, plan.lower_bound_bytes, capacity_bytes),
            order,
            held,
            plan.lower_bound_bytes,
            capacity_bytes,
            plan.certificate,
            "another order with lower offsets",
            plan.nodes,
            plan.seconds,
            plan.stopped,
        )
    return PlannedMemory(plan, problem, allocation, buffer_of)


def _quick(graph: OrderGraph, moves: Moves, goal: int, over: Callable[[], bool]) -> tuple[list[int], int, str]:
    """The best order of the rules and, until one is within the goal, of wider beams: (order, peak, by what)."""
    found = [(_peak(graph, order), f"greedy ({rule})", order) for rule, order in greedy_orders(moves).items()]
    peak, by, order = min(found, key=lambda item: item[0])
    for width in _WIDTHS:
        if peak <= goal or over():
            break
        better = beam_order(moves, width, goal, peak, over)
        if better is not None:
            peak, by, order = _peak(graph, better), f"beam of {width}", better
    return order, peak, by


def _candidates(graph: OrderGraph, first: tuple[str, ...]) -> list[tuple[str, ...]]:
    """``first``, then other orders that hold no more than it by much; offsets may suit them better."""
    orders = [first]
    for order in greedy_orders(Moves(graph)).values():
        names = tuple(graph.ops[i].name for i in order)
        if names not in orders:
            orders.append(names)
    return orders


def _position(graph: OrderGraph) -> dict[str, int]:
    return {op.name: i for i, op in enumerate(graph.ops)}


def _peak(graph: OrderGraph, order: Sequence[int]) -> int:
    return max(step.during_bytes for step in profile(graph, order))
