"""How many elements of a tensor an Einsum touches: the least that must come in or go out at least once."""

from __future__ import annotations

from collections.abc import Mapping

from mappers.mapspace.problem import Axis, TensorUse

__all__ = ["axis_coordinates", "touched"]

_EXACT_LIMIT = 1 << 22
"""Coordinates up to which an axis is counted one by one; longer ones are bounded from below."""


def axis_coordinates(axis: Axis, sizes: Mapping[str, int]) -> int:
    """Distinct coordinates that an axis takes, exactly up to 4 Mi coordinates and a lower bound beyond.

    A stride leaves gaps, so this may be less than the extent. The bound is |A + B| >= |A| + |B| - 1 for sets of
    integers, which holds for every number of terms.
    """
    terms = [(rank, abs(step)) for rank, step in axis.terms if step and sizes[rank] > 1]
    if len(terms) <= 1:
        return sizes[terms[0][0]] if terms else 1
    if axis.extent(sizes) > _EXACT_LIMIT:
        return 1 + sum(sizes[rank] - 1 for rank, _ in terms)
    taken = 1  # bit i: coordinate i is taken
    for rank, step in terms:
        count, made, run = sizes[rank], 1, taken
        while made < count:  # doubling: `run` covers the first `made` steps of this rank
            more = min(made, count - made)
            run |= run << (more * step)
            made += more
        taken = run
    return taken.bit_count()


def touched(use: TensorUse, sizes: Mapping[str, int]) -> int:
    """Elements of the tensor that the Einsum touches at least.

    The count is the product over axes; of axes that share a rank (a diagonal) only one enters, the longest first.
    """
    axes = sorted(((axis_coordinates(axis, sizes), axis) for axis in use.axes), key=lambda pair: -pair[0])
    total, seen = 1, set[str]()
    for count, axis in axes:
        ranks = {rank for rank, _ in axis.terms}
        if ranks & seen:
            continue
        seen |= ranks
        total *= count
    return total
