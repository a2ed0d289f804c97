"""Layer norms of a training step without the residual sum: sums are kernels of their own, with dropout or without.

The norm after a residual sum is one kernel with it in engines that serve; training frameworks have two: the sum, in
which bias and dropout may be fused (Megatron-LM), and the norm. Backward the sum's gradients are added by a kernel too.
A dropout keeps its mask, a byte an element: two for each layer, of the outputs of attention and of the feed-forward
(Korthikanti et al., MLSys 2023, arXiv 2205.05198, section 4.1).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.transforms.edit import edit_layers, make_op, op_of, substitute
from workloads.transforms.training.unfused_attention import MASK_FORMAT
from workloads.workload import Layer, Op, Operand, StoredTensor, Workload

__all__ = ["sums_apart"]

_NORM = {"add-layer-norm-statistics": "layer-norm-statistics", "add-layer-norm": "layer-norm"}
_GRADIENT = {"add-layer-norm-backward": "layer-norm-backward"}
_SCALE = {"IS": "R"}


def sums_apart(workload: Workload, *, dropout: bool = False) -> Workload:
    """``workload`` with the sums in front of layer norms apart, of one summand what ``dropout`` leaves.

    With full recomputation a layer's first mask is that of the layer before, which makes it again.
    """

    def edit(layer: Layer) -> Layer:
        names = [op.name for op in layer.ops if op.cascade.name in {**_NORM, **_GRADIENT}]
        for name in names:
            op = op_of(layer, name)
            layer = (_forward if op.cascade.name in _NORM else _backward)(layer, op, dropout)
        return layer

    return edit_layers(workload, edit)


def _forward(layer: Layer, op: Op, dropout: bool) -> Layer:
    of = {operand.symbol: operand for operand in op.operands}
    sizes = dict(op.sizes)
    total = of["S"]
    reads = [replace(of["X"], symbol="X"), replace(of["R"], symbol="R" if dropout else "F")]
    writes = [replace(total, symbol="S" if dropout else "Y")]
    if dropout:
        mask = _mask(op.name.removesuffix("_again"), total)
        if total.stored is not None and _keeps(layer) and not layer.name.endswith("_backward"):
            tensor = StoredTensor(mask.activation or "", "activations", mask.elements, MASK_FORMAT)
            layer = replace(layer, stored=(*layer.stored, tensor))
            mask = replace(mask, stored=tensor.name, activation=None)
        writes.append(replace(mask, symbol="M", access="write"))
    cascade = "dropout-add" if dropout else "residual-add"
    added = make_op(op, f"{op.name}_sum", "elementwise", cascade, sizes, [*reads, *writes], op.after)
    rest = [replace(o, symbol=_SCALE.get(s, s)) for s, o in of.items() if s not in ("X", "R", "S")]
    operands = [replace(total, symbol="X", access="read"), *rest]
    normed = make_op(op, op.name, op.kind, _NORM[op.cascade.name], sizes, operands, (added.name,))
    return substitute(layer, op.name, (added, normed))


def _backward(layer: Layer, op: Op, dropout: bool) -> Layer:
    of = {operand.symbol: operand for operand in op.operands}
    sizes, result = dict(op.sizes), of["DX"]
    own = replace(result, activation=f"{op.name}_own")
    rest = [replace(o, symbol=_SCALE.get(s, s)) for s, o in of.items() if s not in ("S", "DS", "DX")]
    operands = [replace(of["S"], symbol="X"), *rest, own]
    normed = make_op(op, op.name, op.kind, _GRADIENT[op.cascade.name], sizes, operands, op.after)
    reads = [replace(own, symbol="X", access="read"), replace(of["DS"], symbol="F")]
    steps = [
        normed,
        make_op(
            op, f"{op.name}_sum", "elementwise", "residual-add", sizes, [*reads, replace(result, symbol="Y")],
            (op.name,),
        ),
    ]  # fmt: skip
    if dropout:
        mask = _mask(op.name.removesuffix("_grad"), of["S"])
        name = mask.activation or ""
        if of["S"].stored is not None and _keeps(layer):
            owner = layer.name.removesuffix("_backward")
            tensor = StoredTensor(name, "activations", mask.elements, MASK_FORMAT, shared_with=f"{owner}.{name}")
            layer = replace(layer, stored=(*layer.stored, tensor))
            mask = replace(mask, stored=name, activation=None)
        summed = replace(result, symbol="X", access="read")
        writes = replace(result, symbol="Y", activation=f"{op.name}_dropped")
        operands = [summed, replace(mask, symbol="F"), writes]
        steps.append(make_op(op, f"{op.name}_dropout", "elementwise", "multiply", sizes, operands, (steps[-1].name,)))
    return substitute(layer, op.name, steps)


def _mask(norm: str, like: Operand) -> Operand:
    return Operand("M", "read", like.elements, MASK_FORMAT, activation=f"{norm}_dropout_mask")


def _keeps(layer: Layer) -> bool:
    """Whether values were kept, and not the layer's input alone."""
    return sum(tensor.role == "activations" for tensor in layer.stored) > 1
