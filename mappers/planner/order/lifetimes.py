"""From an order to lifetimes: the allocation problem that gives its tensors offsets.

Tensors that overwrite one another are one buffer, as large as the largest; while only a smaller one of them is alive
the buffer holds its first bytes only. Step i of the order is time i.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mappers.planner.allocation import AllocationProblem, Buffer, Gap
from mappers.planner.order.graph import OrderGraph
from mappers.planner.order.steps import profile

__all__ = ["allocation_problem"]


def allocation_problem(graph: OrderGraph, order: Sequence[str]) -> tuple[AllocationProblem, dict[str, str]]:
    """The problem, and the buffer of each tensor that has bytes. ``order`` must hold for ``graph``."""
    position = {op.name: i for i, op in enumerate(graph.ops)}
    steps = profile(graph, [position[name] for name in order])
    time_of = {step.op: at for at, step in enumerate(steps)}
    spans: list[tuple[int, int]] = []
    for t, tensor in enumerate(graph.tensors):
        writer = graph.writer.get(tensor.name)
        start = 0 if writer is None else time_of[writer]
        readers = [time_of[i] for i in range(len(graph.ops)) if graph.readers[t] >> i & 1]
        end = len(order) if t in graph.kept else max(readers, default=start) + 1
        spans.append((start, end))
    chain = list(range(len(graph.tensors)))  # the first tensor of the chain each tensor overwrites
    for step in steps:
        if step.overwrites is not None:
            chain[graph.index[graph.ops[step.op].writes[0]]] = chain[step.overwrites]
    members: dict[int, list[int]] = {}
    for t in sorted(range(len(graph.tensors)), key=lambda t: (spans[t][0], t)):
        if graph.tensors[t].bytes and (graph.wanted(t) or graph.tensors[t].name in graph.writer):
            members.setdefault(chain[t], []).append(t)
    buffers, buffer_of = [], {}
    for chained in members.values():
        name = graph.tensors[chained[0]].name
        buffer_of.update({graph.tensors[t].name: name for t in chained})
        buffers.append(_buffer(name, [(*spans[t], graph.tensors[t].bytes) for t in chained]))
    for at, step in enumerate(steps):
        op = graph.ops[step.op]
        if op.scratch_bytes:
            taken = {buffer.id for buffer in buffers}
            name = f"{op.name} scratch"
            while name in taken:
                name += "'"
            buffers.append(Buffer(name, at, at + 1, op.scratch_bytes))
    return AllocationProblem(graph.name, tuple(buffers)), buffer_of


def _buffer(name: str, parts: Sequence[tuple[int, int, int]]) -> Buffer:
    """One buffer for tensors (from, until, bytes) that overwrite one another."""
    lower, upper = min(part[0] for part in parts), max(part[1] for part in parts)
    size = max(part[2] for part in parts)
    points = sorted({lower, upper, *(point for part in parts for point in part[:2])})
    gaps: list[Gap] = []
    for left, right in pairwise(points):
        held = max((part[2] for part in parts if part[0] <= left and right <= part[1]), default=0)
        if held < size:
            window = (0, held) if held else None
            if gaps and gaps[-1].upper == left and gaps[-1].window == window:
                gaps[-1] = Gap(gaps[-1].lower, right, window)
            else:
                gaps.append(Gap(left, right, window))
    return Buffer(name, lower, upper, size, gaps=tuple(gaps))
