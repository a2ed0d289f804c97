"""Folding axes away: built-in and user-defined reductions, selections, and sums of products by matrix products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workloads.einsum.operators import REDUCES
from workloads.einsum.reading import Array

__all__ = ["contract", "fold", "select_along"]


def fold(
    array: Array,
    present: Array | None,
    axes: tuple[int, ...],
    operator: str,
    identity: float,
    step: Callable[[Array, Array], Array] | None,
) -> Array:
    """``array`` with ``axes`` folded over the points that are present; ``step`` is a user's associative operator."""
    if present is not None:
        array = np.where(np.broadcast_to(present, array.shape), array, identity)
    if step is None:
        return np.asarray(REDUCES[operator].apply(array, axes))
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    flat = array.transpose(*kept, *axes).reshape([array.shape[axis] for axis in kept] + [-1])
    if flat.shape[-1] == 0:
        return np.full(flat.shape[:-1], identity)
    # Neighbours are joined pairwise, so the order of the elements is kept.
    while flat.shape[-1] > 1:
        paired = step(flat[..., 0:-1:2], flat[..., 1::2])
        flat = np.concatenate([paired, flat[..., -1:]], axis=-1) if flat.shape[-1] % 2 else paired
    return flat[..., 0]


def select_along(
    array: Array, present: Array | None, axis: int, operator: str, count: int | None, fill: float
) -> Array:
    """argmax, argmin, or the ``count`` largest (topk, argtopk) along an axis; the chosen ones form the last axis.

    Places beyond the number of present elements hold ``fill``.
    """
    moved = np.moveaxis(array, axis, -1)
    here = (
        np.ones(moved.shape, dtype=bool)
        if present is None
        else np.moveaxis(np.broadcast_to(present, array.shape), axis, -1)
    )
    ranked = np.where(here, moved if operator == "argmin" else -moved, np.inf)
    # Absent elements come last even among real infinities; a stable sort leaves ties to the lower coordinate.
    order = np.lexsort((ranked, ~here), axis=-1)
    if count is None:
        first = order[..., 0] if order.shape[-1] else np.zeros(order.shape[:-1])
        return np.where(here.any(axis=-1), first, fill).astype(np.float64)
    taken = order[..., :count]
    chosen = np.take_along_axis(moved, taken, axis=-1) if operator == "topk" else taken.astype(np.float64)
    chosen = np.where(np.take_along_axis(here, taken, axis=-1), chosen, fill)
    short = count - chosen.shape[-1]
    if short > 0:
        chosen = np.concatenate([chosen, np.full((*chosen.shape[:-1], short), fill)], axis=-1)
    return chosen


def contract(a: Array, b: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """``(a * b).sum(axes)`` over a space of ``shape``, by matrix products.

    Axes of ``a`` and ``b`` of length 1 broadcast. The result has the kept axes in order.
    """
    count = 1
    for axis in axes:
        if a.shape[axis] == 1 and b.shape[axis] == 1:
            count *= shape[axis]
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    shared = [axis for axis in kept if a.shape[axis] > 1 and b.shape[axis] > 1]
    left = [axis for axis in kept if axis not in shared and a.shape[axis] > 1]
    right = [axis for axis in kept if axis not in shared and axis not in left]
    # A folded axis that only one operand has is summed there first.
    both = [axis for axis in axes if a.shape[axis] > 1 and b.shape[axis] > 1]
    a = a.sum(axis=tuple(axis for axis in axes if axis not in both), keepdims=True)
    b = b.sum(axis=tuple(axis for axis in axes if axis not in both), keepdims=True)
    rows = _as_matrices(a, shared, left, both)
    columns = _as_matrices(b, shared, both, right)
    product = np.matmul(rows, columns)
    if count != 1:
        product = product * count
    sizes = [a.shape[axis] for axis in shared + left] + [b.shape[axis] for axis in right]
    result = product.reshape(sizes)
    axes_now = shared + left + right
    result = result.transpose([axes_now.index(axis) for axis in kept])
    return np.broadcast_to(result, [shape[axis] for axis in kept])


def _as_matrices(array: Array, shared: list[int], rows: list[int], columns: list[int]) -> Array:
    """A stack of matrices, one for each point of the shared axes."""
    order = shared + rows + columns
    rest = [axis for axis in range(array.ndim) if axis not in order]
    moved = array.transpose(*order, *rest)
    lengths = [array.shape[axis] for axis in order]
    s, r = len(shared), len(rows)
    batch = lengths[:s]
    return moved.reshape([*batch, _product(lengths[s : s + r]), _product(lengths[s + r :])])


def _product(lengths: list[int]) -> int:
    total = 1
    for length in lengths:
        total *= length
    return total
