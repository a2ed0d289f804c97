"""Offsets for buffers whose lifetimes are given: the lowest peak, or any plan within a capacity, and what is proved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mappers.planner.allocation.greedy import first_fit, greedy_orders, overlaps
from mappers.planner.allocation.merging import MOST_MERGED, merge_buffers
from mappers.planner.allocation.problem import AllocationProblem
from mappers.planner.allocation.result import Allocation, Status
from mappers.planner.allocation.sections import Instance, crowd, instance_of, least_peak_bytes
from mappers.planner.allocation.verify import faults
from workloads.errors import InputError

__all__ = ["allocate"]

_MOST_SLOTS = 20_000_000
"""Buffers times sections alive: beyond, the search's tables would not fit in memory and first fit stands alone."""

_MOST_FOR_MIP = 40
_PATIENCE = 8
"""Rounds this many times as long as the first look above a capacity too."""

_LEAST_TO_MERGE, _MERGED_FIRST = 60, 300
"""From so many buffers on putting them together is tried, and from so many before anything else."""

_MOST_WAYS_MERGED = 4
_MERGED = ((0.0, math.inf), (0.01, math.inf), (0.05, math.inf), (0.0, 0.2), (0.0, 0.02))
"""Ways to put buffers together: the waste that is tolerated, and how many such pairs chance may explain."""


@dataclass
class _State:
    """The best plan so far, the bound so far, and why."""

    problem: AllocationProblem
    bound: int
    why: str
    started: float
    offsets: tuple[int, ...] | None = None
    peak: int | None = None
    backend: str = "bound"
    nodes: int = 0
    merged_nodes: int = 0
    stop_asked: Callable[[], bool] = field(default=lambda: False)

    @property
    def proved(self) -> bool:
        return self.peak is not None and self.peak <= self.bound

    def offer(self, offsets: list[int], backend: str) -> None:
        """Keep ``offsets`` if their peak is lower than the best so far."""
        peak = self.problem.peak_bytes(offsets)
        if self.peak is None or peak < self.peak:
            self.offsets, self.peak, self.backend = tuple(offsets), peak, backend

    def refuse(self, below: int, why: str) -> None:
        """Nothing has a peak below ``below``."""
        if below > self.bound:
            self.bound, self.why = below, why


