"""Arithmetic in space files: ``2 * macs * clock``, over numbers or over arrays of many designs at once.

Names may be dotted (``decode.latency_s``). There are + - * / // % **, comparisons, ``and or not``, and the functions of
`FUNCTIONS`; nothing else can be said, so a file cannot do anything but compute.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from workloads.errors import InputError, unknown_name

__all__ = ["FUNCTIONS", "Expression", "parse_expression"]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": lambda *values: reduce(np.minimum, values),
    "max": lambda *values: reduce(np.maximum, values),
    "ceil": np.ceil,
    "floor": np.floor,
    "round": np.round,
    "abs": np.abs,
    "log2": np.log2,
    "sqrt": np.sqrt,
    "where": np.where,
}

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.And: np.logical_and,
    ast.Or: np.logical_or,
}


@dataclass(frozen=True)
class Expression:
    """One expression: its ``text``, and the ``names`` it needs in the order they first stand."""

    text: str
    names: tuple[str, ...]
    tree: ast.expr

    @property
    def alone(self) -> str | None:
        """The name, where the expression is one name and nothing else: its value may then be text."""
        return self.names[0] if self.text.strip() == (self.names or ("",))[0] else None

    def value(self, names: Mapping[str, Any]) -> Any:
        """Its value, numbers or arrays as ``names`` has them. Raises `InputError` where a name is not there."""
        with np.errstate(all="ignore"):  # not a number is seen, and said, where the value is used
            return _value(self.tree, names, self.text)

    def needs(self, known: Iterable[str]) -> None:
        """Raise `InputError` about the first name that is not in ``known``."""
        valid = list(known)
        for name in self.names:
            if name not in valid:
                raise unknown_name("name", name, valid)


def parse_expression(text: str | float | int) -> Expression:
    """The expression that ``text`` says; `InputError` for anything else than arithmetic."""
    written = str(text)
    try:
        tree = ast.parse(written, mode="eval").body
    except (SyntaxError, ValueError):
        raise InputError(
            f"found {written!r}", "arithmetic over names and numbers, such as '2 * macs * clock'"
        ) from None
    names: list[str] = []
    _check(tree, names)
    return Expression(written, tuple(dict.fromkeys(names)), tree)


def _check(node: ast.expr, names: list[str]) -> None:
    dotted = _dotted(node)
    if dotted is not None:
        names.append(dotted)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
        pass
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        _check(node.left, names)
        _check(node.right, names)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd | ast.Not):
        _check(node.operand, names)
    elif isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(part, names)
    elif isinstance(node, ast.Compare) and all(type(op) in _BINARY for op in node.ops):
        for part in (node.left, *node.comparators):
            _check(part, names)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in FUNCTIONS:
            raise unknown_name("function", node.func.id, FUNCTIONS)
        for part in node.args:
            _check(part, names)
    else:
        raise InputError(f"found {ast.unparse(node)!r}", f"arithmetic, comparisons, or one of {', '.join(FUNCTIONS)}")


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        start = _dotted(node.value)
        return None if start is None else f"{start}.{node.attr}"
    return None


def _value(node: ast.expr, names: Mapping[str, Any], text: str) -> Any:
    dotted = _dotted(node)
    if dotted is not None:
        if dotted not in names:
            raise unknown_name("name", dotted, names)
        return names[dotted]
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp):
        return _operate(type(node.op), _value(node.left, names, text), _value(node.right, names, text), text)
    if isinstance(node, ast.UnaryOp):
        operand = _value(node.operand, names, text)
        if isinstance(node.op, ast.Not):
            return np.logical_not(operand)
        return -operand if isinstance(node.op, ast.USub) else operand
    if isinstance(node, ast.BoolOp):
        return reduce(_BINARY[type(node.op)], (_value(part, names, text) for part in node.values))
    if isinstance(node, ast.Compare):
        sides = [_value(part, names, text) for part in (node.left, *node.comparators)]
        pairs = (_operate(type(op), a, b, text) for op, a, b in zip(node.ops, sides, sides[1:], strict=False))
        return reduce(np.logical_and, pairs)
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    try:
        return FUNCTIONS[node.func.id](*(_value(part, names, text) for part in node.args))
    except TypeError:
        raise InputError(f"{node.func.id} cannot be had of these values in {text!r}", "numbers") from None


def _operate(kind: type[ast.AST], a: Any, b: Any, text: str) -> Any:
    try:
        return _BINARY[kind](a, b)
    except TypeError:
        words = ", ".join(repr(np.ravel(side)[0]) for side in (a, b) if np.asarray(side).dtype.kind in "OU")
        raise InputError(f"found the word {words} in {text!r}", "numbers") from None
