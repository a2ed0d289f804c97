"""A complete binding: its regions, what each costs before tiling, and the times no tiling can change."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from mappers.mapspace.problem import CascadeProblem
from mappers.search.pipelined.binding import resident
from mappers.search.pipelined.local import Local, Placement, granule_seconds, local_cost
from mappers.search.pipelined.machine import Machine
from mappers.search.pipelined.region import Region, region_of

__all__ = ["Part", "Parts"]


@dataclass(frozen=True)
class Part:
    """One region under a binding. ``steady_s`` is its busiest array or its longest recurrence, ``fill_s`` the longest
    chain of dependent Einsums for one granule: what the pipeline takes to fill and drain.
    """

    region: Region
    places: tuple[int, ...]
    placements: tuple[Placement, ...]
    granule: Mapping[str, int]
    buffered: frozenset[str]
    resident: tuple[frozenset[str], ...]
    locals: tuple[Local, ...]
    busy_s: Mapping[int, float]
    steady_s: float
    fill_s: float
    energy_j: float
    buffer_read_bits: float
    buffer_write_bits: float

    @property
    def key(self) -> tuple[object, ...]:
        """What its tilings depend on."""
        return self.places, tuple(self.granule.items()), self.buffered


class Parts:
    """Builds parts, and keeps what several bindings share."""

    def __init__(self, problem: CascadeProblem, machine: Machine, whole: Region, spilled: frozenset[str]) -> None:
        self.problem = problem
        self.machine = machine
        self.whole = whole
        self.spilled = spilled
        self._regions: dict[tuple[int, ...], Region | None] = {}
        self._locals: dict[tuple[object, ...], Local] = {}

    def split(self, placements: tuple[Placement, ...], fused: bool) -> tuple[tuple[Part, ...], ...] | None:
        """The regions of a complete binding, each with every granule; None when one needs of the step before what a
        later one makes.
        """
        runs: list[list[int]] = []
        for place, placement in enumerate(placements):
            if runs and (fused or placements[place - 1].array == placement.array):
                runs[-1].append(place)
            else:
                runs.append([place])
        parts = []
        for run in runs:
            places = tuple(run)
            if places not in self._regions:
                self._regions[places] = region_of(self.problem, places, self.spilled)
            region = self._regions[places]
            if region is None:
                return None
            smallest = self._smallest(region, places, placements)
            granules = self._granules(region, smallest)
            parts.append(
                tuple(self._part(region, places, placements, fused, smallest, granule) for granule in granules)
            )
        return tuple(parts)

    def _smallest(self, region: Region, places: tuple[int, ...], placements: tuple[Placement, ...]) -> dict[str, int]:
        """Tiles of as many coordinates of each rank that loops walk as the arrays take side by side."""
        smallest = {**region.size, **dict.fromkeys((*region.batch, *region.cuttable, *region.streamed), 1)}
        for place in places:
            array = self.machine.arrays[placements[place].array]
            for rank, lanes in placements[place].factors(array, self.problem.einsums[place]).items():
                smallest[rank] = max(smallest[rank], lanes)
        return smallest

    def _granules(self, region: Region, smallest: Mapping[str, int]) -> list[dict[str, int]]:
        """The smallest granule, and longer ones along ranks that no array spreads and along which nothing is carried:
        as long as the longest dimension, and as its square root. In longer pieces sums stay in the array.
        """
        loops = (*region.cuttable, *region.streamed)
        carried = frozenset().union(*region.carried.values())
        longest = max((d.size for array in self.machine.arrays for d in array.dimensions), default=1)
        choices = [
            sorted({min(region.size[rank], length) for length in (1, math.isqrt(longest), longest)})
            if smallest[rank] == 1 and rank not in carried
            else [smallest[rank]]
            for rank in loops
        ]
        return [{**smallest, **dict(zip(loops, lengths, strict=True))} for lengths in itertools.product(*choices)]

    def _part(
        self,
        region: Region,
        places: tuple[int, ...],
        placements: tuple[Placement, ...],
        fused: bool,
        smallest: Mapping[str, int],
        granule: Mapping[str, int],
    ) -> Part:
        machine = self.machine
        mine = tuple(placements[place] for place in places)
        inside = [
            resident(machine, self.whole, place, placements[place], placements[:place], fused, self.spilled)
            for place in places
        ]
        buffered = frozenset(
            tensor
            for tensor in region.writers
            if tensor in region.sent or any(tensor not in inside[reader] for reader in region.readers.get(tensor, ()))
        )
        found = []
        for index, place in enumerate(places):
            leaves = region.einsums[index].output.tensor in buffered
            key = (places, place, mine[index], tuple(granule.items()), inside[index], leaves)
            if key not in self._locals:
                self._locals[key] = local_cost(machine, region, index, mine[index], granule, inside[index], leaves)
            found.append(self._locals[key])
        # Values pass on as they are made: an array's worth is what a reader waits for, also in longer granules.
        once = [
            granule_seconds(machine, einsum, placement, smallest)
            for einsum, placement in zip(region.einsums, mine, strict=True)
        ]
        busy: dict[int, float] = {}
        for placement, local in zip(mine, found, strict=True):
            busy[placement.array] = busy.get(placement.array, 0.0) + local.busy_s
        return Part(
            region=region,
            places=places,
            placements=mine,
            granule=granule,
            buffered=buffered,
            resident=tuple(inside),
            locals=tuple(found),
            busy_s=busy,
            steady_s=max(*busy.values(), _recurrence(region, smallest, once)),
            fill_s=_chain(region, smallest, once),
            energy_j=sum(local.energy_j for local in found),
            buffer_read_bits=sum(read for local in found for read, _ in local.buffer.values()),
            buffer_write_bits=sum(write for local in found for _, write in local.buffer.values()),
        )


def _chain(region: Region, granule: Mapping[str, int], once: list[float]) -> float:
    """The longest chain of dependent Einsums: one granule each, or a whole pass where its end is waited for."""
    starts: list[float] = []
    for place, einsum in enumerate(region.einsums):
        start = 0.0
        for use in einsum.operands:
            for writer in region.writers.get(use.tensor, ()):
                if writer >= place:
                    continue
                passes = [
                    math.ceil(region.size[rank] / granule[rank])
                    for rank in region.streamed
                    if rank in region.einsums[writer].ranks and rank not in use.ranks
                ]
                start = max(start, starts[writer] + once[writer] * math.prod(passes))
        starts.append(start)
    return max(start + seconds for start, seconds in zip(starts, once, strict=True))


def _recurrence(region: Region, granule: Mapping[str, int], once: list[float]) -> float:
    """Time of the longest running state when its steps follow one another without a wait, for one granule of it."""
    longest = 0.0
    for tensor, ranks in region.carried.items():
        steps = math.prod(math.ceil(region.size[rank] / granule[rank]) for rank in ranks)
        for writer in region.writers[tensor] if ranks else ():
            times: dict[int, float] = {}
            for place in range(min((*region.readers.get(tensor, ()), writer)), writer + 1):
                operands = [w for use in region.einsums[place].operands for w in region.writers.get(use.tensor, ())]
                before = [times[w] for w in operands if w in times and w < place]
                if before or place == writer or place in region.readers.get(tensor, ()):
                    times[place] = max(before, default=0.0) + once[place]
            longest = max(longest, steps * times[writer])
    return longest
