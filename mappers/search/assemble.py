"""From the nests chosen for the Einsums of a cascade to one mapping tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Nest, Node, Spread, Store
from mappers.mapspace.problem import CascadeProblem, EinsumProblem
from mappers.search.einsum import Candidate, StoreAt, Tile

__all__ = ["assemble"]


@dataclass
class _Frame:
    """Loops that leave ``tile``: the stores just outside them, those inside, and what runs inside in order."""

    tile: Tile
    outside: list[Store] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)
    inside: list[_Frame | int] = field(default_factory=list)


def assemble(problem: CascadeProblem, chosen: Sequence[Candidate], hierarchy: Hierarchy) -> Mapping:
    """The mapping in which each Einsum runs as chosen. The choices must fit together, as those of ``join`` do."""
    root = _Frame(())
    last_use = {tensor: max(problem.consumers(tensor), default=-1) for tensor in problem.intermediates}
    open_frames = [root]
    homes: dict[str, _Frame] = {}
    for place, candidate in enumerate(chosen):
        einsum = problem.einsums[place]
        on_chip = candidate.on_chip
        prefix = candidate.head
        path = _enter(open_frames, prefix)
        by_tile = {frame.tile: index for index, frame in enumerate(path)}
        for store in prefix:
            index = by_tile[store.tile]
            node = Store(store.level, store.tensor)
            if store.tensor not in on_chip:
                (path[index + 1].outside if index + 1 < len(path) else path[index].stores).append(node)
            elif store.tensor not in homes:
                homes[store.tensor] = path[index]
                path[index].stores.append(node)
        path[-1].inside.append(place)
        living = [f for tensor, f in homes.items() if last_use.get(tensor, -1) > place]
        deepest = max((index for index, frame in enumerate(path) if any(frame is f for f in living)), default=0)
        open_frames = path[: deepest + 1]
    nest: list[Node] = []
    outermost = hierarchy.root
    seen: set[str] = set()
    for candidate, einsum in zip(chosen, problem.einsums, strict=True):
        for use in einsum.uses:
            if use.tensor not in candidate.on_chip and use.tensor not in seen:
                seen.add(use.tensor)
                nest.append(Store(outermost, use.tensor))
    nest += _frame_nest(root, (), frozenset(), problem, chosen)
    return Mapping(problem.name, hierarchy.name, tuple(nest))


def _enter(open_frames: list[_Frame], prefix: Sequence[StoreAt]) -> list[_Frame]:
    """The chain of frames for an Einsum, new frames opened, those between two open ones put around the inner."""
    path = list(open_frames)
    for store in prefix:
        if any(frame.tile == store.tile for frame in path):
            continue
        index = next(
            (i for i, frame in enumerate(path) if i and _inside(frame.tile, store.tile)), len(path)
        )  # the first frame that stands inside the new one
        new = _Frame(store.tile)
        parent = path[index - 1]
        if index < len(path):
            inner = path[index]
            parent.inside[parent.inside.index(inner)] = new
            new.inside.append(inner)
            new.outside, inner.outside = inner.outside, []
        else:
            parent.inside.append(new)
        path.insert(index, new)
    return path


def _inside(inner: Tile, outer: Tile) -> bool:
    cut = dict(inner)
    return all(rank in cut and cut[rank] <= size for rank, size in outer)


def _frame_nest(
    frame: _Frame, above: Tile, held: frozenset[Store], problem: CascadeProblem, chosen: Sequence[Candidate]
) -> Nest:
    """The nest of a frame. ``held`` are stores around it: Einsums that keep the same tensor there share one."""
    outside = [store for store in dict.fromkeys(frame.outside) if store not in held]
    around = held | set(outside) | set(frame.stores)
    nest: list[Node] = [*outside, *_loops(above, frame.tile), *frame.stores]
    inner = [
        _frame_nest(item, frame.tile, around, problem, chosen)
        if isinstance(item, _Frame)
        else _einsum_nest(problem.einsums[item], chosen[item], frame.tile, around)
        for item in frame.inside
    ]
    if len(inner) == 1:
        return (*nest, *inner[0])
    return (*nest, Branch("sequential", tuple(inner)))


def _einsum_nest(problem: EinsumProblem, candidate: Candidate, above: Tile, held: frozenset[Store]) -> Nest:
    nest: list[Node] = []
    tile = above
    for store in candidate.stores[len(candidate.head) :]:
        nest += _loops(tile, store.tile)
        node = Store(store.level, store.tensor)
        if node not in held:
            nest.append(node)
        tile = store.tile
    left = {**problem.size, **dict(tile)}
    spread: dict[str, int] = {}
    for lane in candidate.lanes:
        spread[lane.rank] = spread.get(lane.rank, 1) * lane.factor
    for rank in problem.ranks:
        step = spread.get(rank, 1)
        if left[rank] > step:
            nest.append(Loop(rank, step))
    nest += [Spread(lane.component, lane.dimension, lane.rank, lane.factor) for lane in candidate.lanes]
    return (*nest, Compute(problem.name, candidate.placement.unit))


def _loops(above: Tile, below: Tile) -> list[Node]:
    before = dict(above)
    return [Loop(rank, size) for rank, size in below if before.get(rank) != size]
