"""Random graphs, and the obvious way to the lowest peak: try every order and hold every tensor by name."""

from __future__ import annotations

import itertools
import random

from mappers.planner.order import Op, OrderGraph, Tensor

__all__ = ["lowest_peak", "peak_of", "random_graph"]


def random_graph(seed: int, count: int = 6) -> OrderGraph:
    """``count`` operations with up to three inputs, one or two outputs, some scratch, some that overwrite."""
    draw = random.Random(seed)
    sizes = {f"in{i}": draw.randint(0, 9) for i in range(draw.randint(1, 2))}
    ops = []
    for i in range(count):
        reads = tuple(draw.sample(sorted(sizes), draw.randint(0, min(3, len(sizes)))))
        writes = tuple(f"t{i}_{j}" for j in range(draw.choice((1, 1, 2))))
        over = tuple(name for name in reads if draw.random() < 0.4)
        ops.append(Op(f"op{i}", reads, writes, over, draw.choice((0, 0, 3))))
        sizes.update({name: draw.randint(0, 20) for name in writes})
    draw.shuffle(ops)
    touched = {name for op in ops for name in (*op.reads, *op.writes)}
    tensors = tuple(Tensor(name, size) for name, size in sizes.items() if name in touched)
    outputs = tuple(tensor.name for tensor in tensors if draw.random() < 0.15)
    return OrderGraph(f"random {seed}", tensors, tuple(ops), outputs)


def peak_of(graph: OrderGraph, order: tuple[Op, ...]) -> int | None:
    """The most bytes at once, replayed with a set of tensors; None when something is read before it is written."""
    size = {tensor.name: tensor.bytes for tensor in graph.tensors}
    written = {name for op in graph.ops for name in op.writes}
    read = {name for op in graph.ops for name in op.reads}
    there = {name for name in size if name not in written}
    peak = 0
    for at, op in enumerate(order):
        if not set(op.reads) <= there:
            return None
        later = {name for other in order[at + 1 :] for name in other.reads} | set(graph.outputs)
        overwritten = [min(size[name], size[op.writes[0]]) for name in op.in_place if name not in later]
        held = sum(size[name] for name in there | set(op.writes)) + op.scratch_bytes - max(overwritten, default=0)
        peak = max(peak, held)
        there = {name for name in there | set(op.writes) if name in later or (name not in written and name not in read)}
    return peak


def lowest_peak(graph: OrderGraph) -> int:
    """The lowest peak over all orders."""
    peaks = (peak_of(graph, order) for order in itertools.permutations(graph.ops))
    return min(peak for peak in peaks if peak is not None)
