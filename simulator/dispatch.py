"""What the layout of tasks asks of a planned workload: what travels when, and which repetitions stand apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mappers.mapped import MappedWorkload
from mappers.planner.placement import LayerPlan, PlannedRun
from simulator.engine import Demand
from workloads.workload import ALL_BUT, Layer, Op, Operand

__all__ = ["chosen_at_run_time", "joined_demands", "sent_along", "with_firsts_apart"]


def with_firsts_apart(runs: tuple[PlannedRun, ...]) -> Iterator[PlannedRun]:
    """Runs whose pattern is longer or shorter than the one before, with their first repetition on its own.

    Only that repetition counts layers across unequal patterns, and must wait for the whole pattern before it.
    """
    previous = 1
    for run in runs:
        if len(run.pattern) != previous and run.count > 1:
            yield PlannedRun(run.pattern, 1)
            yield PlannedRun(run.pattern, run.count - 1)
        else:
            yield run
        previous = len(run.pattern)


def chosen_at_run_time(op: Op, placed: LayerPlan) -> bool:
    """Whether the operation reads a part of a tensor that only its inputs tell: experts or rows that were picked."""
    chosen = {"grouped_gemm": ("experts",), "gemm": ("feed_forward",)}.get(op.kind, ())
    whole = {tensor.name: tensor.elements for tensor in placed.layer.stored if tensor.role in chosen}
    touched: dict[str, float] = {}
    for step in placed.layer.ops:
        for operand in step.operands:
            if operand.stored is not None and step.lane == op.lane:
                touched[operand.stored] = touched.get(operand.stored, 0.0) + operand.elements
    return any(o.stored in whole and touched[o.stored] < ALL_BUT * whole[o.stored] for o in op.operands)


def joined_demands(demands: list[Demand], more: tuple[Demand, ...]) -> list[Demand]:
    """The demands of both, one for each resource."""
    found = {demand.resource: demand for demand in demands}
    for demand in more:
        if demand.resource in found:
            one = found[demand.resource]
            demand = replace(one, seconds=one.seconds + demand.seconds, amount=one.amount + demand.amount)
        found[demand.resource] = demand
    return list(found.values())


def sent_along(mapped: MappedWorkload, layer: Layer, op: Op, home: str) -> tuple[Operand, ...]:
    """What ``op``, computed away from ``home``, makes for operations there or for the next layer."""
    ops = mapped.layers[layer.name].ops
    if ops[op.name].home == home:
        return ()
    behind = layer.ops[layer.ops.index(op) + 1 :]
    sent = []
    for operand in op.operands:
        if operand.access == "write" and operand.activation is not None:
            readers = [
                ops[later.name].home
                for later in behind
                if any(o.activation == operand.activation and o.access == "read" for o in later.operands)
            ]
            if not readers or home in readers:
                sent.append(operand)
    return tuple(sent)
