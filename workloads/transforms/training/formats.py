"""Other number formats in a training step: those that products compute in, and those that activations are kept in.

Products of a layer's forward pass and of its backward pass may compute in different formats. What a product reads in
another format is cast first, once for all products of the layer that want it cast alike: a scale for the whole tensor
serves both gradients, blocks lie along the axis that is summed over and serve one. The backward pass in MXFP4 with a
blockwise random Hadamard transform of both operands is that of Tseng, Yu and Park, arXiv 2502.20586; FP8 with
activations kept in FP8 that of Xi et al., COAT, ICLR 2025, arXiv 2410.19313. Embedding, head, attention and
experts stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from workloads.errors import InputError, unknown_name
from workloads.formats import storage_format
from workloads.phases import Train
from workloads.transforms.edit import edit_layers, make_op
from workloads.workload import Layer, Op, Operand, Step, Workload

__all__ = [
    "CASTS",
    "PRODUCTS",
    "Casts",
    "Direction",
    "ProductFormat",
    "direction",
    "fp8_training",
    "kept_formats",
    "kept_in_fp8",
    "mxfp4_backward",
    "training_formats",
]

Casts = Literal["apart", "together", "within"]
"""Whether the transform and the cast are a kernel each, one kernel, or part of the product's kernel."""
CASTS: tuple[Casts, ...] = get_args(Casts)

Direction = Literal["forward", "backward"]


@dataclass(frozen=True)
class ProductFormat:
    """``compute`` is the engine's, ``stored`` that of the operands, cast by ``cascade``; ``blocks`` share a scale."""

    compute: str
    stored: str
    cascade: str = "quantise"
    blocks: int = 0


PRODUCTS = {
    "bf16": ProductFormat("bf16", "bf16"),
    "fp16": ProductFormat("fp16", "fp16"),
    "fp8": ProductFormat("fp8_e4m3", "fp8_e4m3"),
    "int8": ProductFormat("int8", "int8"),
    "int4": ProductFormat("int4", "int4"),
    "mxfp8": ProductFormat("fp8_e4m3", "mxfp8", "quantise-blocks", 32),
    "mxfp4": ProductFormat("fp4_e2m1", "mxfp4", "quantise-blocks", 32),
}
"""What products may compute in, by name."""


def training_formats(
    workload: Workload, forward: str = "", backward: str = "", hadamard: int = 0, casts: Casts = "together"
) -> Workload:
    """Products of the layers' ``forward`` and ``backward`` passes in formats of `PRODUCTS` (empty: as they are).

    ``hadamard`` is the block of the transform of both operands of a backward product, 0 for none. Raises `InputError`
    for another phase than training, for unknown formats and for a block that is no power of two.
    """
    _require_training(workload, "formats of training")
    for name in (forward, backward):
        if name and name not in PRODUCTS:
            raise unknown_name("format of products", name, PRODUCTS, field="policy")
    if hadamard < 0 or hadamard & (hadamard - 1):
        raise InputError(f"a Hadamard block of {hadamard}", "a power of two, or 0 for none", "policy")
    if casts not in CASTS:
        raise unknown_name("place of casts", casts, CASTS, field="policy")
    chosen = {"forward": PRODUCTS.get(forward), "backward": PRODUCTS.get(backward)}

    def edit(layer: Layer) -> Layer:
        if not any(direction(layer, op) for op in layer.ops):
            return layer
        caster = _Caster(layer, hadamard, casts)
        for step in layer.steps:
            where = direction(layer, step) if isinstance(step, Op) else None
            form = chosen[where] if where else None
            if isinstance(step, Op) and form is not None:
                caster.product(step, form, transformed=where == "backward")
            else:
                caster.steps.append(step)
        return replace(layer, steps=tuple(caster.steps))

    return edit_layers(workload, edit)


def direction(layer: Layer, op: Op) -> Direction | None:
    """The pass that a product of a layer belongs to; None for the head's and for what is no product."""
    if op.kind != "gemm" or layer.name.startswith(("head", "embedding")):
        return None
    return "backward" if op.name.endswith(("_dgrad", "_wgrad")) else "forward"


