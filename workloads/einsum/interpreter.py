"""Runs a cascade on numpy arrays: the functional reference for everything that is built from it.

Einsums run whole, vectorised over their ranks, except that running ranks are stepped through as the cascade says.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from workloads.einsum.expressions import Access, Call, Constant, Coordinate, Expression, Number, Size
from workloads.einsum.fold import contract, fold, select_along
from workloads.einsum.ir import Cascade, Einsum
from workloads.einsum.operators import MAPS, REDUCES, SELECTIONS, lowest
from workloads.einsum.reading import Array, Space, Value, read
from workloads.einsum.rounding import ROUNDINGS
from workloads.einsum.schedule import Group, Step, schedule
from workloads.einsum.sizes import evaluate_constant, resolve_sizes, tensor_shape
from workloads.einsum.writing import write
from workloads.errors import InputError, unknown_name

__all__ = ["infer_sizes", "run_cascade"]


def run_cascade(
    cascade: Cascade,
    inputs: Mapping[str, ArrayLike],
    sizes: Mapping[str, float] | None = None,
    *,
    formats: Mapping[str, str] | None = None,
    intermediates: bool = False,
) -> dict[str, Array]:
    """The results of a cascade as float64 arrays by tensor name (with ``intermediates``, every tensor).

    ``inputs`` holds one array per input, shaped as declared. Rank sizes follow from the shapes; ``sizes`` gives the
    others and overrides constants. ``formats`` names number formats for tensors, beside those declared in the text:
    each value is rounded when it is stored. Raises InputError for missing, unknown or misshapen inputs and for sizes
    that do not fit.
    """
    arrays = {name: np.asarray(array, dtype=np.float64) for name, array in inputs.items()}
    values = infer_sizes(cascade, arrays, sizes or {})
    machine = _Machine(cascade, arrays, values, _formats(cascade, formats or {}))
    with np.errstate(all="ignore"):
        for group in schedule(cascade):
            machine.group(group)
    names = tuple(cascade.tensors) if intermediates else cascade.outputs
    return {name: machine.arrays[name] for name in names}


def infer_sizes(cascade: Cascade, arrays: Mapping[str, Array], sizes: Mapping[str, float]) -> dict[str, int | float]:
    """All rank sizes, as whole numbers, and constants, from input shapes and ``sizes``."""
    found: dict[str, float] = dict(sizes)
    for name in arrays:
        if name not in cascade.inputs:
            raise unknown_name("input", name, cascade.inputs, field=f"{cascade.name}.inputs")
    for name in cascade.inputs:
        if name not in arrays:
            raise InputError(
                f"input {name!r} is missing",
                f"an array for each of {', '.join(cascade.inputs)}",
                f"{cascade.name}.inputs",
            )
        dims = cascade.tensors[name].dims
        if arrays[name].ndim != len(dims):
            raise InputError(
                f"an array of {arrays[name].ndim} axes", f"{len(dims)} ({', '.join(dim.rank for dim in dims)})",
                f"{cascade.name}.inputs.{name}",
            )  # fmt: skip
        for dim, size in zip(dims, arrays[name].shape, strict=True):
            if found.setdefault(dim.rank, size) != size:
                raise InputError(
                    f"rank {dim.rank!r} has size {size} here and {found[dim.rank]:g} elsewhere", "one size",
                    f"{cascade.name}.inputs.{name}",
                )  # fmt: skip
    values: dict[str, int | float] = dict(resolve_sizes(cascade, found))
    for rank in cascade.rank_names:
        if values[rank] != int(values[rank]):
            raise InputError(
                f"size {values[rank]:g} of rank {rank!r}", "a whole number to run with", f"{cascade.name}.sizes.{rank}"
            )
        values[rank] = int(values[rank])
    return values


def _formats(cascade: Cascade, given: Mapping[str, str]) -> dict[str, str]:
    formats = {tensor.name: tensor.format for tensor in cascade.declared if tensor.format is not None}
    for name, number_format in given.items():
        if name not in cascade.tensors:
            raise unknown_name("tensor", name, cascade.tensors, field=f"{cascade.name}.formats")
        if number_format not in ROUNDINGS:
            raise unknown_name("number format", number_format, ROUNDINGS, field=f"{cascade.name}.formats.{name}")
    return formats | dict(given)


class _Machine:
    """The arrays of one run, and the Einsums acting on them."""

    def __init__(
        self, cascade: Cascade, arrays: Mapping[str, Array], values: dict[str, int | float], formats: dict[str, str]
    ) -> None:
        self.cascade = cascade
        self.values = values
        self.formats = formats
        self.fixed: dict[str, int] = {}
        self.arrays = {name: self.rounded(name, array) for name, array in arrays.items()}
        self.operators = {operator.name: operator for operator in cascade.operators}

    def rounded(self, name: str, array: Array) -> Array:
        return ROUNDINGS[self.formats[name]](array) if name in self.formats else array

    def group(self, group: Group) -> None:
        if isinstance(group, Step):
            self.einsum(group.einsum)
            return
        count = int(self.values[group.rank])
        for coordinate in range(count - 1, -1, -1) if group.descending else range(count):
            self.fixed[group.rank] = coordinate
            for inner in group.body:
                self.group(inner)
        self.fixed.pop(group.rank, None)

    # --- one Einsum

    def einsum(self, einsum: Einsum) -> None:
        target = self.target(einsum)
        ranks = tuple(rank for rank in einsum.ranks if rank not in self.fixed)
        space = Space(ranks, tuple(int(self.values[rank]) for rank in ranks), self.fixed, self.values)
        present = self.present(einsum, space)
        fill = self.fill(einsum)
        folded = tuple(axis for axis, rank in enumerate(ranks) if rank in einsum.reduced_ranks)
        if einsum.scatters:
            value = self.value(einsum.expression, space)
            write(target, einsum, space, self.rounded(einsum.label, value.array), value.both(present), self.arrays)
            return
        result = self.contraction(einsum, space, present, folded, fill)
        if result is None:
            value = self.value(einsum.expression, space)
            result = self.folded(einsum, space, value.array, value.both(present), folded, fill)
        write(target, einsum, space, self.rounded(einsum.label, result), None, self.arrays)

    def target(self, einsum: Einsum) -> Array:
        """The array an Einsum writes to, made and filled on first use."""
        if einsum.label not in self.arrays:
            shape = tuple(int(size) for size in tensor_shape(self.cascade.tensors[einsum.label], self.values))
            self.arrays[einsum.label] = np.full(shape, self.fill(einsum))
        return self.arrays[einsum.label]

    def fill(self, einsum: Einsum) -> float:
        if einsum.fill is not None:
            return evaluate_constant(self.cascade, einsum.fill, self.values)
        if einsum.reduction is None:
            return 0.0
        operator = einsum.reduction.operator
        if operator in REDUCES:
            return REDUCES[operator].identity
        if operator in SELECTIONS:
            return -np.inf if operator == "topk" else 0.0
        identity = self.operators[operator].identity
        assert identity is not None
        return evaluate_constant(self.cascade, identity, self.values)

    def present(self, einsum: Einsum, space: Space) -> Array | None:
        """Which points exist: those inside split ranks and for which the condition holds; None for all."""
        present: Array | None = None
        for split in self.cascade.splits:
            if split.outer in einsum.ranks and split.inner in einsum.ranks:
                whole, inner = int(self.values[split.rank]), int(self.values[split.inner])
                if int(self.values[split.outer]) * inner > whole:
                    present = _both(
                        present, space.coordinate(split.outer) * inner + space.coordinate(split.inner) < whole
                    )
        if einsum.condition is not None:
            condition = self.value(einsum.condition, space)
            present = _both(_both(present, condition.array != 0), condition.present)
        return present

    def folded(
        self, einsum: Einsum, space: Space, array: Array, present: Array | None, axes: tuple[int, ...], fill: float
    ) -> Array:
        reduction = einsum.reduction
        if reduction is None:
            full = np.broadcast_to(array, space.shape)
            return full if present is None else np.where(np.broadcast_to(present, space.shape), full, fill)
        if reduction.operator in SELECTIONS:
            into = int(self.values[reduction.into]) if reduction.into is not None else None
            return select_along(np.broadcast_to(array, space.shape), present, axes[0], reduction.operator, into, fill)
        definition = self.operators.get(reduction.operator)
        identity = fill if einsum.fill is None else self.fill(Einsum(einsum.output, einsum.expression, reduction))
        if definition is None:
            step = None
        else:
            parameters, body = definition.parameters, definition.body

            def step(a: Array, b: Array) -> Array:
                return self.body(body, {parameters[0]: a, parameters[1]: b})

        result = fold(np.broadcast_to(array, space.shape), present, axes, reduction.operator, identity, step)
        if einsum.fill is not None and present is not None:
            reached = np.broadcast_to(present, space.shape).any(axis=axes)
            result = np.where(reached, result, fill)
        return result

    def contraction(
        self, einsum: Einsum, space: Space, present: Array | None, axes: tuple[int, ...], fill: float
    ) -> Array | None:
        """The result by matrix products, or None where the Einsum is not a plain sum of products of two tensors."""
        if not einsum.is_contraction or not isinstance(einsum.expression, Call):
            return None
        left, right = einsum.expression.arguments
        if not isinstance(left, Access) or not isinstance(right, Access):
            return None
        values = [read(access, space, self.arrays) for access in (left, right)]
        guard = _both(_both(present, values[0].present), values[1].present)
        arrays = [value.array for value in values]
        if guard is not None and any(guard.shape[axis] > 1 for axis in axes):
            if einsum.fill is not None:
                return None
            cleared = [_cleared(array, guard) for array in arrays]
            if all(array is None for array in cleared):
                return None
            arrays = [new if new is not None else old for new, old in zip(cleared, arrays, strict=True)]
            guard = None
        result = contract(arrays[0], arrays[1], space.shape, axes)
        if guard is None:
            return result
        keep = guard.reshape([size for axis, size in enumerate(guard.shape) if axis not in axes])
        return np.where(np.broadcast_to(keep, result.shape), result, fill)

    # --- expressions

    def value(self, expression: Expression, space: Space) -> Value:
        match expression:
            case Number() | Size() | Constant():
                return Value(
                    np.full((1,) * len(space.ranks), evaluate_constant(self.cascade, expression, self.values)), None
                )
            case Coordinate(rank):
                return Value(space.coordinate(rank).astype(np.float64), None)
            case Access():
                return read(expression, space, self.arrays)
            case Call(operator, arguments):
                parts = [self.value(argument, space) for argument in arguments]
                present = None
                for part in parts:
                    present = _both(present, part.present)
                return Value(self.apply(operator, [part.array for part in parts]), present)

    def apply(self, operator: str, arrays: list[Array]) -> Array:
        if operator in MAPS:
            return MAPS[operator].apply(*arrays)
        definition = self.operators[operator]
        return self.body(definition.body, dict(zip(definition.parameters, arrays, strict=True)))

    def body(self, body: Expression, parameters: Mapping[str, Array]) -> Array:
        if isinstance(body, Constant) and body.name in parameters:
            return parameters[body.name]
        if isinstance(body, Constant) and body.name == "lowest":
            return np.asarray(lowest)
        if isinstance(body, Call):
            return self.apply(body.operator, [self.body(argument, parameters) for argument in body.arguments])
        return np.asarray(evaluate_constant(self.cascade, body, self.values))


def _both(a: Array | None, b: Array | None) -> Array | None:
    if a is None or b is None:
        return a if b is None else b
    return a & b


def _cleared(array: Array, guard: Array) -> Array | None:
    """The array with 0 where the guard forbids, if it spans the guard's ranks."""
    if any(a == 1 < g for a, g in zip(array.shape, guard.shape, strict=True)):
        return None
    return np.where(guard, array, 0.0)
