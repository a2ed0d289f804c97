"""What the layout of tasks asks of a planned workload: what travels when, and which repetitions stand apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mappers.mapped import MappedWorkload
from mappers.planner.placement import LayerPlan, MemoryPlan, PlannedRun
from simulator.engine import Demand
from workloads.workload import ALL_BUT, Layer, Op, Operand

__all__ = [
    "backs_in_place",
    "chosen_at_run_time",
    "in_place",
    "joined_demands",
    "last_writes",
    "later_readers",
    "operand_name",
    "sent_along",
    "with_firsts_apart",
    "writes_tensors_back",
]


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


def operand_name(op: Op, operand: Operand) -> str:
    """What tells ``operand`` from all others of its layer, also where several stand for one symbol of the cascade."""
    same = sum(other.symbol == operand.symbol for other in op.operands)
    return f"{op.name}.{operand.symbol}" if same == 1 else f"{op.name}.{operand.symbol} {operand.stored}"


def in_place(op: Op, operand: Operand) -> bool:
    """Whether ``op`` also reads the stored tensor that it writes as ``operand``."""
    return any(other.stored == operand.stored and other.access == "read" for other in op.operands)


def backs_in_place(op: Op, operand: Operand) -> tuple[str, ...]:
    """Names of the operands that ``op`` writes into the stored tensor that it reads as ``operand``."""
    return tuple(operand_name(op, o) for o in op.operands if o.access == "write" and o.stored == operand.stored)


def last_writes(layer: Layer, lane: int) -> dict[str, tuple[Op, Operand, bool]]:
    """By activation the last write of it in a lane, and whether nothing in the layer reads it after that."""
    read_last: dict[str, int] = {}
    written: dict[str, tuple[int, Op, Operand]] = {}
    for at, op in enumerate(layer.ops):
        for operand in op.operands:
            if operand.activation is not None and op.lane == lane:
                if operand.access == "read":
                    read_last[operand.activation] = at
                else:
                    written[operand.activation] = (at, op, operand)
    return {name: (op, operand, read_last.get(name, -1) <= at) for name, (at, op, operand) in written.items()}


def later_readers(layer: Layer, op: Op, operand: Operand) -> tuple[str, ...]:
    """Operations behind ``op`` that read the stored tensor that it writes as ``operand``."""
    behind = layer.ops[layer.ops.index(op) + 1 :]
    return tuple(other.name for other in behind if in_place(other, operand))


def writes_tensors_back(mapped: MappedWorkload, plan: MemoryPlan) -> bool:
    """Whether some operation writes stored tensors, and not rows of a cache, to another tier than its own."""
    return any(
        placed.tier(operand.stored or "") != mapped.layers[placed.layer.name].ops[op.name].home
        for placed, _ in plan.layers()
        for op in placed.layer.ops
        for operand in placed.layer.leaving(op)
    )


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
