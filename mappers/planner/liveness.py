"""How many bytes of activations a layer holds at once, in program order."""

from __future__ import annotations

from workloads.workload import Layer

__all__ = ["activation_bytes", "activation_peak_bytes", "activation_spans"]


def activation_bytes(layer: Layer) -> dict[str, float]:
    """Bytes of each activation of the layer: the largest any of its operations touches."""
    sizes: dict[str, float] = {}
    for op in layer.ops:
        for operand in op.operands:
            if operand.activation is not None:
                sizes[operand.activation] = max(sizes.get(operand.activation, 0.0), operand.room_bytes)
    return sizes


def activation_spans(layer: Layer) -> dict[str, tuple[int, int]]:
    """First and last position, in program order of the operations, at which each activation is alive.

    What is read before it is written comes from the layer before, and is alive from the start. What nobody reads
    after its last write goes to the layer after, and is alive until the end.
    """
    ops = layer.ops
    written: dict[str, int] = {}
    read: dict[str, int] = {}
    first: dict[str, int] = {}
    for at, op in enumerate(ops):
        for operand in op.operands:
            if operand.activation is None:
                continue
            name = operand.activation
            if operand.access == "read":
                read[name] = at
                first.setdefault(name, 0)
            else:
                written[name] = at
                first.setdefault(name, at)
    last = {}
    for name in first:
        leaves = name in written and read.get(name, -1) <= written[name]
        last[name] = len(ops) - 1 if leaves else read[name]
    return {name: (first[name], last[name]) for name in first}


def activation_peak_bytes(layer: Layer) -> float:
    """The most bytes of activations alive during any one operation of the layer."""
    sizes = activation_bytes(layer)
    spans = activation_spans(layer)
    return max(
        (
            sum(sizes[name] for name, (start, end) in spans.items() if start <= at <= end)
            for at in range(len(layer.ops))
        ),
        default=0.0,
    )