class _Caster:
    """Builds a layer's steps anew, with casts before the products that want them."""

    def __init__(self, layer: Layer, hadamard: int, casts: Casts) -> None:
        self.layer, self.hadamard, self.casts = layer, hadamard, casts
        self.steps: list[Step] = []
        self.made: dict[tuple[str, str, str], tuple[Operand, str]] = {}

    def product(self, op: Op, form: ProductFormat, *, transformed: bool) -> None:
        """``op`` in ``form``, after casts of its operands."""
        size = dict(op.sizes)
        inner = size["n0"]
        operands, waits = [], []
        for operand in op.operands:
            rows = {"A": size["m"], "W": size["n1"] * size.get("h", 1)}.get(operand.symbol)
            turned = transformed and self.hadamard > 0
            if operand.access == "write" or rows is None or (operand.format == form.stored and not turned):
                operands.append(operand)
                continue
            cast, maker = self._cast(op, operand, form, (rows, inner), turned=turned)
            operands.append(operand if self.casts == "within" else cast)
            waits.append(maker)
        after = tuple(dict.fromkeys((*op.after, *waits)))
        self.steps.append(replace(op, operands=tuple(operands), compute_format=form.compute, after=after))

    def _cast(
        self, op: Op, operand: Operand, form: ProductFormat, shape: tuple[int, int], *, turned: bool
    ) -> tuple[Operand, str]:
        """``operand`` in ``form``, and the operation that makes it."""
        source = operand.stored or operand.activation or ""
        axis = op.name.rpartition("_")[2] if form.blocks or turned else ""
        key = (source, form.stored, axis)
        if key not in self.made:
            name = f"{op.name}_{operand.symbol.lower()}"
            into = f"{source}_{form.stored}{f'_{axis}' if axis else ''}"
            rows, inner = shape
            read, after = operand, op.after
            if turned:
                between = replace(operand, symbol="X", stored=None, activation=f"{into}_turned")
                block = min(self.hadamard, 1 << (inner.bit_length() - 1))
                self._add(
                    op, f"{name}_hadamard", "hadamard", "hadamard", {"t": rows, "n": inner, "k": block},
                    replace(read, symbol="X"), replace(between, symbol="Y", access="write"), after,
                    read=self.casts != "within", write=self.casts == "apart",
                )  # fmt: skip
                after = (f"{name}_hadamard",)
                read = between
            written = Operand("Y", "write", operand.elements, form.stored, activation=into)
            self._add(
                op, f"{name}_quantise", "elementwise", form.cascade, {"t": rows, "n": inner}, replace(read, symbol="X"),
                written, after, read=self.casts == "apart" or (self.casts == "together" and not turned),
                write=self.casts != "within",
            )  # fmt: skip
            cast = replace(written, symbol=operand.symbol, access="read")
            self.made[key] = (cast, f"{name}_quantise")
        made, maker = self.made[key]
        return replace(made, symbol=operand.symbol), maker

    def _add(
        self, like: Op, name: str, kind: str, cascade: str, sizes: dict[str, int], reads: Operand, writes: Operand,
        after: tuple[str, ...], *, read: bool, write: bool,
    ) -> None:  # fmt: skip
        """A cast; what it does not ``read`` or ``write`` stays within a kernel, and it is none of its own then."""
        operands = [replace(reads, elements=reads.elements if read else 0.0)]
        operands.append(replace(writes, elements=writes.elements if write else 0.0))
        made = make_op(like, name, kind, cascade, sizes, operands, after)
        # In one kernel with the transform the cast is no launch; within the product neither is.
        own = read if self.casts != "apart" else True
        self.steps.append(replace(made, launched=own))


def kept_formats(workload: Workload, choose: Callable[[str], str | None]) -> Workload:
    """Activations that are kept for the backward pass in the format that ``choose`` gives for a tensor's name.

    They are written in it by what makes them and read in it by all that read them. None leaves one as it is.
    """
    _require_training(workload, "formats of what is kept")

    def edit(layer: Layer) -> Layer:
        forms = {tensor.name: choose(tensor.name) for tensor in layer.stored if tensor.role == "activations"}
        chosen = {name: form for name, form in forms.items() if form is not None}
        for form in chosen.values():
            storage_format(form)
        if not chosen:
            return layer
        steps: list[Step] = []
        for step in layer.steps:
            if isinstance(step, Op):
                operands = tuple(
                    replace(o, format=chosen[o.stored]) if o.stored in chosen else o for o in step.operands
                )
                step = replace(step, operands=operands)
            steps.append(step)
        stored = tuple(replace(t, format=chosen[t.name]) if t.name in chosen else t for t in layer.stored)
        return replace(layer, steps=tuple(steps), stored=stored)

    return edit_layers(workload, edit)


def kept_in_fp8(name: str) -> str | None:
    """The format that COAT keeps an activation in: a scale for inputs of products, one for 16 of other inputs.

    Attention's own tensors and its result stay, and statistics of rows (arXiv 2410.19313, table 2).
    """
    if name.startswith("residual_of_") and name.endswith("_norm"):
        return "fp8_g16"
    return {
        "attention_norm": "fp8_e4m3", "ffn_norm": "fp8_e4m3", "ffn_activated": "fp8_e4m3", "ffn_up": "fp8_g16",
    }.get(name)  # fmt: skip


def fp8_training(workload: Workload) -> Workload:
    """Products in FP8, activations kept in FP8 as COAT keeps them."""
    return training_formats(kept_formats(workload, kept_in_fp8), "fp8", "fp8")


def mxfp4_backward(workload: Workload, block: int = 64, forward: str = "") -> Workload:
    """Backward products in MXFP4 after Hadamard transforms in blocks of ``block``; forward ones in ``forward``."""
    return training_formats(workload, forward, "mxfp4", block)


def _require_training(workload: Workload, what: str) -> None:
    if not isinstance(workload.phase, Train):
        raise InputError(f"{what} in {workload.phase.name}", expected="train", field="phase")
