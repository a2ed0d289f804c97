"""Norms, rotary embeddings and gated activations as frameworks run them: one kernel for each small operation.

A lowered step has each of these as one kernel. Run operation by operation, every intermediate is written and read
again, and norms compute in fp32 (Hugging Face transformers, modeling_llama.py; PyTorch's gradients of the same). What
such kernels move beyond the fused one is added as operations of its own behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from workloads.transforms.edit import edit_layers, make_op, substitute
from workloads.workload import Layer, Op, Operand, Workload

__all__ = ["MOVED", "unfused"]

Kernel = tuple[float, str, float, str]
"""Times the elements that are read, in which format, and that are written, in which."""

MOVED: dict[str, tuple[str, tuple[Kernel, ...]]] = {
    # Cast up, square, mean, scale, cast down; the sum before and the gain behind are the fused kernel's.
    "add-rms-norm-statistics": (
        "S", ((1, "bf16", 1, "fp32"), (1, "fp32", 1, "fp32"), (1, "fp32", 0, "fp32"), (1, "fp32", 1, "fp32"),
              (1, "fp32", 1, "bf16"), (1, "bf16", 0, "bf16")),
    ),
    # Gradients of the gain (product, sum), cast up, of the scaled input, of the scale (product, sum), of the mean, of
    # the square (twice the input, times), their sum, cast down; of the sum with the residual's a value read.
    "add-rms-norm-backward": (
        "S", ((2, "bf16", 1, "bf16"), (1, "bf16", 0, "bf16"), (1, "bf16", 1, "fp32"), (1, "fp32", 1, "fp32"),
              (2, "fp32", 1, "fp32"), (1, "fp32", 0, "fp32"), (0, "fp32", 1, "fp32"), (1, "fp32", 1, "fp32"),
              (2, "fp32", 1, "fp32"), (2, "fp32", 1, "fp32"), (1, "fp32", 1, "bf16"), (1, "bf16", 0, "bf16")),
    ),
    # Of queries (keys are as wide where heads are not shared): the halves turned, joined, times the sine, added.
    "rotary-append": (
        "Q", ((1, "bf16", 1, "bf16"), (2, "bf16", 2, "bf16"), (2, "bf16", 2, "bf16"), (3, "bf16", 1, "bf16")),
    ),
    # The same gone back, with halves cut out of zeros and added up.
    "rotary-append-backward": (
        "DQ", ((2, "bf16", 2, "bf16"), (1, "bf16", 1, "bf16"), (2, "bf16", 6, "bf16"), (4, "bf16", 2, "bf16"),
               (3, "bf16", 1, "bf16")),
    ),
    # PyTorch's topk finds the k-th value 2 bits at a time (RADIX_BITS, aten's SortingRadixSelect.cuh): of 16 bits
    # eight passes, and two that gather.
    "swiglu-top-k": ("G", ((10, "bf16", 0, "bf16"),)),
    # The activated gates are written and read again.
    "swiglu": ("U", ((1, "bf16", 1, "bf16"),)),
    "swiglu-backward": ("U", ((2, "bf16", 1, "bf16"), (1, "bf16", 0, "bf16"))),
}  # fmt: skip
"""By cascade the operand whose elements count, and the kernels beyond the fused one."""


def unfused(workload: Workload, cascades: Iterable[str] = tuple(MOVED)) -> Workload:
    """``workload`` with the kernels of `MOVED` behind each operation of those of its ``cascades``."""
    chosen = MOVED.keys() & set(cascades)

    def edit(layer: Layer) -> Layer:
        made = layer
        for op in layer.ops:
            if op.cascade.name in chosen:
                made = substitute(made, op.name, _kernels(op))
        return made

    return edit_layers(workload, edit)


def _kernels(op: Op) -> list[Op]:
    symbol, kernels = MOVED[op.cascade.name]
    main = next(operand for operand in op.operands if operand.symbol == symbol)
    size = dict(op.sizes)
    rows = size["t"]
    made = [op]
    for index, (read, read_format, written, written_format) in enumerate(kernels):
        name = f"{op.name}_step{index}"
        operands = (
            Operand("X", "read", read * main.elements, read_format, activation=f"{name}_from"),
            Operand("Y", "write", written * main.elements, written_format, activation=f"{name}_to"),
        )
        sizes = {"t": rows, "d": max(1, round(main.elements / rows))}
        step = make_op(op, name, "elementwise", "residual-add", sizes, operands, (made[-1].name,))
        made.append(replace(step, compute_format=op.compute_format))
    return made
