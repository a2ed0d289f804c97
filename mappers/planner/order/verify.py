"""Does an order hold, and what is its peak? Step by step, from the graph's names; shares no code with planners."""

from __future__ import annotations

from collections.abc import Sequence

from mappers.planner.order.graph import OrderGraph

__all__ = ["faults", "plain_peak_bytes"]


def faults(graph: OrderGraph, order: Sequence[str], peak_bytes: int | None = None) -> list[str]:
    """Everything that is wrong with ``order`` (names of operations) and its claimed peak; empty when nothing is."""
    known = {op.name: op for op in graph.ops}
    found = [f"{name} is no operation" for name in order if name not in known]
    found += [f"{name} runs {order.count(name)} times" for name in known if order.count(name) > 1]
    found += [f"{name} does not run" for name in known if name not in order]
    if found:
        return found
    made_by = {tensor: op.name for op in graph.ops for tensor in op.writes}
    for at, name in enumerate(order):
        for tensor in known[name].reads:
            if tensor in made_by and made_by[tensor] not in order[:at]:
                found.append(f"{name} reads {tensor} before {made_by[tensor]} has written it")
    if not found and peak_bytes is not None and (peak := plain_peak_bytes(graph, order)) != peak_bytes:
        found.append(f"the peak is {peak} bytes and not {peak_bytes}")
    return found


def plain_peak_bytes(graph: OrderGraph, order: Sequence[str]) -> int:
    """The most bytes held at once: for every step, every tensor is asked whether it is there."""
    ops = {op.name: op for op in graph.ops}
    made = {tensor: at for at, name in enumerate(order) for tensor in ops[name].writes}
    last: dict[str, int] = {}
    for at, name in enumerate(order):
        last.update(dict.fromkeys(ops[name].reads, at))
    peak = 0
    for at, name in enumerate(order):
        op = ops[name]
        total = op.scratch_bytes
        for tensor in graph.tensors:
            born = made.get(tensor.name, -1)
            until = len(order) if tensor.name in graph.outputs else last.get(tensor.name, born)
            if born <= at <= until:
                total += tensor.bytes
        size = {tensor.name: tensor.bytes for tensor in graph.tensors}
        over = [t for t in op.in_place if last[t] == at and t not in graph.outputs]
        total -= max((min(size[t], size[op.writes[0]]) for t in over), default=0)
        peak = max(peak, total)
    return peak
