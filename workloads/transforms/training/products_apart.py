"""Products of one input as kernels of their own: queries, keys and values, and the two halves of a gated feed-forward.

Where weights are one tensor each, as in torchtitan's Llama (pytorch/torchtitan at 0199cbc, torchtitan/models/llama/
model.py: wq, wk, wv, w1, w3), nothing runs them together, and each one's gradient for the input is a product too. The
gradients' sum is left to `workloads.transforms.training.eager`: a compiler takes it into the kernel behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workloads.transforms.edit import edit_layers, substitute
from workloads.workload import Layer, Op, Workload

__all__ = ["PARTS", "products_apart"]

PARTS = {"qkv": {"q": "Q", "k": "K", "v": "V"}, "ffn_up": {"gate": "G", "up": "U"}}
"""By product its parts, in the order they run, and the symbol under which its reader reads each."""


def products_apart(workload: Workload) -> Workload:
    """``workload`` with the products of `PARTS` apart, forward, run again and backward.

    Each part reads the input anew and writes its part of the output. What has no such product is left as it is.
    """
    shares = {
        (layer.name, name): _shares(layer, name)
        for layer, _ in workload.layers()
        for name in PARTS
        if _has(layer, name)
    }

    def edit(layer: Layer) -> Layer:
        forward = layer.name.removesuffix("_backward")
        for name in PARTS:
            share = shares.get((forward, name))
            if share is None:
                continue
            for end, axis, split in (
                ("", "n1", "WZ"),
                ("_again", "n1", "WZ"),
                ("_dgrad", "n0", "AW"),
                ("_wgrad", "n1", "WZ"),
            ):
                if _has(layer, f"{name}{end}"):
                    layer = substitute(layer, f"{name}{end}", _parts(layer, name, end, axis, split, share))
        return layer

    return edit_layers(workload, edit)


def _has(layer: Layer, name: str) -> bool:
    return any(op.name == name and op.kind == "gemm" for op in layer.ops)


def _shares(layer: Layer, name: str) -> dict[str, float] | None:
    """What share of the product's output each part is, by the reader of all of them; None where nothing reads parts."""
    symbols = PARTS[name]
    for op in layer.ops:
        sizes = {o.symbol: o.elements for o in op.operands if o.access == "read"}
        if sizes.keys() >= set(symbols.values()):
            whole = sum(sizes[symbol] for symbol in symbols.values())
            return {part: sizes[symbol] / whole for part, symbol in symbols.items()}
    return None


def _parts(layer: Layer, name: str, end: str, axis: str, split: str, shares: dict[str, float]) -> Sequence[Op]:
    (op,) = (op for op in layer.ops if op.name == f"{name}{end}")
    made: list[Op] = []
    for part, share in shares.items():
        sizes = tuple((rank, round(size * share) if rank == axis else size) for rank, size in op.sizes)
        operands = tuple(
            replace(o, elements=o.elements * share, whole_elements=o.whole_elements or o.elements)
            if o.symbol in split
            else o
            for o in op.operands
        )
        after = (made[-1].name,) if made else op.after
        made.append(replace(op, name=f"{name}_{part}{end}", sizes=sizes, operands=operands, after=after))
    return made
