"""The order as a mixed-integer program: a reference by other means, for graphs of a dozen operations.

The variables are those of OLLA (arXiv 2210.12924): operation v runs at step t (``runs``), tensor e is held over from
before step t (``held``). One operation a step. Overwriting is one binary more for each operation, input and step: it
saves min(in, out) bytes where the input is not held at the step after.
"""

from __future__ import annotations

import time
from typing import Any

from mappers.planner.allocation.mip import solver_name
from mappers.planner.order.bounds import least_peak_bytes
from mappers.planner.order.graph import OrderGraph, bits
from mappers.planner.order.greedy import greedy_orders
from mappers.planner.order.result import OrderPlan, standing
from mappers.planner.order.steps import Moves
from mappers.planner.order.verify import faults, plain_peak_bytes

__all__ = ["order_by_mip"]


def order_by_mip(graph: OrderGraph, time_limit_s: float = 60.0) -> OrderPlan:
    """The lowest peak by a MIP solver; ``proved_optimal`` only where the solver says so, or the bound is met."""
    import pulp

    started = time.monotonic()
    bound, why = least_peak_bytes(graph)
    known = [[graph.ops[i].name for i in order] for order in greedy_orders(Moves(graph)).values()]
    order = min(known, key=lambda names: plain_peak_bytes(graph, names))
    model, runs, peak = _model(graph, bound)
    name = solver_name()
    if name == "HiGHS":
        solver = pulp.HiGHS(msg=False, timeLimit=time_limit_s, gapRel=0.0, gapAbs=0.0)
    else:
        solver = pulp.PULP_CBC_CMD(msg=False, timeLimit=time_limit_s, gapRel=0.0, gapAbs=0.0)
    model.solve(solver)
    proved = model.sol_status == pulp.LpSolutionOptimal
    if model.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
        at = [_step(row) for row in runs]
        found = [graph.ops[i].name for i in sorted(range(len(at)), key=lambda i: at[i])]
        if not faults(graph, found) and plain_peak_bytes(graph, found) <= plain_peak_bytes(graph, order):
            order = found
    lowest = plain_peak_bytes(graph, order)
    if proved and lowest <= round(pulp.value(peak)):
        bound, why = max(bound, lowest), f"{name} found no order lower"
    return OrderPlan(
        status=standing(lowest, bound, None),
        order=tuple(order),
        peak_bytes=lowest,
        lower_bound_bytes=bound,
        capacity_bytes=None,
        certificate=why if lowest <= bound else f"no order is below {bound} bytes: {why}",
        backend=name,
        nodes=0,
        seconds=time.monotonic() - started,
    )


def _model(graph: OrderGraph, bound: int) -> tuple[Any, list[list[Any]], Any]:
    """The program, the variables that say which step each operation runs at, and the peak."""
    import pulp

    steps = range(len(graph.ops))
    model = pulp.LpProblem("order", pulp.LpMinimize)
    peak = model.add_variable("peak", bound)
    model += peak
    runs = [[model.add_variable(f"runs_{i}_{t}", cat="Binary") for t in steps] for i in steps]
    for i in steps:
        model += pulp.lpSum(runs[i]) == 1
        model += pulp.lpSum(runs[j][i] for j in steps) == 1
    held = [
        [model.add_variable(f"held_{e}_{t}", cat="Binary") for t in (*steps, len(steps))]
        for e in range(len(graph.tensors))
    ]
    made = [graph.writer.get(tensor.name) for tensor in graph.tensors]
    for e, writer in enumerate(made):
        model += held[e][0] == (1 if writer is None and graph.wanted(e) else 0)
        for t in steps:
            if writer is None:
                model += held[e][t + 1] <= held[e][t]
            else:
                model += held[e][t + 1] <= held[e][t] + runs[writer][t]
            for reader in bits(graph.readers[e]):
                model += runs[reader][t] <= held[e][t]
        if e in graph.kept:
            model += held[e][len(steps)] == 1
    for t in steps:
        parts = [tensor.bytes * held[e][t] for e, tensor in enumerate(graph.tensors)]
        for i, op in enumerate(graph.ops):
            first = graph.tensors[graph.index[op.writes[0]]].bytes
            written = sum(graph.tensors[e].bytes for e in graph.positions(op.writes))
            parts.append((written + op.scratch_bytes) * runs[i][t])
            saving = []
            for e in graph.positions(op.in_place):
                over = model.add_variable(f"over_{i}_{e}_{t}", cat="Binary")
                model += over <= 1 - held[e][t + 1]
                parts.append(-min(first, graph.tensors[e].bytes) * over)
                saving.append(over)
            if saving:
                model += pulp.lpSum(saving) <= runs[i][t]
        model += pulp.lpSum(parts) <= peak
    return model, runs, peak


def _step(row: list[Any]) -> int:
    """The step an operation runs at."""
    values = [variable.value() or 0.0 for variable in row]
    return values.index(max(values))
