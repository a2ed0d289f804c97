"""Quantities and constraints of a space over the numbers of one design, or over arrays of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.space.space import Space

__all__ = ["Numbers", "early_constraints", "quantities", "violated"]

Numbers = dict[str, Any]
"""Names of parameters, system fields, metrics and quantities with their numbers."""


def quantities(space: Space, numbers: Numbers) -> Numbers:
    """``numbers`` with the quantities that can be worked out of them."""
    result = dict(numbers)
    for name, expression in space.quantity_expressions.items():
        if all(needed in result for needed in expression.names):
            result[name] = expression.value(result)
    return result


def early_constraints(space: Space, known: Mapping[str, Any]) -> list[int]:
    """Constraints that can be judged by ``known`` alone, before anything is simulated."""
    return [at for at, e in enumerate(space.constraint_expressions) if all(name in known for name in e.names)]


def violated(
    space: Space, which: list[int], numbers: Numbers, count: int, say: Callable[[int], str]
) -> NDArray[np.object_]:
    """For each of ``count`` designs the first constraint of ``which`` it breaks, in the words of ``say``; '' for none.

    A constraint whose value is not a number is broken.
    """
    reasons = np.full(count, "", dtype=object)
    for at in which:
        constraint = space.constraints[at]
        value = np.broadcast_to(np.asarray(space.constraint_expressions[at].value(numbers), dtype=float), (count,))
        kept = value <= constraint.bound if constraint.at_most is not None else value >= constraint.bound
        reasons[~kept & (reasons == "")] = say(at)
    return reasons
