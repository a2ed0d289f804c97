"""What a checkpointed layer runs again, as PyTorch has it: no more than is needed, and not what was saved all the same.

- `needed_again`: a layer's forward pass runs again only up to the last value that its gradients read: checkpoints of
  PyTorch stop there (torch/utils/checkpoint.py, ``_enable_checkpoint_early_stop``), a compiler removes the rest.
- `saved_products`: selective checkpointing by operations. Results of attention and of every second matrix product are
  kept, everything else runs again (pytorch/torchtitan at 004b314, parallelisms/parallelize_llama.py: ``_save_list`` and
  the policy around it).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.transforms.edit import edit_layers
from workloads.transforms.training.products_apart import PARTS
from workloads.workload import Collective, Layer, Op, Operand, Step, StoredTensor, Workload

__all__ = ["needed_again", "saved_products"]

_AGAIN = "_again"


def needed_again(workload: Workload) -> Workload:
    """``workload`` without steps run again whose results nothing reads."""

    def edit(layer: Layer) -> Layer:
        while True:
            read = {o.activation for op in layer.ops for o in op.operands if o.access == "read" and o.activation}
            waited = {name for step in layer.steps if isinstance(step, Collective) for name in step.after}
            idle = [step for step in layer.steps if _is_idle(step, layer, read, waited)]
            if not idle:
                return layer
            layer = _without(layer, idle[-1].name)

    return edit_layers(workload, edit)


def _is_idle(step: Step, layer: Layer, read: set[str], waited: set[str]) -> bool:
    if not step.name.endswith(_AGAIN):
        return False
    if isinstance(step, Collective):
        # An exchange's result is what the operation before it made; what reads that waits for the exchange.
        made = {o.activation for op in layer.ops if op.name in step.after for o in op.operands if o.access == "write"}
        return not (made & read)
    return step.name not in waited and not any(
        o.access == "write" and (o.activation is None or o.activation in read) for o in step.operands
    )


def _without(layer: Layer, name: str) -> Layer:
    """``layer`` without the step; what waited for it waits for what it waited for."""
    (gone,) = (step for step in layer.steps if step.name == name)
    steps = []
    for step in layer.steps:
        if step.name == name:
            continue
        if name in step.after:
            after = (end for each in step.after for end in (gone.after if each == name else (each,)))
            step = replace(step, after=tuple(dict.fromkeys(after)))
        steps.append(step)
    return replace(layer, steps=tuple(steps))


def saved_products(workload: Workload, every: int = 2) -> Workload:
    """Of layers that are checkpointed in full, keep what attention makes and what products make, but not that of every
    ``every``-th product of the layer. Products that run as one count as one
    (`workloads.transforms.training.products_apart`).
    """
    layers = {layer.name: layer for layer, _ in workload.layers()}
    saved: dict[str, dict[str, tuple[tuple[str, ...], StoredTensor]]] = {}
    for name, layer in layers.items():
        behind = layers.get(f"{name}_backward")
        if behind is not None and any(op.name.endswith(_AGAIN) for op in behind.ops):
            saved[name] = _saved(layer, every)

    def edit(layer: Layer) -> Layer:
        forward = layer.name.removesuffix("_backward")
        if forward not in saved:
            return layer
        backward = forward != layer.name
        for name, (ops, tensor) in saved[forward].items():
            if backward:
                for op in ops:
                    if any(step.name == f"{op}{_AGAIN}" for step in layer.steps):
                        layer = _without(layer, f"{op}{_AGAIN}")
                tensor = replace(tensor, shared_with=f"{forward}.{tensor.name}")
            layer = _stored(layer, name, ops[0], tensor)
        return layer

    return edit_layers(workload, edit)


def _saved(layer: Layer, every: int) -> dict[str, tuple[tuple[str, ...], StoredTensor]]:
    """By the value kept (``activation`` or ``activation/symbol`` for a part): who makes it, and the tensor."""
    found: dict[str, tuple[tuple[str, ...], StoredTensor]] = {}
    products = 0
    for op in layer.ops:
        if op.kind == "gemm":
            products += 1
            if products % every == 0:
                continue
        elif op.kind != "attention":
            continue
        for operand in op.operands:
            if operand.access == "write" and operand.activation is not None:
                symbol = _part_symbol(op.name)
                key = f"{operand.activation}/{symbol}"
                name = op.name if symbol else operand.activation
                found[key] = ((op.name,), StoredTensor(name, "activations", operand.elements, operand.format))
    return found


def _part_symbol(name: str) -> str:
    for product, parts in PARTS.items():
        for part, symbol in parts.items():
            if name == f"{product}_{part}":
                return symbol
    return ""


def _stored(layer: Layer, key: str, maker: str, tensor: StoredTensor) -> Layer:
    activation, _, symbol = key.partition("/")

    def kept(op: Op, operand: Operand) -> Operand:
        if operand.activation != activation:
            return operand
        mine = op.name == maker if operand.access == "write" else symbol in ("", operand.symbol)
        return replace(operand, activation=None, stored=tensor.name, whole_elements=None) if mine else operand

    steps = tuple(
        replace(step, operands=tuple(kept(step, o) for o in step.operands)) if isinstance(step, Op) else step
        for step in layer.steps
    )
    return replace(layer, steps=steps, stored=(*layer.stored, tensor))
