"""The allocation as a mixed-integer program: a reference by other means, for small or loose problems.

Memory-saving training plans by the same program (MEMO, section 4.2): an offset for each buffer, and for each pair that
shares time a binary that says which lies below. Its relaxation knows nothing of crowding, so the contention bound is a
row of its own, and a pair's rows reach no further than the best plan known. With windows a pair may have several
distances that are barred, and a binary for each.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from mappers.planner.allocation.greedy import first_fit, greedy_orders, overlaps
from mappers.planner.allocation.problem import AllocationProblem
from mappers.planner.allocation.result import Allocation, Status
from mappers.planner.allocation.sections import least_peak_bytes, unit_bytes
from mappers.planner.allocation.verify import faults

__all__ = ["allocate_by_mip", "solver_name"]


def solver_name() -> str:
    """HiGHS where its Python package is there, else the CBC that comes with PuLP."""
    import pulp

    return "HiGHS" if pulp.HiGHS().available() else "CBC"


def allocate_by_mip(problem: AllocationProblem, time_limit_s: float = 60.0) -> Allocation:
    """The lowest peak by a MIP solver; `proved_optimal` only where the solver says so, or the bound is met.

    Pinned buffers must not overlap (`allocate` checks it).
    """
    import pulp

    started = time.monotonic()
    buffers = problem.buffers
    unit = unit_bytes(buffers)
    bound, why = least_peak_bytes(problem)
    conflicts = overlaps(problem)
    plans = [first_fit(problem, conflicts, order) for order in greedy_orders(problem, conflicts).values()]
    known = min((plan for plan in plans if plan is not None), key=problem.peak_bytes)
    ceiling = problem.peak_bytes(known) // unit
    model = pulp.LpProblem("allocation", pulp.LpMinimize)
    peak = model.add_variable("peak", bound // unit, ceiling, cat="Integer")
    model += peak
    at: list[Any] = []
    for i, buffer in enumerate(buffers):
        size = buffer.size // unit
        if not size:
            # In no row, so a variable of its own would come back without a value.
            at.append(pulp.LpAffineExpression(constant=(buffer.pinned or 0) // unit))
            continue
        step = max(1, buffer.alignment // unit)
        low, high = 0, (ceiling - size) // step
        if buffer.pinned is not None:
            low = high = buffer.pinned // unit // step
        at.append(step * model.add_variable(f"at_{i}", low, high, cat="Integer"))
        model += at[i] + size <= peak
    for i in range(len(buffers)):
        for j, barred in conflicts[i]:
            if i < j:
                for which, (low, high) in enumerate(barred):
                    # The distance at[j] - at[i] is at most low, or at least high; it is never beyond the ceiling.
                    over = model.add_variable(f"over_{i}_{j}_{which}", cat="Binary")
                    model += at[j] - at[i] <= low // unit + over * (ceiling - low // unit)
                    model += at[j] - at[i] >= high // unit - (1 - over) * (ceiling + high // unit)
    name = solver_name()
    solver = (
        pulp.HiGHS(msg=False, timeLimit=time_limit_s, gapRel=0.0, gapAbs=0.0)
        if name == "HiGHS"
        else pulp.PULP_CBC_CMD(msg=False, timeLimit=time_limit_s, gapRel=0.0, gapAbs=0.0)
    )
    model.solve(solver)
    offsets: Sequence[int] = known
    found = model.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
    if found:
        values = [round(pulp.value(expression)) * unit for expression in at]
        # Rounded values of a solver with tolerances are a plan only if they hold.
        if not faults(problem, values) and problem.peak_bytes(values) <= problem.peak_bytes(known):
            offsets = values
    # A point is called optimal only with the second status: the first says so of any point a time limit leaves.
    if found and model.sol_status == pulp.LpSolutionOptimal and problem.peak_bytes(offsets) <= _top(peak) * unit:
        bound, why = max(bound, _top(peak) * unit), f"{name} found no peak lower"
    lowest = problem.peak_bytes(offsets)
    status: Status = "proved_optimal" if lowest <= bound else "feasible"
    return Allocation(
        status=status,
        offsets=tuple(offsets),
        peak_bytes=lowest,
        lower_bound_bytes=bound,
        capacity_bytes=None,
        certificate=why if status == "proved_optimal" else f"no peak is below {bound} bytes: {why}",
        backend=name,
        nodes=0,
        seconds=time.monotonic() - started,
    )


def _top(peak: Any) -> int:
    value: float = peak.value()
    return math.ceil(value - 1e-6)
