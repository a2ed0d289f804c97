"""Layers that run as one kernel each: one launch, and what their operations leave each other stays on the chip.

A dataflow accelerator lays a layer's operations out side by side and streams between them (SambaNova SN40L, MICRO 2024,
arXiv 2405.07518, section III).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workloads.transforms.edit import edit_layers
from workloads.workload import Layer, Op, Operand, Step, Workload

__all__ = ["fused_layers"]


def fused_layers(buffer_bytes: float) -> Callable[[Workload], Workload]:
    """The change that makes one kernel of each layer, on a chip that holds ``buffer_bytes`` of what is under way.

    Activations that are made and read within a layer never pass the memory's port, as far as they fit: the smallest
    first. What enters and leaves a layer does, and so do weights, keys and values.
    """
    return lambda workload: edit_layers(workload, lambda layer: _fused(layer, buffer_bytes))


def _fused(layer: Layer, buffer_bytes: float) -> Layer:
    inside = _kept_inside(layer, buffer_bytes)
    steps: list[Step] = []
    launched = True
    for step in layer.steps:
        if not isinstance(step, Op):
            steps.append(step)
            continue
        operands = tuple(_on_chip(operand) if operand.activation in inside else operand for operand in step.operands)
        steps.append(replace(step, operands=operands, launched=launched))
        launched = False
    return replace(layer, steps=tuple(steps))


def _kept_inside(layer: Layer, buffer_bytes: float) -> set[str]:
    """Activations written before they are first read, and read after they are last written, that fit together."""
    written: dict[str, int] = {}
    first_read: dict[str, int] = {}
    last_read: dict[str, int] = {}
    first_written: dict[str, int] = {}
    sizes: dict[str, float] = {}
    for at, op in enumerate(layer.ops):
        for operand in op.operands:
            name = operand.activation
            if name is None:
                continue
            sizes[name] = max(sizes.get(name, 0.0), operand.room_bytes)
            if operand.access == "read":
                first_read.setdefault(name, at)
                last_read[name] = at
            else:
                first_written.setdefault(name, at)
                written[name] = at
    inside = [n for n in written if n in last_read and first_written[n] < first_read[n] and written[n] < last_read[n]]
    found: set[str] = set()
    free = buffer_bytes
    for name in sorted(inside, key=lambda name: (sizes[name], name)):
        if sizes[name] > free:
            break
        free -= sizes[name]
        found.add(name)
    return found


def _on_chip(operand: Operand) -> Operand:
    return replace(operand, elements=0.0, whole_elements=None)
