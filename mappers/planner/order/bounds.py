"""What no order goes below."""

from __future__ import annotations

from mappers.planner.order.graph import OrderGraph, bits

__all__ = ["least_peak_bytes"]


def least_peak_bytes(graph: OrderGraph) -> tuple[int, str]:
    """A bound on the peak of every order, and why.

    Whatever the order, while an operation runs memory holds its outputs and scratch, and each tensor that was written
    before it (by an operation it depends on, or from the start) and is read by it or by what depends on it. What is
    saved by overwriting is granted wherever no dependence forbids it.
    """
    above, below = _closure(graph.before), _closure(graph.after)
    best, why = 0, "nothing is held"
    for i, op in enumerate(graph.ops):
        later = below[i] | 1 << i
        held = op.scratch_bytes
        for t, tensor in enumerate(graph.tensors):
            writer = graph.writer.get(tensor.name)
            there = writer is None or above[i] >> writer & 1
            wanted = t in graph.kept or graph.readers[t] & later
            if tensor.name in op.writes or (there and wanted):
                held += tensor.bytes
        first = graph.tensors[graph.index[op.writes[0]]].bytes
        over = [t for t in graph.positions(op.in_place) if t not in graph.kept and not graph.readers[t] & below[i]]
        held -= max((min(first, graph.tensors[t].bytes) for t in over), default=0)
        if held > best:
            best, why = held, f"{op.name} needs {held} bytes in any order"
    return best, why


def _closure(direct: tuple[int, ...]) -> list[int]:
    """Everything reached from each operation; ``direct`` has no cycle."""
    reached: list[int | None] = [None] * len(direct)
    for start in range(len(direct)):
        stack = [start]
        while stack:
            at = stack[-1]
            waiting = [j for j in bits(direct[at]) if reached[j] is None]
            if waiting:
                stack += waiting
                continue
            stack.pop()
            mask = direct[at]
            for j in bits(direct[at]):
                mask |= reached[j] or 0
            reached[at] = mask
    return [mask or 0 for mask in reached]
