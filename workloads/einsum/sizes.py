"""Numbers for the symbols of a cascade: rank sizes and constants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from workloads.einsum.expressions import Call, Constant, Expression, Index, Number, Size
from workloads.einsum.ir import Cascade, Tensor
from workloads.einsum.operators import MAPS, lowest
from workloads.errors import InputError, unknown_name

__all__ = ["evaluate_constant", "index_constant", "resolve_sizes", "tensor_shape"]


def resolve_sizes(cascade: Cascade, sizes: Mapping[str, float]) -> dict[str, float]:
    """Every rank's size and every constant's value, given at least the ones that have no default.

    ``sizes`` maps ranks (and constants to override) to numbers; averages that are not whole are allowed. Outer pieces
    of a split default to ``ceil(|rank| / |inner|)``. Raises InputError for an unknown name, a missing size or a size
    below 0.
    """
    known = _symbols(cascade)
    values: dict[str, float] = {}
    for name, value in sizes.items():
        if name not in known:
            raise unknown_name("rank or constant", name, known, field=f"{cascade.name}.sizes")
        least = 0 if name in cascade.rank_names else -math.inf
        if not math.isfinite(value) or value < least:
            rule = "a number of at least 0" if least == 0 else "a finite number"
            raise InputError(f"size {value}", rule, field=f"{cascade.name}.sizes.{name}")
        values[name] = value
    pending = [name for name in known if name not in values]
    while pending:
        left = [name for name in pending if not _settle(cascade, name, values)]
        if len(left) == len(pending):
            raise InputError(
                f"no size for rank {left[0]!r}",
                f"a number for each of {', '.join(left)}",
                field=f"{cascade.name}.sizes",
            )
        pending = left
    for rank in cascade.ranks:
        if not 0 <= values[rank.name] < math.inf:
            field = f"{cascade.name}.sizes.{rank.name}"
            raise InputError(f"its default is {values[rank.name]:g} with these sizes", "a number of at least 0", field)
    return values


def evaluate_constant(cascade: Cascade, expression: Expression, values: Mapping[str, float]) -> float:
    """The value of an expression of numbers, sizes and constants. Raises KeyError for a symbol without a value."""
    match expression:
        case Number(value):
            return value
        case Size(name) | Constant(name):
            return lowest if name == "lowest" else values[name]
        case Call(operator, arguments):
            numbers = [evaluate_constant(cascade, argument, values) for argument in arguments]
            if operator in ("add", "sub", "mul", "max", "min"):
                a, b = numbers
                return {"add": a + b, "sub": a - b, "mul": a * b, "max": max(a, b), "min": min(a, b)}[operator]
            if operator in MAPS:
                with np.errstate(all="ignore"):
                    return float(MAPS[operator].apply(*numbers))
            body = next(definition for definition in cascade.operators if definition.name == operator)
            return evaluate_constant(cascade, body.body, {**values, **dict(zip(body.parameters, numbers, strict=True))})
        case _:
            raise TypeError("not a constant expression")


def index_constant(index: Index, values: Mapping[str, float]) -> float:
    """The sum of an index's terms without a rank."""
    total = 0.0
    for term in index.terms:
        if term.base is None:
            part = float(term.coefficient)
            for factor in term.factors:
                part *= values[factor.rank if isinstance(factor, Size) else factor.name]
            total += part
    return total


def tensor_shape(tensor: Tensor, values: Mapping[str, float]) -> tuple[float, ...]:
    """The number of coordinates on each axis."""
    return tuple((values[dim.rank] if dim.rank else 0) + dim.extra for dim in tensor.dims)


@lru_cache(maxsize=1024)
def _symbols(cascade: Cascade) -> dict[str, None]:
    return dict.fromkeys((*cascade.rank_names, *(constant.name for constant in cascade.constants)))


@lru_cache(maxsize=1024)
def _defaults(cascade: Cascade) -> dict[str, Expression]:
    table = {rank.name: rank.size for rank in cascade.ranks if rank.size is not None}
    return table | {constant.name: constant.value for constant in cascade.constants}


def _settle(cascade: Cascade, name: str, values: dict[str, float]) -> bool:
    """Gives ``name`` its default if all that the default needs is known."""
    default = _defaults(cascade).get(name)
    try:
        if default is not None:
            values[name] = evaluate_constant(cascade, default, values)
            return True
        for split in cascade.splits:
            if name == split.outer:
                values[name] = float(math.ceil(values[split.rank] / max(values[split.inner], 1)))
                return True
            if name == split.rank:
                values[name] = values[split.outer] * values[split.inner]
                return True
    except (KeyError, OverflowError, ValueError):
        pass
    return False
