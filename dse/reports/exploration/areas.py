"""What the area of one design is made of: terms of the space's own area quantities, and costed parts of its machine.

A space may say an area as a sum (``20 + 0.0005 * macs + bandwidth / 20e9``): its terms are the pieces. A machine whose
engines are built of hardware units at a node, or whose SRAM tiers say their macros, has areas of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dse.reports.exploration.labels import metric_label, metric_unit
from dse.space.expression import Expression, parse_expression
from dse.space.space import Space
from hw.spec.system import System

__all__ = ["AreaPiece", "AreaStack", "area_stacks"]

_MM2 = {"mm²": 1.0, "µm²": 1e-6}
_FIXED = "fixed"


@dataclass(frozen=True)
class AreaPiece:
    """One piece: what it is called, ``text`` that says it in full, and its area."""

    name: str
    text: str
    area_mm2: float


@dataclass(frozen=True)
class AreaStack:
    """Pieces that add up to one area; ``source`` says where the numbers are from."""

    title: str
    source: str
    pieces: tuple[AreaPiece, ...]


def area_stacks(space: Space, system: System, numbers: Mapping[str, Any]) -> tuple[AreaStack, ...]:
    """The stacks of a design whose ``numbers`` (parameters, metrics, quantities, ``system.`` fields) are known.

    Quantities with a piece below zero, or one that cannot be had, are left out: they are no stack.
    """
    stacks = []
    for name, expression in space.quantity_expressions.items():
        scale = _MM2.get(metric_unit(name))
        if scale is None:
            continue
        terms = list(_terms(expression, space.quantity_expressions, 1))
        if not all(needed in numbers for term in terms for needed in term.names):
            continue
        pieces = _merged(
            AreaPiece(", ".join(term.names) or _FIXED, _text(term), scale * float(term.value(numbers)))
            for term in terms
        )
        if all(piece.area_mm2 >= 0 for piece in pieces):
            stacks.append(AreaStack(metric_label(name), space.quantities[name].source, pieces))
    costed = tuple(_costed(system))
    if costed:
        stacks.append(AreaStack("costed parts", "hardware units (cells alone) and SRAM macros at their nodes", costed))
    return tuple(stacks)


def _terms(expression: Expression, quantities: Mapping[str, Expression], sign: int) -> Iterator[Expression]:
    """The terms of a sum, those of quantities that stand alone in it included."""
    tree = expression.tree
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub):
        yield from _terms(_part(expression, tree.left), quantities, sign)
        yield from _terms(_part(expression, tree.right), quantities, sign if isinstance(tree.op, ast.Add) else -sign)
    elif expression.alone in quantities and metric_unit(expression.alone or "") in _MM2:
        yield from _terms(quantities[expression.alone or ""], quantities, sign)
    else:
        yield expression if sign > 0 else parse_expression(f"-({expression.text})")


def _part(whole: Expression, tree: ast.expr) -> Expression:
    """A part of an expression, in the words of the file."""
    return parse_expression(ast.get_source_segment(whole.text, tree) or ast.unparse(tree))


def _text(term: Expression) -> str:
    return term.text.replace("*", "×")


def _merged(found: Iterable[AreaPiece]) -> tuple[AreaPiece, ...]:
    """Pieces of one name as one."""
    named: dict[str, list[AreaPiece]] = {}
    for piece in found:
        named.setdefault(piece.name, []).append(piece)
    return tuple(
        AreaPiece(name, " + ".join(piece.text for piece in alike), sum(piece.area_mm2 for piece in alike))
        for name, alike in named.items()
    )


def _costed(system: System) -> Iterator[AreaPiece]:
    for name, engine in system.engines.items():
        area = None if engine.rtl is None else engine.rtl.area_mm2
        if engine.rtl is not None and area is not None:
            text = f"{engine.rtl.copies:,} × {engine.rtl.unit} at {engine.rtl.node_nm:g} nm"
            yield AreaPiece(name, text, area)
    for name, tier in system.tiers.items():
        if tier.macro is None:
            continue
        from hw.cost.sram import sram  # the model takes time to load: most tiers have no macro

        macro = tier.macro
        cost = sram(
            max(1, round(tier.capacity_bytes / macro.copies)),
            word_bits=macro.word_bits,
            banks=macro.banks,
            ports=macro.ports,
            node_nm=macro.node_nm,
        )
        text = f"{macro.copies:,} × {macro.banks} banks of SRAM at {macro.node_nm:g} nm"
        yield AreaPiece(name, text, macro.copies * cost.area_mm2)
