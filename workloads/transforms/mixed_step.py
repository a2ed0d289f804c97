"""A decode step with prompts in it: one pass over the weights for the new tokens of both.

What works on tokens one by one sees them all at once, as in engines that batch prompts and decodes together (Orca, OSDI
2022; MoE-Lens, arXiv 2504.09345, section 5). Attention stays apart: that of the prompts over what they have just made,
that of the decodes over their cache, so that the two may run on different engines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.lower import lower
from workloads.models.lower_feed_forward import ExpertShare
from workloads.phases import Decode, Prefill
from workloads.workload import Layer, Op, Operand, Step, Workload

__all__ = ["PROMPTS", "with_prompts"]

PROMPTS = "prompt_attention"
"""The operation of the prompts' attention."""

_DECODED = "attended_decodes"


def with_prompts(
    model: Model,
    prompts: int,
    tokens: int,
    formats: FormatChoice | None = None,
    *,
    experts: ExpertShare | None = None,
) -> Callable[[Workload], Workload]:
    """The change of a decode step of ``model`` that takes ``prompts`` prompts of ``tokens`` tokens each along.

    ``experts`` divides experts over devices, as in the step. Raises `InputError` for another phase, for fewer than one
    prompt or token and where layers have other attention than one over a cache of keys and values.
    """

    def change(workload: Workload) -> Workload:
        phase = workload.phase
        if not isinstance(phase, Decode):
            raise InputError(f"prompts in {phase.name}", expected="decode", field="phase")
        new = prompts * tokens + phase.batch
        every = _layers(lower(model, Prefill(1, new), formats, devices=workload.devices, experts=experts))
        read = _layers(lower(model, Prefill(prompts, tokens), formats, devices=workload.devices, experts=experts))
        ends = _layers(
            lower(model, Decode(prompts + phase.batch, 1), formats, devices=workload.devices, experts=experts)
        )
        mixed = {}
        for layer, _ in workload.layers():
            attention = [op for op in layer.ops if op.kind == "attention"]
            if len(attention) > 1 or (attention and attention[0].name != "attention"):
                raise InputError(f"{workload.model} has other attention", "a decoder", "policy")
            whole = ends if layer.name == "head" else every
            mixed[layer.name] = _mixed(layer, whole[layer.name], read[layer.name], attention)
        runs = tuple(replace(run, pattern=tuple(mixed[layer.name] for layer in run.pattern)) for run in workload.runs)
        return replace(workload, runs=runs)

    return change


def _layers(workload: Workload) -> dict[str, Layer]:
    return {layer.name: layer for layer, _ in workload.layers()}


def _mixed(decodes: Layer, every: Layer, prompts: Layer, attention: list[Op]) -> Layer:
    """The steps of ``every`` over all new tokens, with both attentions in place of its own; the decodes' cache."""
    if not attention:
        return replace(every, stored=decodes.stored)
    (read,) = (op for op in prompts.ops if op.name == "attention")
    steps: list[Step] = []
    for step in every.steps:
        if step.name == "attention":
            # The decodes' last: what comes after may wait for it alone while the prompts' runs elsewhere.
            steps.append(replace(read, name=PROMPTS, after=step.after))
            steps.append(replace(_renamed(attention[0], "attended", _DECODED), after=step.after))
            continue
        after = (*step.after, PROMPTS) if "attention" in step.after else step.after
        step = replace(step, after=after)
        steps.append(_reading_both(step, read, attention[0]) if isinstance(step, Op) else step)
    return replace(every, steps=tuple(steps), stored=decodes.stored)


def _renamed(op: Op, before: str, now: str) -> Op:
    operands = (replace(o, activation=now) if o.activation == before else o for o in op.operands)
    return replace(op, operands=tuple(operands))


def _reading_both(step: Op, prompts: Op, decodes: Op) -> Op:
    """Who reads what attention made reads what either made."""
    operands: list[Operand] = []
    for operand in step.operands:
        if operand.activation != "attended" or operand.access == "write":
            operands.append(operand)
            continue
        for made, name in ((prompts, "attended"), (decodes, _DECODED)):
            size = next(o.elements for o in made.operands if o.access == "write")
            operands.append(replace(operand, activation=name, elements=size))
    return replace(step, operands=tuple(operands))
