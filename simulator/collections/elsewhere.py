"""A layer whose missed experts are computed where they live: its expert operations stand twice, here and there.

The machine for it is that of Fiddler (Kamahori et al., arXiv 2402.07033): activations travel to the processor beside
the host's memory instead of weights to the accelerator, and both compute at the same time.
"""

from __future__ import annotations

from dataclasses import replace

from hw.spec.system import System
from mappers.assign import Assign, Assignment, engines_with
from workloads.workload import Layer, Op, Operand, Step, StoredTensor

__all__ = ["ELSEWHERE", "assign_elsewhere", "split_layer"]

ELSEWHERE = " where it lives"
"""What the name of an operation on missed experts ends with."""


def assign_elsewhere(assign: Assign, engine: str | None) -> Assign:
    """``assign``, with operations on missed experts on ``engine``."""
    if engine is None:
        return assign

    def chosen(op: Op, system: System) -> Assignment:
        return engines_with(engine, system) if op.name.endswith(ELSEWHERE) else assign(op, system)

    return chosen


def split_layer(layer: Layer, tensor: StoredTensor, here: float, rows: int) -> Layer:
    """``layer`` with a share ``here`` of its touched experts left to its operations, and ``rows`` rows of the others.

    The operations from the first to the last that read ``tensor`` are split; what reads their result reads both halves.
    """
    reads = [at for at, step in enumerate(layer.steps) if isinstance(step, Op) and _reads(step, tensor)]
    first, last = reads[0], reads[-1]
    chain = [step for step in layer.steps[first : last + 1] if isinstance(step, Op) and _follows(step, layer, reads)]
    inside = {step.name for step in chain}
    total = _rows(chain[0])
    steps: list[Step] = []
    for step in layer.steps:
        if not isinstance(step, Op) or step.name not in inside:
            steps.append(_reading_both(step, inside, rows / total) if isinstance(step, Op) else step)
            continue
        if rows < total:
            steps.append(_part(step, tensor, inside, total - rows, total, here, ""))
        steps.append(_part(step, tensor, inside, rows, total, 1 - here, ELSEWHERE))
    if rows == total:
        steps = [_renamed(step, inside) if isinstance(step, Op) else step for step in steps]
    return Layer(f"{layer.name}, {1 - here:.4f} of them and {rows} rows{ELSEWHERE}", tuple(steps), layer.stored)


def _reads(op: Op, tensor: StoredTensor) -> bool:
    return any(operand.stored == tensor.name for operand in op.operands)


def _follows(op: Op, layer: Layer, reads: list[int]) -> bool:
    """Whether ``op`` reads the tensor, or stands between two that do and hands on what one of them made."""
    readers = [layer.steps[at] for at in reads]
    made = {o.activation for step in readers if isinstance(step, Op) for o in step.operands if o.access == "write"}
    return op in readers or any(o.activation in made and o.access == "read" for o in op.operands)


def _rows(op: Op) -> int:
    sizes = dict(op.sizes)
    return sizes["m"] if "m" in sizes else sizes["t"]


def _part(op: Op, tensor: StoredTensor, inside: set[str], rows: int, total: int, weights: float, suffix: str) -> Op:
    """``op`` for ``rows`` of ``total`` rows, touching a share ``weights`` of what it touched of ``tensor``."""
    name = "m" if "m" in dict(op.sizes) else "t"
    sizes = tuple((key, rows if key == name else size) for key, size in op.sizes)
    operands = []
    for operand in op.operands:
        share = weights if operand.stored == tensor.name else rows / total
        made_inside = operand.activation in inside or operand.access == "write"
        activation = f"{operand.activation}{suffix}" if operand.activation and made_inside else operand.activation
        operands.append(replace(operand, elements=operand.elements * share, activation=activation))
    after = tuple(f"{other}{suffix}" if other in inside else other for other in op.after)
    return replace(op, name=f"{op.name}{suffix}", sizes=sizes, operands=tuple(operands), after=after)


def _reading_both(op: Op, inside: set[str], elsewhere: float) -> Op:
    """``op`` reading a share ``elsewhere`` of what the split operations made from their other half."""
    operands: list[Operand] = []
    for operand in op.operands:
        if operand.activation not in inside:
            operands.append(operand)
            continue
        there = replace(operand, elements=operand.elements * elsewhere, activation=f"{operand.activation}{ELSEWHERE}")
        operands += [replace(operand, elements=operand.elements * (1 - elsewhere)), there]
    waits = tuple(other for name in op.after for other in ([name, f"{name}{ELSEWHERE}"] if name in inside else [name]))
    return replace(op, operands=tuple(operands), after=waits)


def _renamed(op: Op, inside: set[str]) -> Op:
    """``op`` without what reads or waits for operations that nothing is left for."""
    operands = tuple(operand for operand in op.operands if operand.activation not in inside)
    return replace(op, operands=operands, after=tuple(name for name in op.after if name not in inside))
