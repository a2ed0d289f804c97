"""Context parallelism as PyTorch runs it: attention in as many rounds as devices share a sequence, joined in 32 bits.

Keys and values are gathered once; each round attends to those of one device and its result is merged into what there
is, in fp32 and by elementwise kernels. Backward, gradients of keys and values go round in fp32, beside the next round
(pytorch/pytorch at 0123248, torch/distributed/tensor/experimental/_attention.py: ``_SDPAMerger``,
``_templated_ring_attention_backward``). Where a model repeats keys and values for its query heads before attention, as
torchtitan's Llama does (pytorch/torchtitan at 0199cbc, models/llama/model.py, ``repeat_kv``), the copies are what goes
round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from workloads.transforms.edit import edit_layers, make_op
from workloads.workload import Collective, Layer, Op, Operand, Step, Workload

__all__ = ["context_rounds"]

_WIDE = "fp32"


def context_rounds(workload: Workload) -> Workload:
    """``workload``, divided by `workloads.transforms.training.context_parallel` with ``exchange`` "gather", in rounds.

    Without attention that is divided so the workload is as it was.
    """

    def edit(layer: Layer) -> Layer:
        exchanges = {step.name: step for step in layer.steps if isinstance(step, Collective)}
        steps: list[Step] = []
        last: dict[str, str] = {}
        for step in layer.steps:
            step = replace(step, after=tuple(last.get(name, name) for name in step.after))
            op = _attention_of(layer, step.name)
            gather = exchanges.get(f"{step.name}_keys_values")
            if isinstance(step, Collective) and op is not None:
                group = dict(op.sizes).get("g", 1)
                back = step.name.endswith("_grads")
                step = replace(step, elements=group * step.elements, format=_WIDE if back else step.format)
                if back:
                    # A round's gradients travel while the next one computes: of all rounds one is waited for.
                    rounds = step.devices or 1
                    first = replace(step, name=f"{step.name}_first", elements=step.elements * (rounds - 1) / rounds)
                    begun = tuple(last.get(name, name) for name in op.after)
                    steps.append(replace(first, after=begun))
                    step = replace(step, elements=step.elements / rounds, after=(*step.after, first.name))
                steps.append(step)
                continue
            steps.append(step)
            if isinstance(step, Op) and gather is not None and gather.kind == "all_gather":
                joined = tuple(_joined(step, (gather.devices or 1) - 1))
                steps += joined
                last[step.name] = joined[-1].name
        return replace(layer, steps=tuple(steps))

    return edit_layers(workload, edit)


def _attention_of(layer: Layer, exchange: str) -> Op | None:
    ends = ("_keys_values", "_keys_values_grads")
    names = {exchange.removesuffix(end) for end in ends if exchange.endswith(end)}
    return next((op for op in layer.ops if op.kind == "attention" and op.name in names), None)


def _joined(op: Op, rounds: int) -> Iterator[Op]:
    """What ``rounds`` rounds after the first add to the attention: elements are those of all query heads."""
    operands = {operand.symbol: operand for operand in op.operands}
    each = operands["Q"].elements
    form = operands["Q"].format
    passes: tuple[tuple[str, str, int, tuple[str, ...], str], ...]
    if "DAV" in operands:
        passes = (
            ("pack", "copy", 2, (form,), form),
            ("add_queries", "residual-add", 1, (_WIDE, form), _WIDE),
            ("add_keys_values", "residual-add", 2, (_WIDE, form), _WIDE),
            ("pack_grads", "copy", 2, (_WIDE,), _WIDE),
        )
    else:
        passes = (
            ("pack", "copy", 2, (form,), form),
            ("widen", "copy", 1, (form,), _WIDE),
            ("difference", "residual-add", 1, (_WIDE, _WIDE), _WIDE),
            ("weigh", "multiply-rows", 1, (_WIDE,), _WIDE),
            ("merge", "residual-add", 1, (_WIDE, _WIDE), _WIDE),
        )
    before = op.name
    for what, cascade, tensors, reads, written in passes:
        many = float(rounds * tensors * each)
        name = f"{op.name}_{what}"
        sizes = {"t": dict(op.sizes)["p"] * rounds, "d": round(tensors * each / dict(op.sizes)["p"])}
        moved = [
            Operand("XF"[at], "read", many, of, activation=f"{name}_source", whole_elements=each)
            for at, of in enumerate(reads)
        ]
        moved.append(Operand("Y", "write", many, written, activation=f"{name}_result", whole_elements=each))
        yield make_op(op, name, "elementwise", cascade, sizes, moved, (before,))
        before = name
