"""The built-in operators: what each map and reduce operator is called, takes and computes.

Map operators act on points, reduce operators fold the ranks that an Einsum's output lacks. A cascade may define further
ones from these (``op`` and ``reduce`` statements).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["INFIX", "MAPS", "REDUCES", "SELECTIONS", "MapOperator", "ReduceOperator", "lowest"]

Array = NDArray[np.float64]

lowest = float(np.finfo(np.float64).min)
"""The most negative finite float64: the start of a running maximum whose difference with itself must be 0, not NaN."""


@dataclass(frozen=True, slots=True)
class MapOperator:
    """A function of ``arity`` values, applied point by point; ``apply`` broadcasts numpy arrays."""

    name: str
    arity: int
    apply: Callable[..., Array]


@dataclass(frozen=True, slots=True)
class ReduceOperator:
    """An associative fold with its ``identity``; ``apply(array, axes)`` folds the named axes."""

    name: str
    identity: float
    apply: Callable[[Array, tuple[int, ...]], Array]


_erf = np.frompyfunc(math.erf, 1, 1)


def _truth(function: Callable[..., NDArray[np.bool_]]) -> Callable[..., Array]:
    def apply(*values: Array) -> Array:
        return function(*values).astype(np.float64)

    return apply


def _sigmoid(x: Array) -> Array:
    # The tanh form cannot overflow, unlike 1 / (1 + exp(-x)).
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(x)))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def _apply_erf(x: Array) -> Array:
    return np.asarray(_erf(x), dtype=np.float64)


def _rsqrt(x: Array) -> Array:
    return 1.0 / np.sqrt(x)


def _select(condition: Array, chosen: Array, otherwise: Array) -> Array:
    return np.where(np.not_equal(condition, 0.0), chosen, otherwise)


def _maps() -> dict[str, MapOperator]:
    unary: dict[str, Callable[..., Array]] = {
        "neg": np.negative,
        "exp": np.exp,
        "log": np.log,
        "log1p": np.log1p,
        "sqrt": np.sqrt,
        "rsqrt": _rsqrt,
        "sigmoid": _sigmoid,
        "tanh": np.tanh,
        "erf": _apply_erf,
        "softplus": _softplus,
        "abs": np.abs,
        "floor": np.floor,
        "ceil": np.ceil,
        "round": np.round,
        "sin": np.sin,
        "cos": np.cos,
        "sign": np.sign,
        "not": _truth(np.logical_not),
    }
    binary: dict[str, Callable[..., Array]] = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "div": np.divide,
        "max": np.maximum,
        "min": np.minimum,
        "pow": np.power,
        "mod": np.mod,
        "eq": _truth(np.equal),
        "ne": _truth(np.not_equal),
        "lt": _truth(np.less),
        "le": _truth(np.less_equal),
        "gt": _truth(np.greater),
        "ge": _truth(np.greater_equal),
        "and": _truth(np.logical_and),
        "or": _truth(np.logical_or),
    }
    table = {name: MapOperator(name, 1, function) for name, function in unary.items()}
    table |= {name: MapOperator(name, 2, function) for name, function in binary.items()}
    table["select"] = MapOperator("select", 3, _select)
    return table


MAPS: dict[str, MapOperator] = _maps()
"""Map operators by name. Comparisons and logic give 1.0 or 0.0; ``select(c, a, b)`` is a where c is not 0, else b."""

REDUCES: dict[str, ReduceOperator] = {
    "add": ReduceOperator("add", 0.0, lambda x, axes: np.sum(x, axis=axes)),
    "mul": ReduceOperator("mul", 1.0, lambda x, axes: np.prod(x, axis=axes)),
    "max": ReduceOperator("max", -math.inf, lambda x, axes: np.max(x, axis=axes, initial=-math.inf)),
    "min": ReduceOperator("min", math.inf, lambda x, axes: np.min(x, axis=axes, initial=math.inf)),
    "and": ReduceOperator("and", 1.0, lambda x, axes: np.all(x != 0.0, axis=axes).astype(np.float64)),
    "or": ReduceOperator("or", 0.0, lambda x, axes: np.any(x != 0.0, axis=axes).astype(np.float64)),
}
"""Reduce operators by name."""

SELECTIONS: dict[str, bool] = {"argmax": False, "argmin": False, "topk": True, "argtopk": True}
"""Reduces of one rank that choose elements; True where they write the chosen ones along a new rank (``x -> k``).

``topk`` gives the largest values in falling order, ``argtopk`` their coordinates; ties go to the lower coordinate.
"""

INFIX: dict[str, tuple[str, int]] = {
    "or": ("or", 1),
    "and": ("and", 2),
    "lt": ("<", 3),
    "le": ("<=", 3),
    "gt": (">", 3),
    "ge": (">=", 3),
    "eq": ("==", 3),
    "ne": ("!=", 3),
    "add": ("+", 4),
    "sub": ("-", 4),
    "mul": ("*", 5),
    "div": ("/", 5),
}
"""Map operators that are written between their operands: symbol and binding strength (higher binds tighter)."""
