"""What PyTorch's fully sharded data parallelism and an optimizer of plain tensor operations run beside a model.

Gradients of a unit's parameters are joined into one flat tensor, cast where they are reduced in another format, and
divided before they are summed over devices, lest the sum overflow (pytorch/pytorch v2.0.1,
torch/distributed/fsdp/_runtime_utils.py and flat_param.py). An optimizer written in tensor operations is a kernel for
each of them: gradients' norm and clipping, two moments, their quotient, decay, the step (mosaicml/composer,
composer/optim/decoupled_weight_decay.py, the same sequence as torch.optim.AdamW's for single tensors).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.transforms.edit import edit_layers, make_op, substitute
from workloads.workload import Layer, Op, Operand, Workload

__all__ = ["flat_gradients", "update_apart"]

_STATE = "fp32"
_UPDATE = (
    ("norm", "row-sums", 1, False),
    ("clip", "multiply", 1, True),
    ("first_decay", "multiply", 1, True),
    ("first_add", "residual-add", 2, True),
    ("second_decay", "multiply", 1, True),
    ("second_add", "residual-add", 2, True),
    ("root", "multiply", 1, True),
    ("unbias", "multiply", 1, True),
    ("epsilon", "residual-add", 1, True),
    ("weight_decay", "multiply", 1, True),
    ("step", "residual-add", 3, True),
)
"""Kernels of an update: the tensors that each reads, and whether it writes one."""


def flat_gradients(workload: Workload) -> Workload:
    """``workload`` with gradients of weights made in the format of its activations, joined, cast and divided."""

    def edit(layer: Layer) -> Layer:
        gradients = {t.name: t for t in layer.stored if t.role == "gradients"}
        # Those of a table that is shared are the other layer's, which joins them.
        own = [t for t in gradients.values() if t.shared_with is None and t.elements]
        if not own or not layer.ops:
            return layer
        layer = replace(layer, steps=tuple(_narrow(s, set(gradients)) if isinstance(s, Op) else s for s in layer.steps))
        last = layer.ops[-1]
        narrow = last.compute_format
        steps, after = [], last.name
        for tensor in own:
            flat = Operand("X", "read", tensor.elements, narrow, stored=tensor.name)
            sizes = {"t": 1, "d": round(tensor.elements)}
            kernels = [("join", narrow, narrow), ("divide", tensor.format, tensor.format)]
            if tensor.format != narrow:
                kernels.insert(1, ("cast", narrow, tensor.format))
            for what, before, behind in kernels:
                name = f"{tensor.name}_{what}"
                operands = [replace(flat, format=before), replace(flat, symbol="Y", access="write", format=behind)]
                steps.append(make_op(last, name, "elementwise", "copy", sizes, operands, (after,)))
                after = name
        return replace(layer, steps=(*layer.steps, *steps))

    return edit_layers(workload, edit)


def _narrow(op: Op, names: set[str]) -> Op:
    """``op`` writing gradients of weights in the format it computes in."""
    operands = tuple(
        replace(o, format=op.compute_format) if o.access == "write" and o.stored in names else o for o in op.operands
    )
    return replace(op, operands=operands)


def update_apart(workload: Workload) -> Workload:
    """``workload`` with each update in kernels of one tensor operation."""

    def edit(layer: Layer) -> Layer:
        for op in layer.ops:
            if op.kind == "optimizer":
                layer = substitute(layer, op.name, _kernels(op))
        return layer

    return edit_layers(workload, edit)


def _kernels(op: Op) -> list[Op]:
    like = next(o for o in op.operands if o.symbol == "P" and o.access == "read")
    sizes = {"t": 1, "d": dict(op.sizes)["d"]}
    steps: list[Op] = []
    for what, cascade, reads, writes in _UPDATE:
        source = replace(like, symbol="X", elements=reads * like.elements, format=_STATE)
        operands = [source]
        if writes:
            operands.append(replace(like, symbol="Y", access="write", format=_STATE))
        after = (steps[-1].name,) if steps else op.after
        name = op.name if what == _UPDATE[-1][0] else f"{op.name}_{what}"
        steps.append(make_op(op, name, "elementwise", cascade, sizes, operands, after))
    return steps
