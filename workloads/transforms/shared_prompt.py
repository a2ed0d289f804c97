"""Attention over a prompt that all sequences share: its keys and values are stored and read once.

Zhu et al., RelayAttention, ACL 2024 (arXiv 2402.14808), section 3.2; Juravsky et al., Hydragen (arXiv 2402.05099). The
shared part is one attention of all sequences' queries, the own part is as before over fewer keys, and the two results
are merged by the logarithms of their sums of exponentials: the same numbers as one attention over both.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.errors import InputError
from workloads.transforms.edit import DecodeAttention, edit_decode_attention, make_op, substitute, with_stored
from workloads.workload import Layer, Op, Operand, Workload

__all__ = ["relay", "relay_steps"]


def relay(workload: Workload, shared_tokens: int) -> Workload:
    """A decode step whose sequences all begin with the same ``shared_tokens`` tokens.

    Of a layer that attends to a window the shared part is what the window still reaches. Raises `InputError` when no
    token is left to each sequence.
    """
    context = workload.phase.context
    if not 0 < shared_tokens < context:
        raise InputError(
            f"{shared_tokens} shared tokens in a context of {context}",
            expected=f"1 to {context - 1}",
            field="policy",
        )

    def edit(layer: Layer, attention: DecodeAttention) -> Layer:
        shared = attention.keys - (context - shared_tokens)
        if shared <= 0:
            return layer
        per_token = attention.cache.elements / attention.batch / attention.keys
        own = replace(attention.cache, elements=attention.batch * (attention.keys - shared) * per_token)
        system = replace(attention.cache, name="system_kv_cache", elements=shared * per_token)
        return substitute(with_stored(layer, own, system), "attention", relay_steps(attention, shared, system.name))

    return edit_decode_attention(workload, "relay attention", edit)


def relay_steps(attention: DecodeAttention, shared: int, stored: str) -> tuple[Op, Op, Op]:
    """Attention over ``shared`` keys of the tensor ``stored``, over each sequence's others, and the merge."""
    op, batch = attention.op, attention.batch
    rows = batch * attention.heads * attention.group
    form = attention.operand("AV").format

    def part(over: Op, name: str, queries: tuple[int, int], *, once: bool) -> Op:
        """One partial attention; ``once`` for keys and values that are read once for all sequences."""
        sizes = dict(over.sizes) | {"b": queries[0], "p": queries[1]}
        operands = [Operand("LSE", "write", rows, "fp32", activation=f"{name}_sums")]
        for operand in over.operands:
            if operand.access == "write":
                operands.append(replace(operand, activation=f"{name}_part"))
            elif operand.stored is not None and once:
                operands.append(replace(operand, elements=operand.elements / batch, stored=stored))
            else:
                operands.append(operand)
        return make_op(op, name, "attention", "attention-1pass-lse", sizes, operands, ())

    system = part(attention.over(shared), "attention_shared", (1, batch), once=True)
    own = part(attention.over(attention.keys - shared), "attention", (batch, 1), once=False)
    elements = rows * attention.value_width
    parts = [Operand("AVX", "read", elements, form, activation=f"{part.name}_part") for part in (system, own)]
    sums = [Operand("LSE", "read", rows, "fp32", activation=f"{part.name}_sums") for part in (system, own)]
    merge = make_op(
        op, "attention_merge", "elementwise", "attention-merge", {"x": 2, "p": rows, "f": attention.value_width},
        (*parts, *sums, attention.operand("AV")), (system.name, own.name),
    )  # fmt: skip
    return system, own, merge
