"""What nests hand to one another: nothing read before it is made, and tiles that their users see alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.pieces import RankCuts, rank_cuts
from mappers.mapspace.problem import TensorUse
from mappers.mapspace.tree import Path, PlacedStore
from workloads.errors import InputError

__all__ = ["check_sharing"]


_Dealt: TypeAlias = tuple[tuple[tuple[int, str, int], ...], tuple[int, ...]]


def check_sharing(
    found: tuple[Path, ...], users: Mapping[int, list[Path]], hierarchy: Hierarchy, sizes: Mapping[str, int]
) -> None:
    """Raise `InputError` where an Einsum would find a tensor missing, unfinished, or dealt to other instances.

    ``users`` holds the Einsums that use each store, in order of execution.
    """
    for node, sharing in users.items():
        store = next(store for store in sharing[0].stores if store.node == node)
        for other in sharing[1:]:
            _check_shared_store(store, sharing[0], other, hierarchy, sizes)
    _check_intermediates(found, hierarchy)


def _check_shared_store(
    store: PlacedStore, first: Path, other: Path, hierarchy: Hierarchy, sizes: Mapping[str, int]
) -> None:
    uses = first.einsum.by_tensor[store.tensor], other.einsum.by_tensor[store.tensor]
    names = f"{first.einsum.name} and {other.einsum.name}"
    rank = _differing_cut(*uses, first.walked(0, store.position))
    if rank is not None:
        raise InputError(
            f"{store.level} keeps {store.tensor} for {names} inside a loop over {rank}, which cuts it differently "
            "in the two",
            "the store outside that loop, or one in each nest",
            "nest",
        )
    deals = [_deals(path, use, store, hierarchy, sizes) for path, use in zip((first, other), uses, strict=True)]
    if deals[0] != deals[1]:
        raise InputError(
            f"{names} deal {store.tensor} differently over the instances of {store.level}",
            "the same spreads of its ranks in steps that fill them, or a store in each nest",
            "nest",
        )
    if uses[0].role == "output" and deals[0][1]:
        raise InputError(
            f"{first.einsum.name} leaves partial sums of {store.tensor} in several instances of {store.level}, "
            f"where {other.einsum.name} reads it",
            "a spread of other ranks",
            "nest",
        )


def _deals(
    path: Path, use: TensorUse, store: PlacedStore, hierarchy: Hierarchy, sizes: Mapping[str, int]
) -> tuple[list[_Dealt], list[tuple[object, ...]]]:
    """How a tensor's axes are dealt over the instances that keep it, and over which instances there are copies.

    Steps that are multiples of the factor deal alike whatever they are; others are part of the answer. So is a rank
    that is cut above the store: its last piece may reach fewer instances. Where nothing is dealt, axes do not count: a
    use of one coordinate of an axis (a running state at its end) lacks it.
    """
    depth = hierarchy.path(path.compute.unit).index(store.level)
    cuts = rank_cuts(path, sizes, hierarchy)
    axes = [_deal(cuts[rank], store.position, depth) for axis in use.axes for rank, _ in axis.terms]
    if not any(any(deal) for deal in axes):
        axes = []
    cut_above = path.walked(0, store.position)
    copies: list[tuple[object, ...]] = []
    for rank in path.einsum.ranks:
        fanouts, _ = _deal(cuts[rank], store.position, depth)
        if rank not in use.ranks and fanouts:
            copies.append((fanouts, cuts[rank].active(sizes[rank], depth), rank if rank in cut_above else None))
    return axes, copies


def _deal(cut: RankCuts, position: int, depth: int) -> _Dealt:
    factor = cut.factor(depth)
    tiles, odd = cut.first(position), []
    for place, tile in cut.loops:
        if place >= position and tile < tiles:
            tiles = tile
            odd.append(tile)
    fanouts = tuple(
        (deal.component, deal.dimension, deal.factor)
        for deal in cut.deals
        if deal.component <= depth and deal.factor > 1
    )
    return fanouts, tuple(odd) if any(tile % factor for tile in odd) else ()


def _differing_cut(first: TensorUse, second: TensorUse, walked: Sequence[str]) -> str | None:
    """A rank whose loop cuts the tensor differently in two uses."""
    for rank in walked:
        for mine, theirs in zip(first.axes, second.axes, strict=False):
            cut = [any(term[0] == rank for term in axis.terms) for axis in (mine, theirs)]
            if any(cut) and mine != theirs:
                return rank
    return None


def _check_intermediates(found: tuple[Path, ...], hierarchy: Hierarchy) -> None:
    for at, path in enumerate(found):
        for use in path.einsum.operands:
            writers = [other for other in found if other.einsum.output.tensor == use.tensor]
            if not writers:
                continue
            if all(other.place > path.place for other in writers):
                _check_state(writers[0], path, use)
                continue
            before = [other for other in found[:at] if other.einsum.output.tensor == use.tensor]
            if not before:
                raise InputError(
                    f"{path.einsum.name} reads {use.tensor} before {writers[0].einsum.name} makes it",
                    "the nest that makes it first",
                    "nest",
                )
            _check_handed_on(before[-1], path, use, hierarchy)


def _check_state(maker: Path, reader: Path, use: TensorUse) -> None:
    """A running state that is read before it is made: what the previous turn of a loop around both has left."""
    common = maker.shared(reader)
    for rank in maker.einsum.carried:
        steps = [loop.tile for position, loop in maker.loops if position < common and loop.rank == rank]
        if min([maker.einsum.size[rank], *steps]) > 1:
            raise InputError(
                f"{reader.einsum.name} reads the running state {use.tensor}, of which {maker.einsum.name} makes the "
                f"next value along {rank}",
                f"one loop over {rank} in steps of 1 around both",
                "nest",
            )


def _check_handed_on(maker: Path, reader: Path, use: TensorUse, hierarchy: Hierarchy) -> None:
    made = maker.einsum.output
    walked = maker.walked(0, maker.shared(reader))
    for rank in walked:
        if rank in maker.einsum.ranks and rank not in made.ranks:
            raise InputError(
                f"{reader.einsum.name} reads {use.tensor} inside a loop over {rank}, over which {maker.einsum.name} "
                "still sums it",
                f"a loop over {rank} in the nest of {maker.einsum.name} alone",
                "nest",
            )
    rank_or_none = _differing_cut(made, use, walked)
    if rank_or_none is not None:
        raise InputError(
            f"{reader.einsum.name} reads all of {use.tensor} inside a loop over {rank_or_none}, of which "
            f"{maker.einsum.name} has made a part",
            "a loop that cuts it alike in both, or none around both",
            "nest",
        )
    homes = maker.chain(use.tensor)[0], reader.chain(use.tensor)[0]
    if homes[0].node != homes[1].node and any(home.level != hierarchy.root for home in homes):
        raise InputError(
            f"{use.tensor} passes from {maker.einsum.name} at {homes[0].level} to {reader.einsum.name} at "
            f"{homes[1].level}",
            f"one store above both, or a store at {hierarchy.root} above each",
            "nest",
        )
