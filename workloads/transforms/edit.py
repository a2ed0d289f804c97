"""Taking a workload apart and together again: layers one by one, a step by others, a decode step's self-attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from workloads.cascades import load_cascade
from workloads.einsum import tensor_elements
from workloads.errors import InputError
from workloads.phases import Decode
from workloads.workload import Layer, Op, Operand, Step, StoredTensor, Workload

__all__ = [
    "DecodeAttention",
    "decode_attention",
    "edit_decode_attention",
    "edit_layers",
    "kept_of",
    "make_op",
    "op_of",
    "part_of",
    "require_share",
    "substitute",
    "with_stored",
]


def edit_layers(workload: Workload, edit: Callable[[Layer], Layer]) -> Workload:
    """``workload`` with every distinct layer as ``edit`` makes it."""
    made: dict[str, Layer] = {}
    for layer, _ in workload.layers():
        if layer.name not in made:
            made[layer.name] = edit(layer)
    runs = tuple(replace(run, pattern=tuple(made[layer.name] for layer in run.pattern)) for run in workload.runs)
    return replace(workload, runs=runs)


def substitute(layer: Layer, name: str, steps: Iterable[Step]) -> Layer:
    """``layer`` with ``steps`` in place of the step ``name``; what waited for that one waits for the last of them.

    Those of ``steps`` that wait for nothing wait for what ``name`` waited for.
    """
    new = tuple(steps)
    (old,) = (step for step in layer.steps if step.name == name)
    ends = tuple(step.name for step in new if not any(step.name in other.after for other in new))
    made: list[Step] = []
    for step in layer.steps:
        if step.name == name:
            made += [item if item.after else replace(item, after=old.after) for item in new]
        elif name in step.after:
            after = tuple(
                dict.fromkeys(end for waited in step.after for end in (ends if waited == name else (waited,)))
            )
            made.append(replace(step, after=after))
        else:
            made.append(step)
    return replace(layer, steps=tuple(made))


def op_of(layer: Layer, name: str) -> Op:
    """The operation of ``layer`` that is called ``name``."""
    return next(op for op in layer.ops if op.name == name)


def with_stored(layer: Layer, *tensors: StoredTensor) -> Layer:
    """``layer`` with ``tensors`` in place of those of the same names, or beside the others."""
    new = {tensor.name: tensor for tensor in tensors}
    kept = tuple(new.pop(tensor.name, tensor) for tensor in layer.stored)
    return replace(layer, stored=(*kept, *new.values()))


def part_of(step: Step, kind: str) -> bool:
    """Whether ``step`` is of ``kind``, or elementwise work that an edit has put beside such and named after it."""
    return step.kind == kind or (step.kind == "elementwise" and step.name.startswith(f"{kind}_"))


def make_op(
    like: Op,
    name: str,
    kind: str,
    cascade: str,
    sizes: dict[str, int],
    operands: Iterable[Operand],
    after: tuple[str, ...],
) -> Op:
    """An operation beside ``like``, computed in its format and in its lane.

    Operands of a negative number of elements are as large as the cascade's tensor of their symbol.
    """
    loaded = load_cascade(cascade)
    shapes = tensor_elements(loaded, sizes)
    sized = tuple(o if o.elements >= 0 else replace(o, elements=shapes[o.symbol]) for o in operands)
    return Op(name, kind, loaded, tuple(sorted(sizes.items())), sized, like.compute_format, after, like.lane)


def require_share(value: float, what: str, *, zero: bool = False) -> None:
    """Raise `InputError` when ``value`` is not a share: above 0 (or 0 where ``zero``) and at most 1."""
    if not (0 <= value <= 1 if zero else 0 < value <= 1):
        raise InputError(f"{what} of {value:g}", expected=f"{'from 0' if zero else 'above 0,'} up to 1", field="policy")


@dataclass(frozen=True)
class DecodeAttention:
    """The self-attention of a decode step: its operation, the cache it reads and its sizes.

    ``batch`` sequences attend to ``keys`` cached tokens each, with ``heads`` key-value heads and ``group`` query heads
    for each; ``key_width`` and ``value_width`` are elements per head. A latent cache is one head whose values are part
    of its keys.
    """

    op: Op
    cache: StoredTensor
    batch: int
    heads: int
    group: int
    keys: int
    key_width: int
    value_width: int

    def operand(self, symbol: str) -> Operand:
        """The operation's operand of that symbol."""
        return next(operand for operand in self.op.operands if operand.symbol == symbol)

    @property
    def latent(self) -> bool:
        """Whether the values are read as part of the keys."""
        return not self.operand("V").elements

    def over(self, keys: int, *, name: str = "attention", heads: int | None = None, key_width: int | None = None) -> Op:
        """The same operation over fewer keys, key-value heads or channels of keys."""
        heads, width = heads or self.heads, key_width or self.key_width
        sizes = dict(self.op.sizes) | {"m": keys, "h": heads, "e": width}
        # Whole numbers are multiplied before they are divided, so that they stay whole.
        parts = {
            "K": (heads * keys * width, self.heads * self.keys * self.key_width),
            "V": (heads * keys, self.heads * self.keys),
            "Q": (heads * width, self.heads * self.key_width),
        }
        operands = []
        for operand in self.op.operands:
            part, whole = parts.get(operand.symbol, (heads, self.heads))
            operands.append(replace(operand, elements=operand.elements * part / whole))
        return replace(self.op, name=name, sizes=tuple(sorted(sizes.items())), operands=tuple(operands))


def decode_attention(layer: Layer) -> DecodeAttention | None:
    """The self-attention of a decoder's layer, None where it has none."""
    for op in layer.ops:
        sizes = dict(op.sizes)
        if op.name != "attention" or sizes["p"] != 1:
            continue
        name = next((o.stored for o in op.operands if o.symbol == "K"), None)
        for tensor in layer.stored:
            if tensor.name == name and tensor.role == "kv_cache":
                values = sizes.get("f", sizes["e"])
                return DecodeAttention(op, tensor, sizes["b"], sizes["h"], sizes["g"], sizes["m"], sizes["e"], values)
    return None


def edit_decode_attention(workload: Workload, what: str, edit: Callable[[Layer, DecodeAttention], Layer]) -> Workload:
    """``workload`` with each layer that has self-attention over a cache as ``edit`` makes it.

    Raises `InputError` when the workload is no decode step, or its attention has been changed by another edit.
    """
    if not isinstance(workload.phase, Decode):
        raise InputError(f"{what} changes decode steps, not {workload.phase.name}", expected="decode", field="phase")

    edited = False

    def one(layer: Layer) -> Layer:
        nonlocal edited
        attention = decode_attention(layer)
        if attention is None:
            return layer
        parts = [op for op in layer.ops if part_of(op, "attention") and not op.name.startswith("cross_")]
        if len(parts) > 1 or attention.op.cascade.name != "attention-1pass":
            raise InputError(
                f"{what} of attention that another policy has changed already",
                expected="at most one policy that splits attention, and that of the cache's format last",
                field="policy",
            )
        edited = True
        return edit(layer, attention)

    made = edit_layers(workload, one)
    if not edited:
        raise InputError(f"{workload.model} has no attention over a cache for {what}", field="policy")
    return made


def kept_of(share: float, tokens: int) -> int:
    """The number that a share of ``tokens`` is, rounded up."""
    return max(1, math.ceil(share * tokens))
