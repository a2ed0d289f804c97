"""What a training step adds to a mixture of experts before its gradients are made.

A backward pass reads what serving never writes: the rows that came from other devices, in the order of the experts, and
a shared expert's gate as it was applied.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.cascades import load_cascade
from workloads.workload import Collective, Layer, Op, Operand, Step

__all__ = ["DISPATCH", "RECEIVED", "RETURN", "with_kept_experts"]

DISPATCH, RETURN = "dispatch", "return"
"""The exchanges that carry tokens to their experts and back."""

RECEIVED = "received"
"""Rows that came from other devices, put in the order of the experts here (Megatron-LM's sort of chunks)."""


def with_kept_experts(layer: Layer) -> Layer:
    """``layer`` with received rows as a tensor of their own and a shared expert's gate in the sum that it weighs."""
    if not any(op.cascade.name == "moe-route" for op in layer.ops):
        return layer
    away = any(isinstance(step, Collective) and step.name == DISPATCH for step in layer.steps)
    gated = any(op.name == "shared_gate" for op in layer.ops)
    steps: list[Step] = []
    for step in layer.steps:
        if isinstance(step, Op) and step.name == "experts_up" and away:
            steps.append(_received(step))
            (source,) = (operand for operand in step.operands if operand.symbol == "A")
            rest = tuple(operand for operand in step.operands if operand.symbol != "A")
            step = replace(step, operands=(replace(source, activation=RECEIVED), *rest), after=(RECEIVED,))
        elif isinstance(step, Op) and step.name == "shared_sum" and gated:
            step = _gated(step)
        steps.append(step)
    return replace(layer, steps=tuple(steps))


def _received(experts_up: Op) -> Op:
    size = dict(experts_up.sizes)
    rows, width = size["m"], size["n0"]
    (source,) = (operand for operand in experts_up.operands if operand.symbol == "A")
    operands = (
        Operand("E", "read", float(rows * width), source.format, activation=source.activation),
        Operand("X", "write", float(rows * width), source.format, activation=RECEIVED),
    )
    sizes = (("d", width), ("t", rows), ("v", rows))
    return replace(
        experts_up, name=RECEIVED, kind="gather", cascade=load_cascade("embedding"), sizes=sizes, operands=operands
    )


def _gated(shared_sum: Op) -> Op:
    reads = tuple(operand for operand in shared_sum.operands if operand.access == "read")
    writes = tuple(operand for operand in shared_sum.operands if operand.access == "write")
    tokens = float(dict(shared_sum.sizes)["t"])
    gate = Operand("S", "read", tokens, reads[0].format, activation="shared_gate")
    return replace(shared_sum, cascade=load_cascade("gated-sum"), operands=(*reads, gate, *writes))
