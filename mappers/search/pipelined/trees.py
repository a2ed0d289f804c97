"""The mapping tree of one region: common loops, a nest for each pass, and in each the Einsums side by side.

Loops that all Einsums share stand at the top. The first loop that walks a rank in several passes, or that some Einsum
comes after, parts the region: each pass has the remaining loops for itself.
"""

from __future__ import annotations

from mappers.mapspace.mapping import Branch, Compute, Loop, Nest, Node, Spread, Store
from mappers.search.pipelined.bound import Part
from mappers.search.pipelined.machine import Machine
from mappers.search.pipelined.tiling import Tiling

__all__ = ["region_nest"]


def region_nest(machine: Machine, part: Part, tiling: Tiling) -> Nest:
    """The nest of one region, root stores first."""
    region, loops = part.region, tiling.loops
    parted = next(
        (place for place, (rank, _) in enumerate(loops.nest) if set(region.levels[rank]) != {1.0}), len(loops.nest)
    )
    nest: list[Node] = [Store(machine.root, tensor) for tensor, (r, w) in tiling.root.items() if r or w]
    nest += [Loop(rank, part.granule[rank]) for rank in region.batch if part.granule[rank] < region.size[rank]]
    depths = dict(tiling.depths) | dict.fromkeys(tiling.crossing, loops.outer)
    for depth in range(parted + 1):
        nest += [Store(machine.buffer, tensor) for tensor, at in depths.items() if at == depth]
        nest += [Loop(*loop) for loop in loops.nest[depth : depth + 1] if depth < parted]
    if parted == len(loops.nest):
        return (*nest, *_pass(machine, part, tiling, tuple(range(len(part.places))), parted))
    levels = region.levels[loops.nest[parted][0]]
    groups: dict[float, list[int]] = {}
    for place, level in enumerate(levels):
        groups.setdefault(level, []).append(place)
    ordered = [tuple(groups[level]) for level in sorted(groups)]
    ends = {t for t in part.buffered if t not in depths and not any(_inside(part, t, group) for group in ordered)}
    nest += [Store(machine.buffer, tensor) for tensor in region.writers if tensor in ends]
    return (*nest, Branch("pipelined", tuple(_pass(machine, part, tiling, group, parted) for group in ordered)))


def _inside(part: Part, tensor: str, group: tuple[int, ...]) -> bool:
    """True when only Einsums of ``group`` touch the tensor."""
    touching = (*part.region.writers.get(tensor, ()), *part.region.readers.get(tensor, ()))
    return all(place in group for place in touching)


def _pass(machine: Machine, part: Part, tiling: Tiling, group: tuple[int, ...], parted: int) -> Nest:
    """The loops below the common ones with the stores of ``group`` alone, then its Einsums side by side."""
    region, loops = part.region, tiling.loops
    einsums = [region.einsums[place] for place in group]
    touched = list(dict.fromkeys(use.tensor for einsum in einsums for use in einsum.uses))
    nest: list[Node] = []
    for depth in range(parted, len(loops.nest) + 1):
        if depth > parted:
            nest += [Store(machine.buffer, tensor) for tensor in touched if tiling.depths.get(tensor) == depth]
        here = loops.nest[depth : depth + 1]
        nest += [Loop(*loop) for loop in here if any(loop[0] in einsum.size for einsum in einsums)]
    passing = [t for t in touched if t in part.buffered and t not in tiling.depths and t not in tiling.crossing]
    nest += [Store(machine.buffer, tensor) for tensor in passing if _inside(part, tensor, group)]
    shared: set[tuple[str, str]] = set()
    for place in group:
        array = part.placements[place].array
        registers = machine.arrays[array].registers
        left = region.einsums[place].output.tensor
        readers = [reader for reader in region.readers.get(left, ()) if left in part.resident[reader]]
        alone = all(part.placements[reader].array == array for reader in region.readers.get(left, ()))
        if registers is not None and readers and alone:
            shared.add((registers, left))
            nest.append(Store(registers, left))
    nests = tuple(_einsum_nest(machine, part, place, shared) for place in group)
    return (*nest, *nests[0]) if len(nests) == 1 else (*nest, Branch("pipelined", nests))


def _einsum_nest(machine: Machine, part: Part, place: int, shared: set[tuple[str, str]]) -> Nest:
    """The steps of one Einsum in a granule, those that leave its stationary tensor where it is innermost."""
    region, local = part.region, part.locals[place]
    einsum, placement = region.einsums[place], part.placements[place]
    array = machine.arrays[placement.array]
    lanes = placement.factors(array, einsum)
    kept = region.uses[local.stationary].ranks if local.stationary is not None else frozenset()
    walked = [rank for rank, size in einsum.sizes if min(part.granule[rank], size) > lanes.get(rank, 1)]
    outer = [rank for rank in walked if rank in kept]
    nest: list[Node] = [Loop(rank, lanes.get(rank, 1)) for rank in outer]
    if array.registers is not None:
        own = [tensor for tensor in local.registers if (array.registers, tensor) not in shared]
        nest += [Store(array.registers, tensor) for tensor in own]
    nest += [Loop(rank, lanes.get(rank, 1)) for rank in walked if rank not in kept]
    for dimension, rank in zip(array.dimensions, placement.ranks, strict=True):
        if rank is not None and lanes.get(rank, 1) > 1:
            nest.append(Spread(dimension.component, dimension.name, rank, lanes[rank]))
    return (*nest, Compute(einsum.name, array.name))
