"""The copies that fully sharded data parallelism makes of a layer's weights and gradients beside their exchange.

What is gathered lies by device and is copied apart into whole weights, on the stream that computes, for the forward and
for the backward pass; gradients in the format of the products are cast and put into the order they are scattered in
(pytorch/pytorch, torch/distributed/fsdp/_fully_shard/_fsdp_collectives.py: ``split_with_sizes_copy`` in
``foreach_all_gather_copy_out``, ``chunk_cat`` in ``foreach_reduce_scatter_copy_in``).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.transforms.edit import edit_layers, make_op
from workloads.workload import Layer, Op, Operand, Workload

__all__ = ["sharded_copies"]

_NO_WEIGHTS = ("activations", "gradients", "optimizer", "kv_cache")


def sharded_copies(workload: Workload, product_format: str = "bf16") -> Workload:
    """``workload`` with the copies, gradients of products being made in ``product_format`` and kept as they were.

    The room of what is copied is that of gathered weights and of gradients, so the copies take none here.
    """

    def edit(layer: Layer) -> Layer:
        if layer.name.endswith("_update"):
            return layer
        head = layer.name == "head"
        weights = [
            t
            for t in layer.stored
            if t.role not in _NO_WEIGHTS and (layer.name.endswith("_backward") or t.shared_with is None)
        ]
        like = next((op for op in layer.ops), None)
        if like is None:
            return layer
        steps = [
            replace(step, operands=_products(layer, step, product_format)) if isinstance(step, Op) else step
            for step in layer.steps
        ]
        if weights:
            whole = sum(t.elements for t in weights)
            first = replace(_copy(like, "gathered_copy", whole, weights[0].format, weights[0].format), after=())
            steps = [
                first,
                *(replace(s, after=(first.name,)) if not s.after and isinstance(s, Op) else s for s in steps),
            ]
        gradients = [t for t in layer.stored if t.role == "gradients"]
        if gradients and (head or layer.name.endswith("_backward")):
            whole = sum(t.elements for t in gradients)
            steps.append(_copy(like, "gradient_copy", whole, product_format, gradients[0].format, after=steps[-1].name))
        return replace(layer, steps=tuple(steps))

    return edit_layers(workload, edit)


def _copy(like: Op, name: str, elements: float, source: str, target: str, after: str = "") -> Op:
    sizes = {"t": 1, "d": max(1, round(elements))}
    operands = (
        Operand("X", "read", elements, source, activation=f"{name}_source", whole_elements=0.0),
        Operand("Y", "write", elements, target, activation=f"{name}_target", whole_elements=0.0),
    )
    return make_op(like, name, "elementwise", "copy", sizes, operands, (after,) if after else ())


def _products(layer: Layer, op: Op, form: str) -> tuple[Operand, ...]:
    """Operands with weights' gradients written as products make them."""
    gradients = {t.name for t in layer.stored if t.role == "gradients"}
    if op.kind != "gemm":
        return op.operands
    return tuple(replace(o, format=form) if o.stored in gradients and o.access == "write" else o for o in op.operands)