def allocate(
    problem: AllocationProblem,
    capacity_bytes: int | None = None,
    *,
    time_limit_s: float | None = 60.0,
    workers: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> Allocation:
    """Plan ``problem``.

    Without a capacity the peak is minimised until it is proved lowest or the time is over. With one, the first plan
    within it is enough; where nothing fits, the time left goes into how much more would do. Equal arguments give equal
    plans with any number of ``workers`` (threads), as long as the time does not run out. Every plan that leaves is
    verified. Raises `InputError` for a capacity below 0, for pinned buffers that overlap, and for options out of range.
    """
    if capacity_bytes is not None and capacity_bytes < 0:
        raise InputError(f"{capacity_bytes} bytes", "0 or more", "capacity")
    if workers < 1:
        raise InputError(f"{workers} workers", "at least 1", "workers")
    if time_limit_s is not None and not 0 < time_limit_s < float("inf"):
        raise InputError(f"{time_limit_s:g} seconds", "more than 0 seconds", "time_limit")
    started = time.monotonic()
    deadline = None if time_limit_s is None else started + time_limit_s

    def over() -> bool:
        return (deadline is not None and time.monotonic() >= deadline) or should_stop()

    bound, why = least_peak_bytes(problem)
    state = _State(problem, bound, why, started, stop_asked=over)
    _begin(state, capacity_bytes)
    if not _enough(state, capacity_bytes) and not over():
        _search(state, capacity_bytes, workers)
    if not _enough(state, capacity_bytes) and problem.has_windows and len(problem.buffers) <= _MOST_FOR_MIP:
        _by_mip(state, deadline)
    return _close(state, capacity_bytes, "interrupt" if should_stop() else "time limit" if over() else None)


def _enough(state: _State, capacity: int | None) -> bool:
    return state.proved or (capacity is not None and state.peak is not None and state.peak <= capacity)


def _begin(state: _State, capacity: int | None) -> None:
    """First fit: by each order, and once around the hints."""
    problem = state.problem
    conflicts = overlaps(problem)
    pinned = [i for i, buffer in enumerate(problem.buffers) if buffer.pinned is not None]
    for i in pinned:
        for j, barred in conflicts[i]:
            at, other = problem.buffers[i].pinned, problem.buffers[j].pinned
            if at is not None and other is not None and any(low < other - at < high for low, high in barred):
                names = f"{problem.buffers[i].id} and {problem.buffers[j].id}"
                raise InputError(f"{names} are pinned onto each other", "pinned buffers that are apart", "offset")
    orders = greedy_orders(problem, conflicts)
    if any(buffer.hint is not None for buffer in problem.buffers):
        for order in orders.values():
            plan = first_fit(problem, conflicts, order, hinted=True)
            if plan is not None:
                state.offer(plan, "first fit")
        if _enough(state, capacity):
            return
    for order in orders.values():
        plan = first_fit(problem, conflicts, order)
        if plan is not None:
            state.offer(plan, "first fit")
        if _enough(state, capacity) or state.stop_asked():
            return


def _search(state: _State, capacity: int | None, workers: int) -> None:
    """Probe ceilings, the proven bound first, in rounds that double, until the best plan meets the bound.

    With a capacity: that ceiling first, until it is decided; then, where nothing fits, the lowest peak.
    """
    instance = instance_of(state.problem)
    if sum(map(len, instance.of)) > _MOST_SLOTS:
        return
    from mappers.planner.allocation.kernel import EXHAUSTED, FITS
    from mappers.planner.allocation.search import Prober

    exact = not state.problem.has_windows
    unit = instance.unit
    with Prober(instance, workers, state.stop_asked) as prober:
        low = -(-state.bound // unit)
        limit = prober.first_limit
        while not _enough(state, capacity) and not state.stop_asked():
            high = _ceiling(state, instance)
            if low >= high:
                break
            wanted = None if capacity is None else capacity // unit
            many = len(state.problem.buffers)
            if _LEAST_TO_MERGE <= many <= MOST_MERGED and (many >= _MERGED_FIRST or limit > prober.first_limit):
                hardest = low if wanted is None else max(low, wanted)
                _search_merged(state, hardest, instance, limit, workers)
                high = _ceiling(state, instance)
                if _enough(state, capacity) or low >= high or state.stop_asked():
                    break
            for ceiling in _targets(low, high, wanted, limit >= _PATIENCE * prober.first_limit):
                status, found = prober.probe(ceiling, limit)
                state.nodes = prober.nodes + state.merged_nodes
                if status == FITS and found is not None:
                    state.offer(_in_bytes(state.problem, instance, found), "search")
                elif status == EXHAUSTED:
                    low = ceiling + 1
                    if exact:
                        why = f"search under {ceiling * unit} bytes exhausted after {prober.nodes} nodes"
                        state.refuse(low * unit, why)
                if status in (FITS, EXHAUSTED):
                    prober.forget(low, _ceiling(state, instance))
                    break
                if state.stop_asked():
                    return
            else:
                limit *= 2
        if exact and not state.proved and not state.stop_asked():
            # A plan within the capacity may be the lowest of all: one short try tells where that is easy.
            _, found = prober.probe(low, prober.first_limit, most=4)
            if found is not None:
                state.offer(_in_bytes(state.problem, instance, found), "search")
            state.nodes = prober.nodes + state.merged_nodes


def _search_merged(state: _State, hardest: int, instance: Instance, limit: int, workers: int) -> None:
    """The same with buffers put together first, each time in another order: plans may come of it, proofs do not.

    ``hardest`` is the ceiling that counts; then half way from there to the best plan, as long as that succeeds.
    """
    from mappers.planner.allocation.kernel import FITS
    from mappers.planner.allocation.search import Prober

    for tolerance, most_chance in _MERGED:
        at = 0
        while True:
            high = _ceiling(state, instance)
            ceiling = (hardest + at * (high - hardest) // 2) * instance.unit
            if hardest >= high or state.stop_asked():
                return
            merged = merge_buffers(state.problem, ceiling, tolerance=tolerance, most_chance=most_chance, seed=limit)
            boxes = instance_of(merged.problem)
            with Prober(boxes, workers, state.stop_asked) as prober:
                status, found = prober.probe(ceiling // boxes.unit, limit, most=_MOST_WAYS_MERGED)
            state.merged_nodes += prober.nodes
            if status == FITS and found is not None:
                state.offer(merged.offsets(_in_bytes(merged.problem, boxes, found)), "search of merged buffers")
            elif at:
                break
            at = 1


def _by_mip(state: _State, deadline: float | None) -> None:
    """The search takes windows for whole buffers; where that is not enough, a program that knows them."""
    left_s = 60.0 if deadline is None else deadline - time.monotonic()
    if left_s <= 0 or state.stop_asked():
        return
    from mappers.planner.allocation.mip import allocate_by_mip

    found = allocate_by_mip(state.problem, left_s)
    state.refuse(found.lower_bound_bytes, found.certificate)
    if found.offsets is not None:
        state.offer(list(found.offsets), found.backend)


def _ceiling(state: _State, instance: Instance) -> int:
    """Units of the best plan so far; far above everything when there is none."""
    if state.peak is None:
        return int(sum(instance.buffers["size"]) + sum(instance.buffers["step"]) + max(0, *instance.buffers["pin"]))
    return -(-state.peak // instance.unit)


def _targets(low: int, high: int, capacity: int | None, long: bool) -> list[int]:
    """Ceilings from ``low`` to below ``high``, hardest first; only the capacity while that is open.

    When it has been for ``long``, also half way to the best plan: how much more would do is worth knowing too.
    """
    if capacity is not None and low <= capacity < high:
        middle = (capacity + high) // 2
        return [capacity, middle] if long and capacity < middle < high else [capacity]
    span = high - low
    return list(dict.fromkeys([low, low + span // 2, low + 3 * span // 4, low + 7 * span // 8]))


def _in_bytes(problem: AllocationProblem, instance: Instance, found: list[int]) -> list[int]:
    """Offsets of all buffers; those without bytes lie at their pin, or at 0."""
    offsets = [buffer.pinned or 0 for buffer in problem.buffers]
    for place, at in zip(instance.index, found, strict=True):
        offsets[place] = at * instance.unit
    return offsets


def _close(state: _State, capacity: int | None, stopped: str | None) -> Allocation:
    problem = state.problem
    if state.offsets is not None:
        wrong = faults(problem, state.offsets)
        if wrong:
            raise AssertionError(f"the plan does not hold: {wrong[0]}")
    status: Status
    fits = state.peak is not None and (capacity is None or state.peak <= capacity)
    if fits and state.proved:
        status, why = "proved_optimal", state.why
    elif fits:
        status, why = "feasible", f"no peak is below {state.bound} bytes: {state.why}"
    elif capacity is not None and state.bound > capacity:
        status, why = "infeasible", state.why
    else:
        status, why = "unknown", f"neither a plan nor a proof; no peak is below {state.bound} bytes: {state.why}"
    hints = sum(
        state.offsets is not None and buffer.hint == at
        for buffer, at in zip(problem.buffers, state.offsets or (), strict=False)
    )
    return Allocation(
        status=status,
        offsets=state.offsets,
        peak_bytes=state.peak,
        lower_bound_bytes=state.bound,
        capacity_bytes=capacity,
        certificate=why,
        backend=state.backend,
        nodes=state.nodes,
        seconds=time.monotonic() - state.started,
        stopped=None if status == "proved_optimal" or (fits and capacity is not None) else stopped,
        hints_kept=hints,
        crowd=() if capacity is None else crowd(problem, capacity),
    )
