"""Attention in small batches, experts in one large one: module-based batching (MoE-Gen, arXiv 2503.09716).

Attention's activations and its keys and values in flight grow with its batch, while an expert's weights, once brought
in, serve every token that chose it. So attention runs over parts of the batch, one after another, and the router and
the experts of a layer wait for all of them and run over the tokens of the whole batch.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.errors import InputError
from workloads.workload import Layer, Op, Run, Step, Workload

__all__ = ["gathered_experts"]


def gathered_experts(whole: Workload, part: Workload, count: int) -> Workload:
    """``whole`` with what stands before each router done in ``count`` parts, each as in ``part``.

    Both are lowered from one model, ``part`` for a batch ``count`` times smaller. Raises `InputError` where they do not
    fit each other, and for a model without experts.
    """
    if count < 1 or part.phase != replace(whole.phase, batch=whole.phase.batch // count) or whole.phase.batch % count:
        raise InputError(
            f"{count} parts of batch {part.phase.batch} of a batch of {whole.phase.batch}",
            expected="parts that make up the batch",
            field="batch",
        )
    if count == 1:
        return whole
    small = {layer.name: layer for layer, _ in part.layers()}
    made = {layer.name: _gathered(layer, small[layer.name], count) for layer, _ in whole.layers()}
    if all(made[layer.name] is layer for layer, _ in whole.layers()):
        raise InputError(f"{whole.model} has no experts", expected="a mixture-of-experts model", field="model")
    runs = tuple(Run(tuple(made[layer.name] for layer in run.pattern), run.count) for run in whole.runs)
    return replace(whole, runs=runs)


def _gathered(layer: Layer, small: Layer, count: int) -> Layer:
    names = [step.name for step in layer.steps]
    if "router" not in names:
        return layer
    before = set(names[: names.index("router")])
    rest = [step for step in layer.steps if step.name not in before]
    handed_on = {o.activation for step in rest if isinstance(step, Op) for o in step.operands if o.access == "read"}
    steps: list[Step] = []
    for number in range(count):
        steps += [_of_part(step, number, before, handed_on) for step in small.steps if step.name in before]
    for step in rest:
        after = [
            name
            for waited in step.after
            for name in ([f"{waited}, part {number}" for number in range(count)] if waited in before else [waited])
        ]
        steps.append(replace(step, after=tuple(after)))
    return Layer(layer.name, tuple(steps), layer.stored)


def _of_part(step: Step, number: int, before: set[str], handed_on: set[str | None]) -> Step:
    """``step`` of a part; what the experts read of it goes into the activation of the whole batch."""
    suffix = f", part {number}"
    after = tuple(f"{name}{suffix}" if name in before else name for name in step.after)
    if not isinstance(step, Op):
        return replace(step, name=f"{step.name}{suffix}", after=after)
    operands = tuple(
        replace(o, activation=f"{o.activation}{suffix}")
        if o.activation in before and o.activation not in handed_on
        else o
        for o in step.operands
    )
    return replace(step, name=f"{step.name}{suffix}", after=after, operands=operands)
