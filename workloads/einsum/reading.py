"""Tensor accesses to arrays that broadcast over an iteration space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workloads.einsum.expressions import Access, Index, Size
from workloads.errors import InputError

__all__ = ["Array", "Space", "Value", "index_array", "read"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Space:
    """The free ranks of an Einsum with their sizes, and the coordinates of the ranks that loops hold fixed."""

    ranks: tuple[str, ...]
    shape: tuple[int, ...]
    fixed: Mapping[str, int]
    values: Mapping[str, float]

    def coordinate(self, rank: str) -> Array:
        """The coordinates of a rank along its axis, length 1 on the others; one number for a fixed rank."""
        if rank in self.fixed:
            return np.full((1,) * len(self.ranks), self.fixed[rank])
        axis = self.ranks.index(rank)
        return np.arange(self.shape[axis]).reshape([-1 if place == axis else 1 for place in range(len(self.ranks))])

    def factor(self, index: Index) -> list[int]:
        """The whole coefficient of each term of an index."""
        factors = []
        for term in index.terms:
            value = float(term.coefficient)
            for factor in term.factors:
                value *= self.values[factor.rank if isinstance(factor, Size) else factor.name]
            if value != int(value):
                raise InputError(f"an index coefficient of {value:g}", "a whole number")
            factors.append(int(value))
        return factors


@dataclass(frozen=True)
class Value:
    """An array over a space (axes of length 1 broadcast) and which of its points exist (None: all)."""

    array: Array
    present: Array | None

    def both(self, present: Array | None) -> Array | None:
        """Points that exist here and in ``present``."""
        if self.present is None or present is None:
            return present if self.present is None else self.present
        return self.present & present


def read(access: Access, space: Space, arrays: Mapping[str, Array]) -> Value:
    """A tensor at its index over a space. Points whose index lies outside the tensor do not exist."""
    array = arrays[access.tensor]
    return _read_view(access, array, space) or _read_general(access, array, space, arrays)


def _read_view(access: Access, array: Array, space: Space) -> Value | None:
    """The access without copying, where each index is a number, one rank plus a number, or joined pieces."""
    selection: list[int | slice] = []
    axes: list[str] = []
    shape: list[int] = []
    for axis, index in enumerate(access.indices):
        size = array.shape[axis]
        joined = index.joined
        if joined is not None and joined[0] not in space.fixed and joined[1] not in space.fixed:
            outer, inner = (space.shape[space.ranks.index(rank)] for rank in joined)
            if outer * inner != size or space.values[joined[1]] != inner:
                return None
            selection.append(slice(None))
            axes += joined
            shape += [outer, inner]
            continue
        placed = _place(index, space)
        if placed is None:
            return None
        rank, offset = placed
        if rank is None:
            if not 0 <= offset < size:
                return None
            selection.append(offset)
            continue
        length = space.shape[space.ranks.index(rank)]
        if offset < 0 or offset + length > size:
            return None
        selection.append(slice(offset, offset + length))
        axes.append(rank)
        shape.append(length)
    if len(set(axes)) < len(axes):
        return None
    view = array[tuple(selection)].reshape(shape)
    order = sorted(range(len(axes)), key=lambda place: space.ranks.index(axes[place]))
    lengths = {axes[place]: shape[place] for place in range(len(axes))}
    return Value(view.transpose(order).reshape([lengths.get(rank, 1) for rank in space.ranks]), None)


def _place(index: Index, space: Space) -> tuple[str | None, int] | None:
    """An index as (free rank or None, offset), if it is that simple."""
    rank: str | None = None
    offset = 0
    for term, factor in zip(index.terms, space.factor(index), strict=True):
        if term.base is None:
            offset += factor
        elif not isinstance(term.base, str):
            return None
        elif term.base in space.fixed:
            offset += factor * space.fixed[term.base]
        elif factor == 1 and rank is None:
            rank = term.base
        else:
            return None
    return rank, offset


def _read_general(access: Access, array: Array, space: Space, arrays: Mapping[str, Array]) -> Value:
    present: Array | None = None
    places: list[Array] = []
    for axis, index in enumerate(access.indices):
        place, known = index_array(index, space, arrays)
        size = array.shape[axis]
        inside = (place >= 0) & (place < size)
        if known is not None:
            inside = inside & known
        if not inside.all():
            present = inside if present is None else present & inside
        places.append(np.where(inside, place, 0) if size else np.zeros_like(place))
    if array.size == 0:
        shape = np.broadcast_shapes(*(place.shape for place in places))
        return Value(np.zeros(shape), np.zeros(shape, dtype=bool))
    gathered = array[tuple(places)] if places else array.reshape((1,) * len(space.ranks))
    return Value(gathered, present)


def index_array(index: Index, space: Space, arrays: Mapping[str, Array]) -> tuple[Array, Array | None]:
    """The coordinates an index names over a space, and which of them are known (a gather may have none)."""
    total: Array = np.zeros((1,) * len(space.ranks), dtype=np.int64)
    present: Array | None = None
    for term, factor in zip(index.terms, space.factor(index), strict=True):
        if term.base is None:
            total = total + factor
        elif isinstance(term.base, str):
            total = total + factor * space.coordinate(term.base)
        else:
            gathered = read(term.base, space, arrays)
            known = np.isfinite(gathered.array)
            if gathered.present is not None:
                known = known & gathered.present
            if not known.all():
                present = known if present is None else present & known
            total = total + factor * np.where(known, gathered.array, -1).astype(np.int64)
    return total, present
