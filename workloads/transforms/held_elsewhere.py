"""A decode step whose sequences have a part of their keys and values with others, who attend to that part.

The holders get the queries and give back their results with the logarithms of their sums of exponentials, which are
merged: per sequence and layer a few rows travel whatever the context (Infinite-LLM, arXiv 2401.02669, section 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workloads.errors import InputError
from workloads.transforms.edit import DecodeAttention, edit_decode_attention, make_op, substitute, with_stored
from workloads.workload import Layer, Op, Operand, Workload

__all__ = ["AWAY", "AWAY_CACHE", "held_elsewhere"]

AWAY, AWAY_CACHE = "attention_away", "away_kv_cache"
"""The attention over what lies elsewhere, and the tensor it reads."""


def held_elsewhere(tokens: int) -> Callable[[Workload], Workload]:
    """The change of a decode step that has the first ``tokens`` of each context with others.

    Of a layer that attends to a window that is what the window still reaches. Raises `InputError` where none is left
    to the step itself.
    """

    def change(workload: Workload) -> Workload:
        context = workload.phase.context
        if not 0 < tokens < context:
            raise InputError(f"{tokens} tokens elsewhere of {context}", f"1 to {context - 1}", "policy")

        def edit(layer: Layer, attention: DecodeAttention) -> Layer:
            away = attention.keys - (context - tokens)
            if away <= 0:
                return layer
            per_token = attention.cache.elements / attention.keys
            own = replace(attention.cache, elements=(attention.keys - away) * per_token)
            others = replace(attention.cache, name=AWAY_CACHE, elements=away * per_token)
            return substitute(with_stored(layer, own, others), "attention", _parts(attention, away))

        return edit_decode_attention(workload, "attention elsewhere", edit)

    return change


def _parts(attention: DecodeAttention, away: int) -> tuple[Op, Op, Op]:
    op, rows = attention.op, attention.batch * attention.heads * attention.group

    def part(over: Op, name: str, stored: str | None) -> Op:
        operands = [Operand("LSE", "write", rows, "fp32", activation=f"{name}_sums")]
        for operand in over.operands:
            if operand.access == "write":
                operands.append(replace(operand, activation=f"{name}_part"))
            elif operand.stored is not None and stored is not None:
                operands.append(replace(operand, stored=stored))
            else:
                operands.append(operand)
        return make_op(op, name, "attention", "attention-1pass-lse", dict(over.sizes), operands, ())

    others = part(attention.over(away), AWAY, AWAY_CACHE)
    own = part(attention.over(attention.keys - away), "attention", None)
    elements, form = rows * attention.value_width, attention.operand("AV").format
    results = [Operand("AVX", "read", elements, form, activation=f"{one.name}_part") for one in (others, own)]
    sums = [Operand("LSE", "read", rows, "fp32", activation=f"{one.name}_sums") for one in (others, own)]
    merge = make_op(
        op, "attention_merge", "elementwise", "attention-merge", {"x": 2, "p": rows, "f": attention.value_width},
        (*results, *sums, attention.operand("AV")), (others.name, own.name),
    )  # fmt: skip
    return others, own, merge
