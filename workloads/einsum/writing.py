"""Results into the tensors they belong to: at offsets, through joined pieces, or scattered by index values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from workloads.einsum.expressions import Index
from workloads.einsum.ir import Einsum
from workloads.einsum.reading import Array, Space, index_array
from workloads.errors import InputError

__all__ = ["write"]

_SCATTER = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def write(
    target: Array, einsum: Einsum, space: Space, result: Array, present: Array | None, arrays: Mapping[str, Array]
) -> None:
    """Stores an Einsum's result; a scatter takes the unfolded values of all points, others the folded ones.

    Elements whose place lies outside the tensor are dropped.
    """
    if einsum.scatters:
        _scatter(target, einsum, space, result, present, arrays)
        return
    destination: list[int | slice] = []
    source: list[int | slice | None] = []
    lengths: list[int] = []
    into = einsum.reduction.into if einsum.reduction is not None else None
    axes = [rank for rank in einsum.kept_ranks if rank not in space.fixed and rank != into]
    moved = _with_selected_last(result, axes, einsum, into)
    for axis, index in enumerate(einsum.output.indices):
        size = target.shape[axis]
        if index.joined is not None and not set(index.joined) & set(space.fixed):
            outer, inner = (int(space.values[rank]) for rank in index.joined)
            lengths.append(outer * inner)
            source.append(slice(0, min(size, outer * inner)))
            destination.append(slice(0, min(size, outer * inner)))
            continue
        rank, offset = _offset(index, space)
        if rank is None:
            if not 0 <= offset < size:
                return
            destination.append(offset)
            continue
        length = int(space.values[rank])
        lengths.append(length)
        first, last = max(0, -offset), min(length, size - offset)
        source.append(slice(first, max(first, last)))
        destination.append(slice(first + offset, max(first, last) + offset))
    target[tuple(destination)] = moved.reshape(lengths)[tuple(source)]


def _with_selected_last(result: Array, axes: list[str], einsum: Einsum, into: str | None) -> Array:
    """A top-k's new axis, which comes last, moved to where the output has it."""
    if into is None:
        return result
    kept = [rank for rank in einsum.kept_ranks if rank in axes or rank == into]
    return np.moveaxis(result, -1, kept.index(into))


def _offset(index: Index, space: Space) -> tuple[str | None, int]:
    rank: str | None = None
    offset = 0
    for term, factor in zip(index.terms, space.factor(index), strict=True):
        if term.base is None:
            offset += factor
        elif isinstance(term.base, str) and term.base in space.fixed:
            offset += factor * space.fixed[term.base]
        elif isinstance(term.base, str):
            rank = term.base
    return rank, offset


def _scatter(
    target: Array, einsum: Einsum, space: Space, values: Array, present: Array | None, arrays: Mapping[str, Array]
) -> None:
    operator = einsum.reduction.operator if einsum.reduction is not None else ""
    if operator not in _SCATTER:
        raise InputError(f"{operator} cannot scatter", f"one of {', '.join(_SCATTER)}", field=einsum.label)
    inside = np.ones(space.shape, dtype=bool) if present is None else np.broadcast_to(present, space.shape)
    places: list[Array] = []
    for axis, index in enumerate(einsum.output.indices):
        place, known = index_array(index, space, arrays)
        fits = (place >= 0) & (place < target.shape[axis])
        inside = inside & fits if known is None else inside & fits & known
        places.append(np.broadcast_to(place, space.shape))
    full = np.broadcast_to(values, space.shape)
    _SCATTER[operator].at(target, tuple(place[inside] for place in places), full[inside])
