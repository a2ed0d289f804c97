"""Cascade to text: what ``parse_cascade`` reads back as an equal cascade."""

from __future__ import annotations

import json
import math

from workloads.einsum.expressions import Access, Call, Constant, Coordinate, Expression, Index, Number, Size, Term
from workloads.einsum.ir import Cascade, Einsum, OperatorDefinition, Tensor
from workloads.einsum.operators import INFIX

__all__ = ["print_access", "print_cascade", "print_einsum", "print_expression", "print_index"]

_COMPARISON = 3


def print_cascade(cascade: Cascade) -> str:
    """The cascade as text, one statement a line; parsing it gives an equal cascade."""
    lines = [f"cascade {cascade.name}"]
    lines += [f"doc {json.dumps(line, ensure_ascii=False)}" for line in _lines(cascade.doc)]
    lines += [f"source {json.dumps(line, ensure_ascii=False)}" for line in _lines(cascade.source)]
    lines += [] if cascade.bits is None else [f"bits {cascade.bits}"]
    lines += [f"const {constant.name} = {print_expression(constant.value)}" for constant in cascade.constants]
    for rank in cascade.ranks:
        lines.append(f"rank {rank.name}" + ("" if rank.size is None else f" = {print_expression(rank.size)}"))
    lines += [f"split {split.rank} -> {split.outer}, {split.inner}" for split in cascade.splits]
    lines += [_operator(operator) for operator in cascade.operators]
    declared = {tensor.name: tensor for tensor in cascade.declared}
    lines += [f"input {_shape(declared[name])}" for name in cascade.inputs]
    lines += [
        f"tensor {_shape(t)}"
        for t in cascade.declared
        if t.name not in cascade.inputs and t.name not in cascade.outputs
    ]
    lines += [f"output {_shape(declared[name]) if name in declared else name}" for name in cascade.outputs]
    lines += [print_einsum(einsum) for einsum in cascade.einsums]
    return "\n".join(lines) + "\n"


def print_einsum(einsum: Einsum) -> str:
    """One Einsum as a statement."""
    text = f"{print_access(einsum.output)} = {print_expression(einsum.expression)}"
    if einsum.reduction is not None:
        into = f" -> {einsum.reduction.into}" if einsum.reduction.into is not None else ""
        text += f" :: {einsum.reduction.operator}({', '.join(einsum.reduction.ranks)}{into})"
    if einsum.condition is not None:
        text += f" where {print_expression(einsum.condition)}"
    if einsum.fill is not None:
        text += f" else {print_expression(einsum.fill)}"
    return text


def print_access(access: Access) -> str:
    """A tensor at its index."""
    return f"{access.tensor}[{', '.join(print_index(index) for index in access.indices)}]"


def print_index(index: Index) -> str:
    """An affine index."""
    text = _term(index.terms[0], leading=True)
    for term in index.terms[1:]:
        text += f" {'-' if term.coefficient < 0 else '+'} {_term(term, leading=False)}"
    return text


def print_expression(expression: Expression, weakest: int = 0) -> str:
    """An expression, in parentheses only where its context binds as tightly as ``weakest`` or tighter."""
    match expression:
        case Number(value):
            return _number(value)
        case Size(rank):
            return f"|{rank}|"
        case Constant(name):
            return name
        case Coordinate(rank):
            return rank
        case Access():
            return print_access(expression)
        case Call(operator, arguments):
            return _call(operator, arguments, weakest)


def _call(operator: str, arguments: tuple[Expression, ...], weakest: int) -> str:
    if operator == "neg":
        inner = arguments[0]
        simple = isinstance(inner, Size | Constant | Coordinate | Access) or (
            isinstance(inner, Call) and inner.operator not in INFIX and inner.operator != "neg"
        )
        return f"-{print_expression(inner)}" if simple else f"-({print_expression(inner)})"
    if operator not in INFIX:
        return f"{operator}({', '.join(print_expression(argument) for argument in arguments)})"
    symbol, strength = INFIX[operator]
    left, right = arguments
    # Operators of one strength group to the left; comparisons do not chain at all.
    before = print_expression(left, strength + (strength == _COMPARISON))
    text = f"{before} {symbol} {print_expression(right, strength + 1)}"
    return f"({text})" if strength < weakest else text


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []


def _number(value: float) -> str:
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return (
        str(int(value)) if value == int(value) and abs(value) < 1e15 and not _is_negative_zero(value) else repr(value)
    )


def _is_negative_zero(value: float) -> bool:
    return value == 0 and math.copysign(1.0, value) < 0


def _operator(operator: OperatorDefinition) -> str:
    head = f"{operator.name}({', '.join(operator.parameters)}) = {print_expression(operator.body)}"
    if operator.identity is None:
        return f"op {head}"
    return f"reduce {head} from {print_expression(operator.identity)}"


def _shape(tensor: Tensor) -> str:
    density = "" if tensor.density is None else f" density {print_expression(tensor.density)}"
    number_format = "" if tensor.format is None else f" format {tensor.format}"
    return f"{tensor.name}[{', '.join(tensor.ranks)}]{density}{number_format}"


def _term(term: Term, leading: bool) -> str:
    parts = [f"|{factor.rank}|" if isinstance(factor, Size) else factor.name for factor in term.factors]
    if term.base is not None:
        parts.insert(0, term.base if isinstance(term.base, str) else print_access(term.base))
    size = abs(term.coefficient)
    if size != 1 or not parts:
        parts.insert(0, str(size))
    return ("-" if leading and term.coefficient < 0 else "") + "*".join(parts)
