"""Attention of a training step as separate kernels: its scores are written, normalised, dropped and read again.

Before attention was one kernel it was a product for each head, a softmax with scale and causal mask, dropout, and a
second product; backward the four products, the dropout's gradient and the softmax's. What the softmax and the dropout
made is kept, with the dropout's mask of a byte an element: 5 a s^2 b bytes of a layer in 16-bit formats (Korthikanti et
al., MLSys 2023, arXiv 2205.05198, section 4.1), which selective recomputation makes again instead. The softmax reads no
scores that are masked and writes all (NVIDIA/Megatron-LM, megatron/fused_kernels/scaled_upper_triang_masked_softmax.h).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from workloads.errors import InputError
from workloads.phases import Train
from workloads.transforms.edit import edit_layers, make_op, op_of, substitute
from workloads.workload import Layer, Op, Operand, Step, StoredTensor, Workload

__all__ = ["MASK_FORMAT", "unfused_attention"]

MASK_FORMAT = "int8"
"""A dropout's mask takes a byte an element (arXiv 2205.05198, section 4.1)."""

_FORWARD, _BACKWARD = "attention-1pass-causal-lse", "attention-backward"


def unfused_attention(workload: Workload, *, dropout: bool = True) -> Workload:
    """A training step with its causal self-attention in separate kernels; without ``dropout`` no mask and no copy.

    Raises `InputError` for another phase than training.
    """
    if not isinstance(workload.phase, Train):
        raise InputError(f"training kernels of attention in {workload.phase.name}", expected="train", field="phase")

    def edit(layer: Layer) -> Layer:
        names = [op.name for op in layer.ops if op.cascade.name in (_FORWARD, _BACKWARD)]
        for name in names:
            layer = _edited(layer, op_of(layer, name), dropout)
        return layer

    return edit_layers(workload, edit)


@dataclass
class _Kernels:
    """Kernels in a row in place of the attention ``op``, one head beside the other; ``stored`` are kept values."""

    op: Op
    stored: frozenset[str]
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        size = dict(self.op.sizes)
        self.heads = size["b"] * size["h"] * size["g"]
        self.queries, self.keys, self.width, self.value_width = size["p"], size["m"], size["e"], size["f"]
        self.rows = {"t": self.heads * self.queries, "d": self.keys}
        self.format = self.operand("Q").format

    @property
    def base(self) -> str:
        """The name of the attention whose values these are."""
        return self.op.name.removesuffix("_again").removesuffix("_grad")

    def operand(self, symbol: str) -> Operand:
        return next(operand for operand in self.op.operands if operand.symbol == symbol)

    def scores(self, what: str, form: str | None = None) -> Operand:
        """A value of every pair of a query and a key, kept or not."""
        name = f"{self.base}_{what}"
        elements = float(self.heads * self.queries * self.keys)
        if name in self.stored:
            return Operand("", "read", elements, form or self.format, stored=name)
        return Operand("", "read", elements, form or self.format, activation=name)

    def causal(self, value: Operand) -> Operand:
        """What is not masked of it."""
        return replace(value, elements=value.elements * (self.keys + 1) / (2 * self.keys))

    def run(
        self,
        what: str,
        kind: str,
        cascade: str,
        sizes: dict[str, int],
        reads: Sequence[tuple[str, Operand]],
        writes: Sequence[tuple[str, Operand]],
    ) -> None:
        operands = [replace(operand, symbol=symbol, access="read") for symbol, operand in reads]
        operands += [replace(operand, symbol=symbol, access="write") for symbol, operand in writes]
        after = (self.steps[-1].name,) if self.steps else self.op.after
        self.steps.append(make_op(self.op, f"{self.op.name}_{what}", kind, cascade, sizes, operands, after))

    def product(self, what: str, m: int, inner: int, n: int, a: Operand, w: Operand, z: Operand) -> None:
        sizes = {"h": self.heads, "m": m, "n0": inner, "n1": n}
        self.run(what, "gemm", "batched-gemm", sizes, [("A", a), ("W", w)], [("Z", z)])


def _edited(layer: Layer, op: Op, dropout: bool) -> Layer:
    forward = op.cascade.name == _FORWARD
    names = {tensor.name for tensor in layer.stored}
    base = _Kernels(op, frozenset()).base
    statistics = next(o for o in op.operands if o.symbol == "LSE")
    if statistics.stored is not None:
        new = _kept(op, base, dropout)
        if not forward:
            owner = layer.name.removesuffix("_backward")
            new = tuple(replace(tensor, shared_with=f"{owner}.{tensor.name}") for tensor in new)
        stored = [tensor for tensor in layer.stored if tensor.name != statistics.stored]
        layer = replace(layer, stored=(*stored, *new))
        names |= {tensor.name for tensor in new}
    kernels = _Kernels(op, frozenset(names))
    (_forward if forward else _backward)(kernels, dropout)
    return substitute(layer, op.name, kernels.steps)


def _kept(op: Op, base: str, dropout: bool) -> tuple[StoredTensor, ...]:
    kernels = _Kernels(op, frozenset())
    of = [("probabilities", kernels.format)]
    if dropout:
        of += [("dropped", kernels.format), ("dropout_mask", MASK_FORMAT)]
    elements = float(kernels.heads * kernels.queries * kernels.keys)
    return tuple(StoredTensor(f"{base}_{what}", "activations", elements, form) for what, form in of)


def _forward(to: _Kernels, dropout: bool) -> None:
    scores, found = to.scores("scores"), to.scores("probabilities")
    to.product("scores", to.queries, to.width, to.keys, to.operand("Q"), to.operand("K"), scores)
    to.run("softmax", "softmax", "softmax", to.rows, [("X", to.causal(scores))], [("Y", found)])
    if dropout:
        source, found = found, to.scores("dropped")
        writes = [("Y", found), ("M", to.scores("dropout_mask", MASK_FORMAT))]
        to.run("dropout", "elementwise", "dropout", to.rows, [("X", source)], writes)
    result = to.operand("AV")
    by_head = Operand("", "write", result.elements, result.format, activation=f"{to.base}_by_head")
    to.product("values", to.queries, to.keys, to.value_width, found, to.operand("V"), by_head)
    # The heads of a token lie side by side for the projection behind.
    sizes = {"t": to.heads * to.queries, "d": to.value_width}
    to.run("tokens", "elementwise", "copy", sizes, [("X", by_head)], [("Y", result)])


def _backward(to: _Kernels, dropout: bool) -> None:
    comes, probabilities = to.operand("DAV"), to.scores("probabilities")
    gradient = to.scores("d_dropped" if dropout else "d_probabilities")
    to.product("values", to.queries, to.value_width, to.keys, comes, to.operand("V"), gradient)
    used = to.scores("dropped") if dropout else probabilities
    to.product("weighted", to.keys, to.queries, to.value_width, used, comes, to.operand("DV"))
    if dropout:
        source, gradient = gradient, to.scores("d_probabilities")
        reads = [("X", source), ("F", to.scores("dropout_mask", MASK_FORMAT))]
        to.run("dropout", "elementwise", "multiply", to.rows, reads, [("Y", gradient)])
    through = to.scores("d_scores")
    reads = [("Y", to.causal(probabilities)), ("DY", to.causal(gradient))]
    to.run("softmax", "softmax", "softmax-backward", to.rows, reads, [("DX", through)])
    to.product("queries", to.queries, to.keys, to.width, through, to.operand("K"), to.operand("DQ"))
    to.product("keys", to.keys, to.queries, to.width, through, to.operand("Q"), to.operand("DK"))
