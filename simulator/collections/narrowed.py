"""A layer whose feed-forward computes some of its neurons: its operations and their weights shrink to these.

With ReLU most neurons are 0, and neither their row of the first matrix nor their column of the second is needed; both
together are one piece of the collection, the bundle of LLM in a flash (Alizadeh et al., arXiv 2312.11514, section 3.2).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.workload import Layer, Op, StoredTensor

__all__ = ["narrowed_layer"]


def narrowed_layer(layer: Layer, held: tuple[StoredTensor, ...], touched: int, neurons: int) -> Layer:
    """``layer`` with operations on ``held`` computing ``touched`` of ``neurons`` neurons, one at least."""
    names = {tensor.name for tensor in held}
    share = max(1, touched) / neurons
    readers = [op for op in layer.ops if any(operand.stored in names for operand in op.operands)]
    made = {o.activation for op in readers[:-1] for o in op.operands if o.access == "write"}
    between = [
        op for op in layer.ops if op not in readers and any(o.activation in made for o in op.operands)
    ]  # what stands between the two products: the activation function
    inner = made | {o.activation for op in between for o in op.operands if o.access == "write"}

    def narrowed(op: Op) -> Op:
        if op not in readers and op not in between:
            return op
        # Neurons are the columns of the first product, the rows of the last, and the length of what stands between.
        rank = "s" if op in between else "n0" if op is readers[-1] else "n1"
        sizes = tuple((name, max(1, round(size * share)) if name == rank else size) for name, size in op.sizes)
        operands = tuple(
            replace(o, elements=o.elements * share)
            if o.stored in names or o.activation in inner or (op is not readers[-1] and o.stored is not None)
            else o
            for o in op.operands
        )
        return replace(op, sizes=sizes, operands=operands)

    steps = tuple(narrowed(step) if isinstance(step, Op) else step for step in layer.steps)
    return Layer(f"{layer.name} touching {touched}", steps, layer.stored)
