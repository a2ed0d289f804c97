"""Mini-sequences: the feed-forward and the head of a prompt in parts of its tokens, one part after another.

What a part leaves between its operations takes the room that the part before left in: it shrinks with the number of
parts, while weights are read once for each (Luo et al., MsT, NeurIPS 2024, arXiv 2407.15892; MOM, arXiv 2504.12526).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from workloads.errors import InputError
from workloads.phases import Prefill
from workloads.transforms.edit import edit_layers
from workloads.workload import Layer, Op, Operand, Step, Workload

__all__ = ["logits_of_all", "mini_sequences"]

HEAD = "logits"
"""The operation that scores the vocabulary; a head made of several is its layer."""


def logits_of_all(workload: Workload) -> Workload:
    """A prompt whose head scores every token, as libraries do that were made for training, instead of the last ones.

    Raises `InputError` for another phase than prefill.
    """
    phase = _prefill(workload, "scores of all tokens")

    def one(layer: Layer) -> Layer:
        if not any(op.name == HEAD for op in layer.ops):
            return layer
        steps = tuple(_rows(step, phase.batch, phase.tokens) if isinstance(step, Op) else step for step in layer.steps)
        return replace(layer, steps=steps)

    return edit_layers(workload, one)


def mini_sequences(workload: Workload, count: int) -> Workload:
    """``workload`` with the feed-forwards of its layers, and the products of its head, in ``count`` parts of tokens.

    Parts differ by a token at most. The scores of a part of the head are left in one buffer, for only those of the last
    tokens are wanted. Raises `InputError` for another phase than prefill, for more parts than tokens and where a
    feed-forward is a mixture of experts.
    """
    phase = _prefill(workload, "mini-sequences")
    if not 1 <= count <= phase.tokens:
        raise InputError(f"{count} mini-sequences", f"from 1 to the {phase.tokens} tokens", "policy")
    if any(op.kind == "grouped_gemm" for layer, _ in workload.layers() for op in layer.ops):
        raise InputError(f"{workload.model} has experts", "a model with dense feed-forwards", "policy")
    return edit_layers(workload, lambda layer: _cut(layer, count)) if count > 1 else workload


def _prefill(workload: Workload, what: str) -> Prefill:
    if not isinstance(workload.phase, Prefill):
        raise InputError(f"{what} of {workload.phase.name}", expected="prefill", field="phase")
    return workload.phase


def _cut(layer: Layer, count: int) -> Layer:
    """The layer with the chain of operations of its feed-forward, or of its head, once for each part."""
    chain = [op for op in layer.ops if _token_wise(op)]
    if not chain:
        return layer
    rows = dict(chain[0].sizes)[_rank(chain[0])]
    if rows < count:  # a head that scores the last tokens only
        return layer
    names, last, end = {op.name for op in chain}, chain[-1].name, f"{chain[-1].name}/{count - 1}"
    steps: list[Step] = []
    for step in layer.steps:
        if step.name == last:
            steps += _parts(chain, rows, count)
        elif step.name not in names:
            steps.append(replace(step, after=tuple(end if name == last else name for name in step.after)))
    return replace(layer, steps=tuple(steps))


def _token_wise(op: Op) -> bool:
    return op.name == HEAD or (op.name.startswith("ffn_") and op.kind in ("gemm", "elementwise"))


def _parts(chain: list[Op], rows: int, count: int) -> Iterator[Op]:
    names = {op.name for op in chain}
    made_within = {o.activation for op in chain for o in op.operands if o.access == "write"}
    made_within -= {o.activation for o in chain[-1].operands if o.access == "write"}
    for part in range(count):
        size = rows // count + (part < rows % count)
        for op in chain:
            after = tuple(f"{name}/{part}" if name in names else name for name in op.after)
            if part and op is chain[0]:
                after = (f"{chain[-1].name}/{part - 1}",)
            operands = (_joined(o, op, made_within) for o in _rows(op, rows, size).operands)
            yield replace(_rows(op, rows, size), name=f"{op.name}/{part}", after=after, operands=tuple(operands))


def _joined(operand: Operand, op: Op, made_within: set[str | None]) -> Operand:
    """What a part takes from before or leaves behind is a part of something that is there as a whole."""
    if operand.activation is None or operand.activation in made_within or op.name == HEAD:
        return operand
    whole = next(o.elements for o in op.operands if o.symbol == operand.symbol)
    return replace(operand, whole_elements=whole)


def _rank(op: Op) -> str:
    return "t" if "t" in dict(op.sizes) else "m"


def _rows(op: Op, before: int, now: int) -> Op:
    """``op`` over ``now`` rows of tokens where it had ``before``."""
    sizes = dict(op.sizes)
    sizes[_rank(op)] = sizes[_rank(op)] * now // before
    operands = tuple(o if o.activation is None else replace(o, elements=o.elements * now / before) for o in op.operands)
    return replace(op, sizes=tuple(sorted(sizes.items())), operands=operands)
